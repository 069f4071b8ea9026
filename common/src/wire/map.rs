//! The cluster map as it is sent and stored.

use std::collections::BTreeMap;

use prost::Message;

use crate::{
    cluster_map::{ClusterMap, Device, DomainLevel, Row, Upkeep},
    envelope::Record,
    ids::{DeviceId, Epoch, Incarnation, NodeId},
    limits::WIDTH_MAX,
    redundancy::Redundancy,
};

/// Why a map was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Rows that do not fit the map's own numbers.
    #[error("the cluster map is inconsistent: {0}")]
    Inconsistent(&'static str),
}

/// The cluster map.
#[derive(Clone, PartialEq, Message)]
pub struct MapMessage {
    /// Version of the map.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// The hash space has 2^`group_bits` placement groups.
    #[prost(uint32, tag = "2")]
    pub group_bits: u32,
    /// All devices.
    #[prost(message, repeated, tag = "3")]
    pub devices: Vec<DeviceMessage>,
    /// Rows, by width.
    #[prost(message, repeated, tag = "4")]
    pub widths: Vec<WidthMessage>,
    /// Data shards of buckets that are made without a redundancy of their own; 0 where the map does not say.
    #[prost(uint32, tag = "5")]
    pub default_data_shards: u32,
    /// Parity shards of such.
    #[prost(uint32, tag = "6")]
    pub default_parity_shards: u32,
    /// What the failure domains are: 0 devices, 1 disks, 2 hosts, 3 racks, 4 zones.
    #[prost(uint32, tag = "7")]
    pub domain_level: u32,
    /// Devices that the service put out because they stayed down.
    #[prost(uint32, repeated, tag = "8")]
    pub given_up: Vec<u32>,
    /// Seconds after which a device that stays down is put out; 0 is never.
    #[prost(uint32, tag = "9")]
    pub out_after_s: u32,
    /// Whether shards that only have to move stay where they are.
    #[prost(bool, tag = "10")]
    pub moves_paused: bool,
    /// MiB a second that a chunkserver may read for repairs and moves; 0 leaves it to the server.
    #[prost(uint32, tag = "11")]
    pub rate_mib: u32,
}

/// One device.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceMessage {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Its life.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// The chunkserver that holds it.
    #[prost(uint64, tag = "3")]
    pub server: u64,
    /// Capacity weight in bytes.
    #[prost(uint64, tag = "4")]
    pub weight_bytes: u64,
    /// The failure domain that placement keeps apart.
    #[prost(string, tag = "5")]
    pub failure_domain: String,
    /// The disk under it.
    #[prost(string, tag = "6")]
    pub disk: String,
}

/// The rows of one width, one after the other.
#[derive(Clone, PartialEq, Message)]
pub struct WidthMessage {
    /// Devices of each row.
    #[prost(uint32, tag = "1")]
    pub width: u32,
    /// Device numbers of row 0, then of row 1, …
    #[prost(uint32, repeated, tag = "2")]
    pub slots: Vec<u32>,
}

impl Record for MapMessage {
    const VERSION: u8 = 1;
}

impl From<&ClusterMap> for MapMessage {
    fn from(map: &ClusterMap) -> Self {
        let device = |device: &Device| DeviceMessage {
            id: device.id.value(),
            incarnation: device.incarnation.value(),
            server: device.server.value(),
            weight_bytes: device.weight_bytes,
            failure_domain: device.failure_domain.clone(),
            disk: device.disk.clone(),
        };
        let width = |(width, rows): (&usize, &Vec<Row>)| WidthMessage {
            width: u32::try_from(*width).expect("a width is at most 32"),
            slots: rows.iter().flatten().map(|id| id.value()).collect(),
        };
        Self {
            epoch: map.epoch.value(),
            group_bits: map.group_bits.into(),
            devices: map.devices.values().map(device).collect(),
            widths: map.rows.iter().map(width).collect(),
            default_data_shards: shards(map, Redundancy::data_shards),
            default_parity_shards: shards(map, Redundancy::parity_shards),
            domain_level: map.domain_level as u32,
            given_up: map.given_up.iter().map(|id| id.value()).collect(),
            out_after_s: map.upkeep.out_after_s,
            moves_paused: map.upkeep.moves_paused,
            rate_mib: map.upkeep.rate_mib,
        }
    }
}

impl TryFrom<MapMessage> for ClusterMap {
    type Error = MapError;

    fn try_from(message: MapMessage) -> Result<Self, MapError> {
        let group_bits = u8::try_from(message.group_bits).ok().filter(|bits| *bits <= 24);
        let group_bits = group_bits.ok_or(MapError::Inconsistent("too many placement groups"))?;
        let default_redundancy = match (message.default_data_shards, message.default_parity_shards) {
            (0, _) => None,
            (data, parity) => Some(
                Redundancy::erasure_coded(data as usize, parity as usize)
                    .map_err(|_| MapError::Inconsistent("the default redundancy is out of range"))?,
            ),
        };
        let devices: BTreeMap<DeviceId, Device> = message.devices.into_iter().map(device_entry).collect();
        let mut rows = BTreeMap::new();
        for width in message.widths {
            let count = usize::try_from(width.width).unwrap_or(usize::MAX);
            if count == 0 || count > WIDTH_MAX || width.slots.len() != count << group_bits {
                return Err(MapError::Inconsistent(
                    "the rows of a width are not one for each placement group",
                ));
            }
            let slots: Vec<DeviceId> = width.slots.into_iter().map(DeviceId::new).collect();
            if slots.iter().any(|id| !devices.contains_key(id)) {
                return Err(MapError::Inconsistent(
                    "a row names a device that the map does not hold",
                ));
            }
            rows.insert(count, slots.chunks_exact(count).map(<[DeviceId]>::to_vec).collect());
        }
        let level = DomainLevel::from_number(message.domain_level);
        Ok(Self {
            epoch: Epoch::new(message.epoch),
            group_bits,
            devices,
            rows,
            domain_level: level.ok_or(MapError::Inconsistent("the failure domains are of an unknown level"))?,
            default_redundancy,
            given_up: message.given_up.into_iter().map(DeviceId::new).collect(),
            upkeep: Upkeep {
                out_after_s: message.out_after_s,
                moves_paused: message.moves_paused,
                rate_mib: message.rate_mib,
            },
        })
    }
}

fn shards(map: &ClusterMap, of: fn(Redundancy) -> usize) -> u32 {
    let shards = map.default_redundancy.map_or(0, of);
    u32::try_from(shards).expect("a width is at most 32")
}

/// A device by its id.
pub fn device_entry(message: DeviceMessage) -> (DeviceId, Device) {
    let id = DeviceId::new(message.id);
    let device = Device {
        id,
        incarnation: Incarnation::new(message.incarnation),
        server: NodeId::new(message.server),
        weight_bytes: message.weight_bytes,
        failure_domain: message.failure_domain,
        disk: message.disk,
    };
    (id, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::plan_rows;

    fn sample() -> ClusterMap {
        let devices: BTreeMap<_, _> = (1..=6)
            .map(|id| {
                device_entry(DeviceMessage {
                    id,
                    incarnation: 1,
                    server: 1,
                    weight_bytes: 1,
                    failure_domain: format!("device-{id}"),
                    disk: "vda".to_owned(),
                })
            })
            .collect();
        let rows = [1, 3, 6]
            .map(|width| (width, plan_rows(&devices, width, 16).expect("six devices")))
            .into();
        ClusterMap {
            epoch: Epoch::new(3),
            group_bits: 4,
            devices,
            rows,
            domain_level: DomainLevel::Host,
            default_redundancy: Redundancy::erasure_coded(4, 2).ok(),
            given_up: [DeviceId::new(2)].into(),
            upkeep: Upkeep {
                out_after_s: 600,
                moves_paused: true,
                rate_mib: 64,
            },
        }
    }

    #[test]
    fn a_map_survives_its_message() {
        assert_eq!(ClusterMap::try_from(MapMessage::from(&sample())), Ok(sample()));
    }

    #[test]
    fn inconsistent_maps_are_refused() {
        let mut short = MapMessage::from(&sample());
        short.widths[0].slots.pop();
        assert!(ClusterMap::try_from(short).is_err());
        let mut stranger = MapMessage::from(&sample());
        stranger.widths[1].slots[0] = 99;
        assert!(ClusterMap::try_from(stranger).is_err());
        let huge = MapMessage {
            group_bits: 60,
            ..MapMessage::from(&sample())
        };
        assert!(ClusterMap::try_from(huge).is_err());
    }
}
