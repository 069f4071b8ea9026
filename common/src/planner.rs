//! The placement planner: devices in, rows out. A pure function; the same input gives the same rows everywhere.
//!
//! Greedy by weighted deficit: every slot goes to the device that is furthest behind its fair share among those that the
//! domain rule allows, a hash of (group, device) breaking near-ties so that neighbouring groups do not share one set of
//! devices. Invariant: no device twice in a row, and at most ceil(width / domains) slots of a row in one failure domain.

use std::collections::BTreeMap;

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

/// How much of the deficit scale the tie-breaking hash may weigh, in slots: enough to vary the sets, too little to unbalance.
const JITTER_SLOTS: f64 = 0.5;

struct Candidate<'a> {
    device: &'a Device,
    share: f64,
    assigned: f64,
}

/// Plans the rows of `width` for `groups` placement groups over `devices`.
pub fn plan_rows(devices: &BTreeMap<DeviceId, Device>, width: usize, groups: usize) -> Result<Vec<Row>, PlanError> {
    let mut candidates = candidates(devices, width);
    if candidates.len() < width {
        return Err(PlanError::TooFewDevices {
            width,
            devices: candidates.len(),
        });
    }
    let domains: std::collections::BTreeSet<&str> = candidates
        .iter()
        .map(|candidate| candidate.device.failure_domain.as_str())
        .collect();
    let domain_cap = width.div_ceil(domains.len());
    Ok((0..groups)
        .map(|group| plan_row(&mut candidates, width, group, domain_cap))
        .collect())
}

/// The devices with their fair share of one row: by weight, capped at one slot, the excess spread over the others.
fn candidates(devices: &BTreeMap<DeviceId, Device>, width: usize) -> Vec<Candidate<'_>> {
    let mut all: Vec<Candidate<'_>> = devices
        .values()
        .filter(|device| device.weight_bytes > 0)
        .map(|device| Candidate {
            device,
            share: 0.0,
            assigned: 0.0,
        })
        .collect();
    let mut slots_left = width as f64;
    let mut open: Vec<usize> = (0..all.len()).collect();
    loop {
        let weight: f64 = open.iter().map(|&index| all[index].device.weight_bytes as f64).sum();
        let share = |candidate: &Candidate<'_>| slots_left * candidate.device.weight_bytes as f64 / weight;
        let (capped, rest): (Vec<usize>, Vec<usize>) = open.iter().partition(|&&index| share(&all[index]) >= 1.0);
        if capped.is_empty() || rest.is_empty() {
            let shares: Vec<f64> = open.iter().map(|&index| share(&all[index]).min(1.0)).collect();
            for (&index, share) in open.iter().zip(shares) {
                all[index].share = share;
            }
            return all;
        }
        for &index in &capped {
            all[index].share = 1.0;
        }
        slots_left -= capped.len() as f64;
        open = rest;
    }
}

fn plan_row(candidates: &mut [Candidate<'_>], width: usize, group: usize, domain_cap: usize) -> Row {
    let mut order: Vec<(f64, usize)> = candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| {
            let deficit = candidate.share * (group + 1) as f64 - candidate.assigned;
            (deficit + JITTER_SLOTS * jitter(group, candidate.device.id), index)
        })
        .collect();
    order.sort_by(|left, right| right.0.total_cmp(&left.0));

    let mut per_domain: BTreeMap<&str, usize> = BTreeMap::new();
    let mut chosen = Vec::with_capacity(width);
    let mut passed_over = Vec::new();
    for (_, index) in order {
        let used = per_domain
            .entry(candidates[index].device.failure_domain.as_str())
            .or_insert(0);
        if chosen.len() < width && *used < domain_cap {
            *used += 1;
            chosen.push(index);
        } else {
            passed_over.push(index);
        }
    }
    // Domains with fewer devices than their cap leave slots open; a full row matters more than the cap.
    let missing = width - chosen.len();
    chosen.extend(passed_over.into_iter().take(missing));
    for &index in &chosen {
        candidates[index].assigned += 1.0;
    }
    // Which shard a device gets must not follow its rank, or data and parity would be unevenly spread.
    chosen.sort_by(|&left, &right| {
        let place = |index: usize| jitter(group ^ 0x5bd1_e995, candidates[index].device.id);
        place(left).total_cmp(&place(right))
    });
    chosen.into_iter().map(|index| candidates[index].device.id).collect()
}

/// A number in 0..1 that only (group, device) decide.
fn jitter(group: usize, device: DeviceId) -> f64 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&(group as u64).to_le_bytes());
    bytes[8..].copy_from_slice(&device.value().to_le_bytes());
    let digest = blake3::hash(&bytes);
    let mut word = [0; 4];
    word.copy_from_slice(&digest.as_bytes()[..4]);
    f64::from(u32::from_le_bytes(word)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, NodeId};

    fn device(id: u32, weight_bytes: u64, domain: &str) -> (DeviceId, Device) {
        let id = DeviceId::new(id);
        let device = Device {
            id,
            incarnation: Incarnation::new(1),
            server: NodeId::new(1),
            weight_bytes,
            failure_domain: domain.to_owned(),
            disk: domain.to_owned(),
        };
        (id, device)
    }

    fn load(rows: &[Row]) -> BTreeMap<DeviceId, usize> {
        let mut load = BTreeMap::new();
        for id in rows.iter().flatten() {
            *load.entry(*id).or_insert(0) += 1;
        }
        load
    }

    #[test]
    fn equal_devices_get_equal_shares() {
        let devices = (1..=10).map(|id| device(id, 1 << 40, &format!("disk{id}"))).collect();
        let rows = plan_rows(&devices, 6, 1024).expect("ten devices carry six shards");
        let fair = 1024.0 * 6.0 / 10.0;
        for (id, count) in load(&rows) {
            assert!(
                (count as f64 - fair).abs() <= fair * 0.02,
                "device {id} has {count}, fair is {fair}"
            );
        }
        let sets: std::collections::BTreeSet<Vec<DeviceId>> = rows
            .iter()
            .map(|row| {
                let mut set = row.clone();
                set.sort();
                set
            })
            .collect();
        assert!(sets.len() > 150, "only {} of 210 device sets are used", sets.len());
    }

    #[test]
    fn weights_are_followed_and_capped_at_one_slot() {
        let devices = [(1, 10), (2, 1), (3, 1), (4, 2)]
            .map(|(id, weight)| device(id, weight << 30, &format!("d{id}")))
            .into();
        let rows = plan_rows(&devices, 2, 1000).expect("four devices carry two shards");
        let load = load(&rows);
        assert_eq!(load[&DeviceId::new(1)], 1000);
        assert!(load[&DeviceId::new(4)].abs_diff(500) <= 10, "{load:?}");
        assert!(load[&DeviceId::new(2)].abs_diff(250) <= 5, "{load:?}");
    }

    #[test]
    fn domains_hold_no_more_than_their_part_of_a_row() {
        let devices: BTreeMap<_, _> = (1..=6).map(|id| device(id, 1, &format!("host{}", id % 3))).collect();
        for row in plan_rows(&devices, 3, 256).expect("six devices carry three shards") {
            let hosts: std::collections::BTreeSet<&str> =
                row.iter().map(|id| devices[id].failure_domain.as_str()).collect();
            assert_eq!(hosts.len(), 3);
        }
        assert_eq!(
            plan_rows(&devices, 7, 1),
            Err(PlanError::TooFewDevices { width: 7, devices: 6 })
        );
    }

    #[test]
    fn every_row_is_full_of_distinct_devices() {
        let devices: BTreeMap<_, _> = (1..=5)
            .map(|id| device(id, u64::from(id), if id < 5 { "a" } else { "b" }))
            .collect();
        for row in plan_rows(&devices, 4, 100).expect("five devices carry four shards") {
            let distinct: std::collections::BTreeSet<_> = row.iter().collect();
            assert_eq!(distinct.len(), 4);
        }
    }
}
