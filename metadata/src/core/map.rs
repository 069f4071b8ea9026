//! The cluster map in the state.

use cairn_common::{
    cluster_map::ClusterMap,
    ids::Epoch,
    limits,
    wire::{
        command::{ErrorCode, InstallMap, Outcome},
        map::MapMessage,
        query::MapQuery,
    },
};

use super::{
    apply::done,
    loss, repair, server, session,
    tx::{ApplyError, Tx, read_record, refuse},
    view::{Family, View, ViewError},
};
use crate::record::{
    row::{self, FormerRow},
    system::{MAP_KEY, MapHead},
};

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
        keep_former_rows(tx, &before, &map)?;
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

/// Keeps the rows that change, since chunks lie on them until they are moved.
fn keep_former_rows(tx: &mut Tx<'_>, before: &ClusterMap, after: &ClusterMap) -> Result<(), ApplyError> {
    if before.group_bits != after.group_bits {
        return Err(refuse(
            ErrorCode::Malformed,
            "the number of placement groups cannot change",
        ));
    }
    for (width, rows) in &before.rows {
        let Some(new_rows) = after.rows.get(width) else {
            let detail = format!("the map has no rows of {width} devices any more, and chunks may lie on them");
            return Err(refuse(ErrorCode::Malformed, detail));
        };
        for ((group, row), new_row) in (0_u32..).zip(rows).zip(new_rows) {
            if row == new_row {
                continue;
            }
            let width = *width as u32;
            if repair::former_rows(tx, width, group)? >= limits::FORMER_ROWS_MAX {
                let detail = format!("group {group} still has chunks on many former rows: let them move first");
                return Err(refuse(ErrorCode::LimitExceeded, detail));
            }
            let former = FormerRow {
                devices: row.iter().map(|device| device.value()).collect(),
                ..FormerRow::default()
            };
            tx.put(Family::System, row::key(width, group, before.epoch.value()), &former);
        }
    }
    Ok(())
}
