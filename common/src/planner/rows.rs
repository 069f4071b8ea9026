//! Rows under change: who holds which slots, and who may take one from whom.
//!
//! Invariant: every replacement that [`Rows::fits`] allows keeps the rules of its row.

use super::{devices::Devices, shares::Target};
use crate::cluster_map::Row;

/// The rows of one width.
pub(super) struct Rows {
    devices: Devices,
    /// One row after the other.
    slots: Vec<usize>,
    /// What they were at first.
    before: Vec<usize>,
    width: usize,
    domain_cap: usize,
    /// Of each device, the groups in whose rows it is.
    groups: Vec<Vec<usize>>,
    targets: Vec<Target>,
}

/// In a group's row one device takes the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replacement {
    pub(super) group: usize,
    pub(super) out: usize,
    pub(super) taker: usize,
}

impl Rows {
    pub(super) fn new(
        devices: Devices,
        slots: Vec<usize>,
        width: usize,
        domain_cap: usize,
        targets: Vec<Target>,
    ) -> Self {
        let mut groups = vec![Vec::new(); devices.len()];
        for (slot, index) in slots.iter().enumerate() {
            groups[*index].push(slot / width);
        }
        Self {
            devices,
            before: slots.clone(),
            slots,
            width,
            domain_cap,
            groups,
            targets,
        }
    }

    pub(super) fn group_count(&self) -> usize {
        self.slots.len() / self.width
    }

    pub(super) fn device_count(&self) -> usize {
        self.devices.len()
    }

    /// The devices of a group's row.
    pub(super) fn row(&self, group: usize) -> &[usize] {
        &self.slots[group * self.width..(group + 1) * self.width]
    }

    /// The groups in whose rows a device is.
    pub(super) fn groups_of(&self, index: usize) -> &[usize] {
        &self.groups[index]
    }

    /// Slots that a device must give away.
    pub(super) fn excess(&self, index: usize) -> usize {
        self.load(index).saturating_sub(self.targets[index].high)
    }

    /// Slots that it could give away.
    pub(super) fn spare(&self, index: usize) -> usize {
        self.load(index).saturating_sub(self.targets[index].low)
    }

    /// Slots that it must be given.
    pub(super) fn deficit(&self, index: usize) -> usize {
        self.targets[index].low.saturating_sub(self.load(index))
    }

    /// Slots that it could be given.
    pub(super) fn room(&self, index: usize) -> usize {
        self.targets[index].high.saturating_sub(self.load(index))
    }

    /// What it lacks, as a part of its share.
    pub(super) fn need(&self, index: usize) -> f64 {
        let exact = self.targets[index].exact;
        (exact - self.load(index) as f64) / exact.max(1.0)
    }

    fn load(&self, index: usize) -> usize {
        self.groups[index].len()
    }

    /// Whether the device is one that should leave every row.
    pub(super) fn is_leaving(&self, index: usize) -> bool {
        self.devices.domain(index).is_none()
    }

    /// Slots of a group's row that the failure domain of a device holds, beyond what it may.
    pub(super) fn is_crowded(&self, group: usize, index: usize) -> bool {
        let domain = self.devices.domain(index);
        domain.is_some() && self.held(group, domain) > self.domain_cap
    }

    /// Whether a replacement keeps the rules.
    pub(super) fn fits(&self, change: Replacement) -> bool {
        let Replacement { group, out, taker } = change;
        let domain = self.devices.domain(taker);
        if domain.is_none() || self.row(group).contains(&taker) {
            return false;
        }
        let freed = usize::from(self.devices.domain(out) == domain);
        self.held(group, domain) - freed < self.domain_cap
    }

    /// Moves that a replacement adds to those made so far; -1 where it takes one back.
    pub(super) fn cost(&self, change: Replacement) -> i32 {
        let Replacement { group, out, taker } = change;
        let place = self.row(group).iter().position(|index| *index == out);
        let before = self.before[group * self.width + place.expect("it is in the row")];
        i32::from(before == out) - i32::from(before == taker)
    }

    fn held(&self, group: usize, domain: Option<usize>) -> usize {
        let of_domain = |index: &&usize| self.devices.domain(**index) == domain;
        self.row(group).iter().filter(of_domain).count()
    }

    /// Makes a replacement.
    pub(super) fn replace(&mut self, change: Replacement) {
        let Replacement { group, out, taker } = change;
        let start = group * self.width;
        let row = &mut self.slots[start..start + self.width];
        let place = row.iter().position(|index| *index == out).expect("it is in the row");
        row[place] = taker;
        let left = &mut self.groups[out];
        let at = left.iter().position(|of| *of == group).expect("it is in the row");
        left.swap_remove(at);
        self.groups[taker].push(group);
    }

    pub(super) fn into_rows(self) -> Vec<Row> {
        let row = |slots: &[usize]| slots.iter().map(|index| self.devices.id(*index)).collect();
        self.slots.chunks_exact(self.width).map(row).collect()
    }
}
