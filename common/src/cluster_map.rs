//! The cluster map: devices, failure domains, and for each shard width in use one row of devices per placement group.
//!
//! The map is replicated state; clients never compute rows, so no two can disagree. Invariant: a row names each device
//! at most once, and every row of a width has exactly that many devices.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use crate::{
    ids::{DeviceId, Epoch, Incarnation, NodeId, PlacementGroup},
    redundancy::Redundancy,
};

/// What placement keeps the shards of a chunk apart by. The numbers are persistent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DomainLevel {
    /// Directories, whatever disk they are on.
    #[default]
    Device = 0,
    /// Disks.
    Disk = 1,
    /// Machines.
    Host = 2,
    /// Racks.
    Rack = 3,
    /// Zones.
    Zone = 4,
}

impl DomainLevel {
    /// Every level, the lowest first.
    pub const ALL: [Self; 5] = [Self::Device, Self::Disk, Self::Host, Self::Rack, Self::Zone];

    /// The name in settings and messages for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Disk => "disk",
            Self::Host => "host",
            Self::Rack => "rack",
            Self::Zone => "zone",
        }
    }

    /// The level of that number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|level| *level as u32 == number)
    }
}

impl fmt::Display for DomainLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DomainLevel {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = Self::ALL.into_iter().find(|level| level.name() == text);
        level.ok_or("choose of device, disk, host, rack, zone")
    }
}

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
    /// What the devices' failure domains are.
    pub domain_level: DomainLevel,
    /// Redundancy of buckets that are made without one of their own; none where whoever makes them says.
    pub default_redundancy: Option<Redundancy>,
    /// Devices that the service put out because they stayed down: it takes them in again when they are back.
    pub given_up: BTreeSet<DeviceId>,
    /// What the service does by itself, and how fast.
    pub upkeep: Upkeep,
}

/// What the metadata service does by itself about devices and shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Seconds after which a device that stays down is put out; 0 is never.
    pub out_after_s: u32,
    /// Whether shards that only have to move stay where they are for now. Missing ones are made again all the same.
    pub moves_paused: bool,
    /// MiB a second that a chunkserver may read for repairs and moves; 0 leaves it to the server.
    pub rate_mib: u32,
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
        self.devices.values().map(label).collect::<BTreeSet<_>>().len()
    }
}
