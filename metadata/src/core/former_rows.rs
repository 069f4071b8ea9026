//! Rows that placement groups had before their present ones: what lies on them, and what is still being written under them.
//!
//! A row is walked until no chunk's record names its epochs any more, and is settled then. A writer that began under it may come
//! later still, with shards that lie safely where the row said, so that settled rows are kept, a few of each group.
//! Invariant: at any epoch the first row of the group at or behind it is the one that was in force, or an empty one, which says
//! that it is not known any more.

use cairn_common::{
    cluster_map::ClusterMap,
    ids::ChunkId,
    limits,
    wire::{command::ErrorCode, object::Chunk},
};

use super::{
    chunk::group_of,
    session,
    tx::{ApplyError, Tx, open_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    row::{self, FormerRow},
    system::MapHead,
};

/// The feature level from which settled rows are kept.
const KEPT_FROM_LEVEL: u32 = 3;

/// Keeps the rows that change by a map that is to come into force, since chunks lie on them until they are moved.
pub(crate) fn keep(tx: &mut Tx<'_>, before: &ClusterMap, after: &ClusterMap) -> Result<(), ApplyError> {
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
            if unsettled(tx, width, group)? >= limits::FORMER_ROWS_MAX {
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

/// Refuses a map without a device that chunks may lie on: one that came late under a settled row is only found in the state.
pub(crate) fn check_removals(tx: &Tx<'_>, before: &ClusterMap, after: &ClusterMap) -> Result<(), ApplyError> {
    let Some(gone) = before.devices.keys().find(|id| !after.devices.contains_key(id)) else {
        return Ok(());
    };
    let store = session::store(tx)?;
    if store.feature_level < KEPT_FROM_LEVEL {
        return Ok(());
    }
    let mut moving = false;
    scan_prefix(tx, Family::System, row::PREFIX, &[], &mut |_, value| {
        moving = open_record::<FormerRow>(Family::System, value)?.is_unsettled();
        Ok(!moving)
    })?;
    if moving || store.repair_pending > 0 {
        let detail = format!("chunks are still to be moved or repaired: device {gone} can be removed once none is");
        return Err(refuse(ErrorCode::LimitExceeded, detail));
    }
    Ok(())
}

/// The row that a chunk was written to, where its group has another by now.
pub(crate) fn of_chunk(
    view: &dyn View,
    map: &MapHead,
    id: ChunkId,
    chunk: &Chunk,
) -> Result<Option<FormerRow>, ViewError> {
    if chunk.epoch >= map.epoch {
        return Ok(None);
    }
    let Some(redundancy) = chunk.redundancy() else {
        return Ok(None);
    };
    let (width, group) = (redundancy.width() as u32, group_of(id, map.group_bits).value());
    let (prefix, from) = (row::group_prefix(width, group), row::key(width, group, chunk.epoch));
    let mut found = None;
    scan_prefix(view, Family::System, &prefix, &from, &mut |_, value| {
        found = Some(open_record(Family::System, value)?);
        Ok(false)
    })?;
    Ok(found)
}

/// The oldest row of a group that chunks may lie on.
pub(crate) fn oldest_unsettled(
    view: &dyn View,
    width: u32,
    group: u32,
) -> Result<Option<(Vec<u8>, FormerRow)>, ViewError> {
    let rows = of_group(view, width, group)?;
    Ok(rows.into_iter().find(|(_, row)| row.is_unsettled()))
}

/// Rows of a group that chunks may lie on.
fn unsettled(view: &dyn View, width: u32, group: u32) -> Result<usize, ViewError> {
    let rows = of_group(view, width, group)?;
    Ok(rows.iter().filter(|(_, row)| row.is_unsettled()).count())
}

/// The former rows of a group, the oldest first.
fn of_group(view: &dyn View, width: u32, group: u32) -> Result<Vec<(Vec<u8>, FormerRow)>, ViewError> {
    let (prefix, mut rows) = (row::group_prefix(width, group), Vec::new());
    scan_prefix(view, Family::System, &prefix, &[], &mut |key, value| {
        rows.push((key.to_vec(), open_record(Family::System, value)?));
        Ok(true)
    })?;
    Ok(rows)
}

/// Notes that no chunk lies on the oldest row of a group that was not settled, and forgets the oldest of those that are: an
/// empty one stands for them, so that nothing written under them can be committed.
pub(crate) fn settle(tx: &mut Tx<'_>, width: u32, group: u32) -> Result<(), ViewError> {
    let kept = match session::store(tx)?.feature_level {
        level if level < KEPT_FROM_LEVEL => 0,
        _ => limits::SETTLED_ROWS_KEPT,
    };
    let rows = of_group(tx, width, group)?;
    let Some(oldest) = rows.iter().position(|(_, row)| row.is_unsettled()) else {
        return Ok(());
    };
    let mut settled: Vec<_> = rows.into_iter().take(oldest + 1).collect();
    if let Some((key, row)) = settled.last_mut() {
        (row.settled, row.walked_to) = (true, Vec::new().into());
        tx.put(Family::System, key.clone(), row);
    }
    // The mark itself is one more.
    let forgotten = settled.len().saturating_sub(kept);
    for (at, (key, row)) in settled.into_iter().take(forgotten).enumerate() {
        if at + 1 < forgotten {
            tx.delete(Family::System, key);
        } else if !row.devices.is_empty() {
            tx.put(Family::System, key, &FormerRow::default());
        }
    }
    Ok(())
}
