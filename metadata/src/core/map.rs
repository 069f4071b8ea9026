//! The cluster map in the state.

use cairn_common::{
    cluster_map::ClusterMap,
    ids::Epoch,
    wire::{
        command::{ErrorCode, InstallMap, Outcome},
        map::MapMessage,
        query::MapQuery,
    },
};

use super::{
    apply::done,
    former_rows, loss, server, session,
    tx::{ApplyError, Tx, read_record, refuse},
    view::{Family, View, ViewError},
};
use crate::record::system::{MAP_KEY, MapHead};

/// The map in force; epoch 0 and empty before the first.
pub(crate) fn current(view: &dyn View) -> Result<MapMessage, ViewError> {
    Ok(read_record(view, Family::System, MAP_KEY)?.unwrap_or_default())
}

/// Answers with the map in force, or with its epoch alone where the asker knows it.
pub(crate) fn answer(view: &dyn View, query: &MapQuery) -> Result<MapMessage, ViewError> {
    let epoch = session::store(view)?.map.map_or(0, |head| head.epoch);
    if epoch == 0 || epoch != query.known_epoch {
        return current(view);
    }
    Ok(MapMessage {
        epoch,
        ..MapMessage::default()
    })
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
    let before = checked(tx)?;
    let mut has_losses = false;
    if before.epoch > Epoch::new(0) {
        former_rows::keep(tx, &before, &map)?;
        former_rows::check_removals(tx, &before, &map)?;
        has_losses = loss::note(tx, &before, &map)?;
        server::forget_removed(tx, &before, &map);
    }
    tx.put(Family::System, MAP_KEY.to_vec(), message);
    let mut store = session::store(tx)?;
    let former = store.map.unwrap_or_default();
    store.map = Some(MapHead {
        epoch: map.epoch.value(),
        group_bits: message.group_bits,
        widths: message.widths.iter().map(|rows| rows.width).collect(),
        first_epoch: former.first_epoch,
        last_loss_epoch: if has_losses {
            map.epoch.value()
        } else {
            former.last_loss_epoch
        },
    });
    session::put_store(tx, &store);
    Ok(done())
}
