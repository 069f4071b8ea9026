//! The cluster map in the state.

use cairn_common::{
    cluster_map::ClusterMap,
    ids::Epoch,
    wire::{
        command::{ErrorCode, InstallMap, Outcome},
        map::MapMessage,
    },
};

use super::{
    apply::done,
    tx::{ApplyError, Tx, read_record, refuse},
    view::{Family, View, ViewError},
};
use crate::record::system::MAP_KEY;

/// The map in force; epoch 0 and empty before the first.
pub(crate) fn current(view: &dyn View) -> Result<MapMessage, ViewError> {
    Ok(read_record(view, Family::System, MAP_KEY)?.unwrap_or_default())
}

/// The map in force, checked.
pub(crate) fn checked(view: &dyn View) -> Result<ClusterMap, ViewError> {
    let corrupt = |error: String| ViewError::Corrupt {
        family: Family::System.name(),
        detail: error,
    };
    ClusterMap::try_from(current(view)?).map_err(|error| corrupt(error.to_string()))
}

pub(crate) fn install(tx: &mut Tx<'_>, install: &InstallMap) -> Result<Outcome, ApplyError> {
    let Some(message) = &install.map else {
        return Err(refuse(ErrorCode::Malformed, "no map is given"));
    };
    let map = ClusterMap::try_from(message.clone()).map_err(|error| refuse(ErrorCode::Malformed, error.to_string()))?;
    let present = current(tx)?.epoch;
    if map.epoch != Epoch::new(present + 1) {
        let detail = format!("the map has epoch {}, the one in force {present}", map.epoch);
        return Err(refuse(ErrorCode::EpochMismatch, detail));
    }
    tx.put(Family::System, MAP_KEY.to_vec(), message);
    Ok(done())
}
