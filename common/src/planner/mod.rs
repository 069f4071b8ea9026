//! The placement planner: devices in, rows out. Pure; whoever installs a map runs it once, and everybody else reads its rows.
//!
//! Each device has a fair share of the slots, by weight (`shares`); rows are filled by deficit (`seed`) or taken from the map
//! before, and then slots are moved from devices above their share to those below (`balance`), the fewest that do it.
//! Invariants: no device twice in a row; no more slots of a row in one failure domain than its domains and devices force; a
//! device's share is capped at one slot for each group, a domain's at its part of every row.

mod balance;
mod change;
mod devices;
mod rows;
mod seed;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::change::{SlotChange, change_map, slot_changes};
use self::{devices::Devices, rows::Rows, shares::Shares};
use crate::{
    cluster_map::{Device, Row},
    ids::DeviceId,
};

/// Why no rows could be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A row needs distinct devices.
    #[error("{width} shards need as many devices; there are {devices}")]
    TooFewDevices {
        /// Shards of a row.
        width: usize,
        /// Devices with weight.
        devices: usize,
    },
}

/// Plans the rows of `width` for `groups` placement groups over `devices`.
///
/// # Errors
/// Fewer devices with weight than a row has slots.
pub fn plan_rows(devices: &BTreeMap<DeviceId, Device>, width: usize, groups: usize) -> Result<Vec<Row>, PlanError> {
    let devices = Devices::new(devices, &[]);
    let shares = Shares::new(&devices, width)?;
    let targets = shares.targets(groups);
    let slots = seed::fill(&devices, &shares, width, groups);
    let mut rows = Rows::new(devices, slots, width, shares.domain_cap(), targets);
    balance::settle(&mut rows);
    Ok(rows.into_rows())
}

/// Plans rows over `devices` from those of one width before, moving few slots: a slot that stays keeps its place in its row.
/// Devices that are gone, or have no weight any more, are left.
///
/// # Errors
/// Fewer devices with weight than a row has slots.
pub fn replan_rows(before: &[Row], devices: &BTreeMap<DeviceId, Device>) -> Result<Vec<Row>, PlanError> {
    let Some(width) = before.first().map(Row::len) else {
        return Ok(Vec::new());
    };
    let devices = Devices::new(devices, before);
    let shares = Shares::new(&devices, width)?;
    let slots = devices.indexes(before);
    let targets = shares.targets(before.len());
    let mut rows = Rows::new(devices, slots, width, shares.domain_cap(), targets);
    balance::settle(&mut rows);
    Ok(rows.into_rows())
}

/// How many slots hold another device in `after` than in `before`.
pub fn moved_slots(before: &[Row], after: &[Row]) -> usize {
    let differ = |(old, new): (&Row, &Row)| old.iter().zip(new).filter(|(old, new)| old != new).count();
    before.iter().zip(after).map(differ).sum()
}

/// A number that looks random (the finaliser of splitmix64) and that only the arguments decide.
const fn mix(left: usize, right: usize) -> u64 {
    let mut number = (left as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (right as u64).rotate_left(32);
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
