//! From one cluster map to the next: other devices, other widths, and what that moves.

use std::collections::{BTreeMap, BTreeSet};

use super::{PlanError, plan_rows, replan_rows};
use crate::{
    cluster_map::{ClusterMap, Device},
    ids::{DeviceId, Epoch},
};

/// The map that comes after `before`, over `devices` and with rows of `widths` too. Rows that there are change little; a width
/// once there stays, since chunks may lie on its rows.
///
/// # Errors
/// Fewer devices with weight than a row has slots.
pub fn change_map(
    before: &ClusterMap,
    devices: BTreeMap<DeviceId, Device>,
    widths: &BTreeSet<usize>,
) -> Result<ClusterMap, PlanError> {
    let groups = 1 << before.group_bits;
    let mut rows = BTreeMap::new();
    for width in before.rows.keys().chain(widths) {
        if rows.contains_key(width) {
            continue;
        }
        let planned = match before.rows.get(width) {
            Some(former) => replan_rows(former, &devices)?,
            None => plan_rows(&devices, *width, groups)?,
        };
        rows.insert(*width, planned);
    }
    Ok(ClusterMap {
        epoch: Epoch::new(before.epoch.value() + 1),
        devices,
        rows,
        ..before.clone()
    })
}

/// Slots of a device in the rows of two maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotChange {
    /// Before.
    pub before: usize,
    /// After.
    pub after: usize,
    /// Slots that it gives to others; those that it takes over are what is left of the difference.
    pub given: usize,
}

impl SlotChange {
    /// Slots that it takes over from others.
    pub fn taken(&self) -> usize {
        (self.after + self.given).saturating_sub(self.before)
    }
}

/// What happens to the slots of each device where `after` comes into force. Widths that are new count as little as they hold.
pub fn slot_changes(before: &ClusterMap, after: &ClusterMap) -> BTreeMap<DeviceId, SlotChange> {
    let mut changes: BTreeMap<DeviceId, SlotChange> = BTreeMap::new();
    for (width, old_rows) in &before.rows {
        let new_rows = after.rows.get(width).map_or(&[][..], Vec::as_slice);
        for (old, new) in old_rows.iter().flatten().zip(new_rows.iter().flatten()) {
            let change = changes.entry(*old).or_default();
            change.before += 1;
            change.given += usize::from(old != new);
            changes.entry(*new).or_default().after += 1;
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, NodeId};

    fn devices(count: u32) -> BTreeMap<DeviceId, Device> {
        let device = |id| Device {
            id: DeviceId::new(id),
            incarnation: Incarnation::new(1),
            server: NodeId::new(id.into()),
            weight_bytes: 1 << 40,
            failure_domain: format!("host:{id}"),
            disk: String::new(),
        };
        (1..=count).map(|id| (DeviceId::new(id), device(id))).collect()
    }

    #[test]
    fn a_map_grows_by_devices_and_widths_and_moves_what_the_new_ones_take() {
        let empty = ClusterMap {
            group_bits: 8,
            ..ClusterMap::default()
        };
        let first = change_map(&empty, devices(4), &[1, 3].into()).expect("four carry three");
        assert_eq!((first.epoch, first.rows.len()), (Epoch::new(1), 2));
        assert!(slot_changes(&empty, &first).is_empty());
        let second = change_map(&first, devices(5), &[4].into()).expect("five carry four");
        assert_eq!(second.rows.keys().copied().collect::<Vec<_>>(), [1, 3, 4]);
        let changes = slot_changes(&first, &second);
        let new = changes[&DeviceId::new(5)];
        assert_eq!((new.before, new.given, new.taken()), (0, 0, new.after));
        // A fifth of 256 slots, and of 3 × 256.
        assert!((203..=206).contains(&new.after), "{new:?}");
        assert_eq!(changes.values().map(|change| change.given).sum::<usize>(), new.after);
        assert!(change_map(&second, devices(3), &BTreeSet::new()).is_err());
    }
}
