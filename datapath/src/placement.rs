//! Where a new chunk goes: an id whose row is healthy, else whole copies on live devices.
//!
//! Pure but for the ids it draws. Invariant: the devices of a placement are distinct and as many as the scheme is wide; the
//! scheme given is either the one asked for or copies of the same tolerance.

use std::collections::BTreeSet;

use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{ChunkId, DeviceId},
    limits::PLACEMENT_TRIES_MAX,
    redundancy::Redundancy,
};

use crate::suspects::Avoided;

/// Hands out chunk ids of the session, never one twice.
pub trait ChunkIds: Send + Sync {
    /// An id that was never handed out before.
    fn next_chunk_id(&self) -> ChunkId;
}

/// Where the shards of a chunk go, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) id: ChunkId,
    pub(crate) redundancy: Redundancy,
    pub(crate) devices: Vec<DeviceId>,
    /// Whether the writer chose the devices itself.
    pub(crate) explicit: bool,
}

/// Not even copies find enough devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFewDevices {
    pub(crate) up: usize,
    /// Of those that are not up, how many only lack room.
    pub(crate) full: usize,
    pub(crate) needed: usize,
}

/// Places a chunk, on a row where `by_row` lets it. Strained devices are used only where it cannot be placed without them; full and failing ones never.
pub(crate) fn place(
    map: &ClusterMap,
    redundancy: Redundancy,
    by_row: bool,
    ids: &dyn ChunkIds,
    avoided: Avoided,
) -> Result<Placement, TooFewDevices> {
    let first = place_without(map, redundancy, by_row, ids, &avoided);
    if first.is_ok() || (avoided.strained.is_empty() && avoided.late.is_empty()) {
        return first;
    }
    place_without(map, redundancy, by_row, ids, &avoided.without_strained())
}

fn place_without(
    map: &ClusterMap,
    redundancy: Redundancy,
    by_row: bool,
    ids: &dyn ChunkIds,
    avoided: &Avoided,
) -> Result<Placement, TooFewDevices> {
    if by_row && let Some(placement) = place_by_row(map, redundancy, ids, avoided) {
        return Ok(placement);
    }
    let copies = redundancy.as_replicas();
    let live: Vec<&Device> = map
        .devices
        .values()
        .filter(|device| device.weight_bytes > 0 && !avoided.holds(device.id))
        .collect();
    if live.len() < copies.width() {
        return Err(TooFewDevices {
            up: live.len(),
            full: avoided.full.len(),
            needed: copies.width(),
        });
    }
    let id = ids.next_chunk_id();
    let devices = choose(live, copies.width(), id);
    Ok(Placement {
        id,
        redundancy: copies,
        devices,
        explicit: true,
    })
}

fn place_by_row(map: &ClusterMap, redundancy: Redundancy, ids: &dyn ChunkIds, avoided: &Avoided) -> Option<Placement> {
    let healthy = |row: &[DeviceId]| row.iter().all(|device| !avoided.holds(*device));
    // Looked at first, so that no ids are used up where none can do.
    if !map.rows.get(&redundancy.width())?.iter().any(|row| healthy(row)) {
        return None;
    }
    (0..PLACEMENT_TRIES_MAX).find_map(|_| {
        let id = ids.next_chunk_id();
        let row = map.row(redundancy.width(), id.placement_hash().group(map.group_bits))?;
        healthy(row).then(|| Placement {
            id,
            redundancy,
            devices: row.to_vec(),
            explicit: false,
        })
    })
}

/// Weighted rendezvous (the device with the least -ln(u)/weight comes first), one device of each failure domain as long as
/// there are new domains, then any.
fn choose(mut live: Vec<&Device>, count: usize, id: ChunkId) -> Vec<DeviceId> {
    let rank = |device: &Device| -unit(id, device.id).ln() / device.weight_bytes as f64;
    live.sort_by(|left, right| rank(left).total_cmp(&rank(right)));
    let mut domains = BTreeSet::new();
    let (mut chosen, others): (Vec<&Device>, Vec<&Device>) = live
        .into_iter()
        .partition(|device| domains.insert(device.failure_domain.as_str()));
    chosen.extend(others);
    chosen.into_iter().take(count).map(|device| device.id).collect()
}

/// A number in 0..1, without the ends, that only (chunk, device) decide.
fn unit(id: ChunkId, device: DeviceId) -> f64 {
    // The placement hash of the chunk, mixed with the device by the finalizer of MurmurHash3.
    let mut word = id.placement_hash().value() ^ u64::from(device.value()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for multiplier in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        word = (word ^ (word >> 33)).wrapping_mul(multiplier);
    }
    word ^= word >> 33;
    ((word >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use cairn_common::{
        ids::{Epoch, Incarnation, NodeId, SessionId},
        planner::plan_rows,
    };

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicU64);

    impl ChunkIds for Counter {
        fn next_chunk_id(&self) -> ChunkId {
            ChunkId {
                session: SessionId::new(1),
                counter: 1 + self.0.fetch_add(1, Ordering::Relaxed),
            }
        }
    }

    fn map(devices: u32, domains: u32, widths: &[usize]) -> ClusterMap {
        let device = |id| Device {
            id: DeviceId::new(id),
            incarnation: Incarnation::new(1),
            server: NodeId::new(1),
            weight_bytes: 1 << 40,
            failure_domain: format!("domain-{}", id % domains),
            disk: "disk".to_owned(),
        };
        let devices = (1..=devices).map(|id| (DeviceId::new(id), device(id))).collect();
        let rows = widths
            .iter()
            .map(|&width| (width, plan_rows(&devices, width, 256).expect("enough devices")))
            .collect();
        ClusterMap {
            epoch: Epoch::new(1),
            group_bits: 8,
            devices,
            rows,
            ..ClusterMap::default()
        }
    }

    fn failing(ids: &[u32]) -> Avoided {
        Avoided {
            failing: ids.iter().copied().map(DeviceId::new).collect(),
            ..Avoided::default()
        }
    }

    fn strained(ids: &[u32]) -> Avoided {
        Avoided {
            strained: ids.iter().copied().map(DeviceId::new).collect(),
            ..Avoided::default()
        }
    }

    fn scheme(text: &str) -> Redundancy {
        text.parse().expect("a valid scheme")
    }

    #[test]
    fn rows_without_suspects_are_found() {
        let map = map(8, 8, &[6, 3]);
        for _ in 0..100 {
            let placement = place(&map, scheme("4+2"), true, &Counter::default(), failing(&[3])).expect("seven are up");
            assert!(!placement.explicit && !placement.devices.contains(&DeviceId::new(3)));
            let row = map.row(6, placement.id.placement_hash().group(8)).expect("a row");
            assert_eq!(row, placement.devices);
        }
    }

    #[test]
    fn without_a_healthy_row_copies_go_to_distinct_domains_and_no_ids_are_wasted() {
        let map = map(6, 3, &[6, 3]);
        let ids = Counter::default();
        let placement = place(&map, scheme("4+2"), true, &ids, failing(&[1, 2])).expect("four are up");
        assert!(placement.explicit);
        assert_eq!(placement.redundancy, scheme("3"));
        let domains: BTreeSet<u32> = placement.devices.iter().map(|id| id.value() % 3).collect();
        assert_eq!(domains.len(), 3);
        assert_eq!(ids.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn domains_are_shared_where_there_are_too_few() {
        let placement = place(
            &map(6, 1, &[]),
            scheme("3"),
            true,
            &Counter::default(),
            Avoided::default(),
        );
        let distinct: BTreeSet<DeviceId> = placement.expect("six are up").devices.into_iter().collect();
        assert_eq!(distinct.len(), 3);
    }

    #[test]
    fn strained_devices_are_better_than_none_and_failing_ones_are_not() {
        let map = map(3, 3, &[3]);
        assert!(place(&map, scheme("3"), true, &Counter::default(), strained(&[1, 2, 3])).is_ok());
        let refused = place(&map, scheme("3"), true, &Counter::default(), failing(&[1]));
        assert_eq!(
            refused,
            Err(TooFewDevices {
                up: 2,
                full: 0,
                needed: 3
            })
        );
    }

    #[test]
    fn explicit_copies_spread_over_all_devices() {
        let (map, ids) = (map(6, 6, &[]), Counter::default());
        let mut load = std::collections::BTreeMap::new();
        for _ in 0..3000 {
            for device in place(&map, scheme("2"), true, &ids, Avoided::default())
                .expect("six are up")
                .devices
            {
                *load.entry(device).or_insert(0_u32) += 1;
            }
        }
        assert!(
            load.len() == 6 && load.values().all(|count| (850..1150).contains(count)),
            "{load:?}"
        );
    }
}
