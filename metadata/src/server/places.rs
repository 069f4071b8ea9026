//! Where a chunk's shards lie and where they belong, and which of them may change places together.
//!
//! Pure. Invariant: no device and no failure domain ever holds more shards of a chunk than it did before or does in the row: a
//! chunk under way loses no tolerance.

use cairn_common::{cluster_map::ClusterMap, ids::DeviceId};

/// A place of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) device: DeviceId,
    domain: String,
}

/// The places of a chunk's shards, in order.
#[derive(Clone, Debug)]
pub(super) struct Places {
    location: Vec<Place>,
    pub(super) row: Vec<Place>,
}

impl Places {
    /// Those of a chunk that lies on `location` and belongs on `row`; none where the map does not know the row.
    pub(super) fn new(map: &ClusterMap, location: &[DeviceId], row: &[DeviceId]) -> Option<Self> {
        if location.len() != row.len() {
            return None;
        }
        let domain = |device: &DeviceId| map.devices.get(device).map(|device| device.failure_domain.clone());
        // One that has left the map is alone in a domain of its own.
        let lies = |device: &DeviceId| Place {
            device: *device,
            domain: domain(device).unwrap_or_else(|| format!("gone:{device}")),
        };
        let belongs = |device: &DeviceId| {
            let (device, domain) = (*device, domain(device)?);
            Some(Place { device, domain })
        };
        Some(Self {
            location: location.iter().map(lies).collect(),
            row: row.iter().map(belongs).collect::<Option<_>>()?,
        })
    }

    /// The device that a shard leaves where it comes to lie on its place in the row.
    pub(super) fn left_by(&self, index: usize) -> Option<DeviceId> {
        let (before, after) = (self.location[index].device, self.row[index].device);
        (before != after).then_some(before)
    }

    /// Of the shards that were made at their places in the row, those that may take them together.
    pub(super) fn switchable(&self, made: &[usize]) -> Vec<usize> {
        let mut switched = made.to_vec();
        while let Some(crowding) = self.crowding(&switched) {
            switched.retain(|index| *index != crowding);
        }
        switched
    }

    /// A shard whose new device, or domain, would hold too many.
    fn crowding(&self, switched: &[usize]) -> Option<usize> {
        let result: Vec<&Place> = (0..self.row.len())
            .map(|index| {
                let places = if switched.contains(&index) {
                    &self.row
                } else {
                    &self.location
                };
                &places[index]
            })
            .collect();
        let is_too_many = |same: &dyn Fn(&Place) -> bool| {
            let count = |places: &[Place]| places.iter().filter(|place| same(place)).count();
            let now = result.iter().filter(|place| same(place)).count();
            now > count(&self.location).max(count(&self.row))
        };
        switched.iter().copied().find(|index| {
            let new = &self.row[*index];
            is_too_many(&|place| place.device == new.device) || is_too_many(&|place| place.domain == new.domain)
        })
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::{
        cluster_map::Device,
        ids::{Incarnation, NodeId},
    };

    use super::*;

    /// Devices 1 to 8, two in each of four domains: 1 and 5, 2 and 6, …
    fn places(location: &[u32], row: &[u32]) -> Places {
        let device = |id: u32| Device {
            id: DeviceId::new(id),
            incarnation: Incarnation::new(1),
            server: NodeId::new(1),
            weight_bytes: 1,
            failure_domain: format!("host:{}", id % 4),
            disk: String::new(),
        };
        let map = ClusterMap {
            devices: (1..=8).map(|id| (DeviceId::new(id), device(id))).collect(),
            ..ClusterMap::default()
        };
        let ids = |ids: &[u32]| ids.iter().map(|id| DeviceId::new(*id)).collect::<Vec<_>>();
        Places::new(&map, &ids(location), &ids(row)).expect("a row of the map")
    }

    #[test]
    fn shards_that_meet_nobody_may_take_their_places_one_by_one() {
        let places = places(&[1, 2, 3], &[1, 2, 4]);
        assert_eq!(places.switchable(&[2]), [2]);
        assert_eq!(places.switchable(&[]), [0; 0]);
    }

    #[test]
    fn two_shards_never_come_to_lie_on_one_device_or_in_one_domain() {
        // Shard 0 belongs where shard 1 still lies.
        let chain = places(&[1, 2, 3], &[2, 4, 3]);
        assert_eq!(chain.switchable(&[0]), [0; 0]);
        assert_eq!(chain.switchable(&[0, 1]), [0, 1]);
        let swapped = places(&[1, 2, 3], &[2, 1, 3]);
        assert_eq!(swapped.switchable(&[1]), [0; 0]);
        assert_eq!(swapped.switchable(&[0, 1]), [0, 1]);
        let same_host = places(&[1, 2, 3], &[6, 5, 3]);
        assert_eq!(same_host.switchable(&[0]), [0; 0]);
        assert_eq!(same_host.switchable(&[0, 1]), [0, 1]);
    }

    #[test]
    fn one_that_is_held_up_holds_up_those_that_wait_for_its_place() {
        // 0 waits for 1, 1 for 2, and 2 was not made.
        let chain = places(&[1, 2, 3], &[2, 3, 4]);
        assert_eq!(chain.switchable(&[0, 1]), [0; 0]);
        assert_eq!(chain.switchable(&[0, 1, 2]), [0, 1, 2]);
    }
}
