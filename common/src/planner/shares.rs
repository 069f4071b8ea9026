//! What part of the slots each device should hold.
//!
//! By weight, but no more than one slot of a row for a device and no more than the cap for a failure domain; what that cuts
//! off goes to the others by their weights (water-filling, first over the domains, then within each that is capped).
//! Invariant: the shares of a row add up to its width.

use super::{PlanError, devices::Devices};

/// Halvings of the range in which a level is sought: down to the precision of the numbers.
const HALVINGS: usize = 100;

/// Shares of one row.
#[derive(Debug)]
pub(super) struct Shares {
    of_row: Vec<f64>,
    domain_cap: usize,
}

/// Slots that a device should hold: its share, rounded down or up as moves the least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) exact: f64,
    pub(super) low: usize,
    pub(super) high: usize,
}

impl Shares {
    pub(super) fn new(devices: &Devices, width: usize) -> Result<Self, PlanError> {
        let members = devices.by_domain();
        let count: usize = members.iter().map(Vec::len).sum();
        if count < width {
            return Err(PlanError::TooFewDevices { width, devices: count });
        }
        let domain_cap = domain_cap(&members, width);
        let weights: Vec<f64> = (0..devices.len()).map(|index| devices.weight(index) as f64).collect();
        let mut of_row = vec![0.0; devices.len()];
        let held = |level: f64, domain: &[usize]| domain.iter().map(|index| (level * weights[*index]).min(1.0)).sum();
        let capped = |level: f64, domain: &[usize]| -> f64 { f64::min(held(level, domain), domain_cap as f64) };
        let level = level_for(width as f64, |level| {
            members.iter().map(|domain| capped(level, domain)).sum()
        });
        for domain in &members {
            let total: f64 = held(level, domain);
            let own = if total > domain_cap as f64 {
                level_for(domain_cap as f64, |level| held(level, domain))
            } else {
                level
            };
            for index in domain {
                of_row[*index] = (own * weights[*index]).min(1.0);
            }
        }
        Ok(Self { of_row, domain_cap })
    }

    /// Slots of a row that one failure domain may hold.
    pub(super) fn domain_cap(&self) -> usize {
        self.domain_cap
    }

    /// A device's share of one row.
    pub(super) fn of_row(&self, index: usize) -> f64 {
        self.of_row[index]
    }

    /// What each device should hold over `groups` rows.
    pub(super) fn targets(&self, groups: usize) -> Vec<Target> {
        let target = |share: &f64| Target::around(share * groups as f64);
        self.of_row.iter().map(target).collect()
    }
}

impl Target {
    fn around(exact: f64) -> Self {
        // What is off a whole number by the arithmetic alone is that number.
        Self {
            exact,
            low: (exact + 1e-6).floor() as usize,
            high: (exact - 1e-6).ceil().max(0.0) as usize,
        }
    }
}

/// The smallest number of slots of a row for one domain with which rows can be filled.
fn domain_cap(members: &[Vec<usize>], width: usize) -> usize {
    let room = |cap: usize| -> usize { members.iter().map(|domain| domain.len().min(cap)).sum() };
    let fair = width.div_ceil(members.len());
    (fair..=width).find(|cap| room(*cap) >= width).unwrap_or(width)
}

/// The level at which `held`, which grows with it, comes to `wanted`.
fn level_for(wanted: f64, held: impl Fn(f64) -> f64) -> f64 {
    let mut high = 1.0;
    while held(high) < wanted && high < f64::MAX / 2.0 {
        high *= 2.0;
        // As much as there ever will be, but for the last bits.
        if held(high) == held(high / 2.0) && held(high) >= wanted - 1e-9 {
            return high;
        }
    }
    let mut low = 0.0;
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if held(middle) < wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}
