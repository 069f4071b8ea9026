//! The devices of a plan, by index: those of the map, and those that only the rows before name.
//!
//! Invariant: a device without weight, or that is gone, belongs to no failure domain here, since it leaves every row.

use std::collections::BTreeMap;

use crate::{
    cluster_map::{Device, Row},
    ids::DeviceId,
};

/// The devices of a plan.
pub(super) struct Devices {
    ids: Vec<DeviceId>,
    weights: Vec<u64>,
    /// Of each device; `None` where it is to hold nothing.
    domains: Vec<Option<usize>>,
    domain_count: usize,
}

impl Devices {
    pub(super) fn new(present: &BTreeMap<DeviceId, Device>, before: &[Row]) -> Self {
        let mut ids: Vec<DeviceId> = present.keys().copied().collect();
        ids.extend(before.iter().flatten().filter(|id| !present.contains_key(id)));
        ids.sort_unstable();
        ids.dedup();
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut weights = Vec::with_capacity(ids.len());
        let mut domains = Vec::with_capacity(ids.len());
        for id in &ids {
            let device = present.get(id).filter(|device| device.weight_bytes > 0);
            weights.push(device.map_or(0, |device| device.weight_bytes));
            domains.push(device.map(|device| {
                let next = numbers.len();
                *numbers.entry(&device.failure_domain).or_insert(next)
            }));
        }
        Self {
            ids,
            weights,
            domains,
            domain_count: numbers.len(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn id(&self, index: usize) -> DeviceId {
        self.ids[index]
    }

    pub(super) fn weight(&self, index: usize) -> u64 {
        self.weights[index]
    }

    pub(super) fn domain(&self, index: usize) -> Option<usize> {
        self.domains[index]
    }

    /// The devices of each failure domain.
    pub(super) fn by_domain(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.domain_count];
        for (index, domain) in self.domains.iter().enumerate() {
            if let Some(domain) = domain {
                members[*domain].push(index);
            }
        }
        members
    }

    /// The slots of `rows`, one row after the other.
    pub(super) fn indexes(&self, rows: &[Row]) -> Vec<usize> {
        let index = |id: &DeviceId| self.ids.binary_search(id).expect("the devices of all rows are here");
        rows.iter().flatten().map(index).collect()
    }
}
