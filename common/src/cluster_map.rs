//! The cluster map: devices, failure domains, and for each shard width in use one row of devices per placement group.
//!
//! The map is replicated state; clients never compute rows, so no two can disagree. Invariant: a row names each device
//! at most once, and every row of a width has exactly that many devices.

use std::collections::BTreeMap;

use crate::ids::{DeviceId, Epoch, Incarnation, NodeId, PlacementGroup};

/// One disk or directory, as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number, never reused.
    pub id: DeviceId,
    /// Which life of the device this is.
    pub incarnation: Incarnation,
    /// The chunkserver that holds it.
    pub server: NodeId,
    /// Capacity weight in bytes: its share of the data follows it.
    pub weight_bytes: u64,
    /// The failure domain that placement keeps shards apart by.
    pub failure_domain: String,
    /// The disk under it, as far as it can be told: directories of one disk fail together.
    pub disk: String,
}

/// The devices that hold one placement group, shard i on the i-th.
pub type Row = Vec<DeviceId>;

/// Devices, and where each placement group lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMap {
    /// The map's version.
    pub epoch: Epoch,
    /// The hash space has 2^`group_bits` placement groups.
    pub group_bits: u8,
    /// All devices, by id.
    pub devices: BTreeMap<DeviceId, Device>,
    /// For each width its rows, one for each placement group.
    pub rows: BTreeMap<usize, Vec<Row>>,
}

impl ClusterMap {
    /// The row of `group` for chunks of `width` shards, or `None` where the map holds no such width.
    pub fn row(&self, width: usize, group: PlacementGroup) -> Option<&[DeviceId]> {
        self.rows.get(&width)?.get(group.index()).map(Vec::as_slice)
    }

    /// How many different failure domains the devices are in.
    pub fn failure_domain_count(&self) -> usize {
        self.distinct(|device| &device.failure_domain)
    }

    /// How many different disks the devices are on.
    pub fn disk_count(&self) -> usize {
        self.distinct(|device| &device.disk)
    }

    fn distinct(&self, label: impl Fn(&Device) -> &String) -> usize {
        self.devices
            .values()
            .map(label)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    }
}
