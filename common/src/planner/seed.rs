//! The first rows: each is filled with the devices that are furthest behind their shares.
//!
//! A hash of (group, device) decides near-ties, so that neighbouring groups do not share one set of devices. Invariant: the
//! rows keep the rules; that they are balanced to the slot is left to `balance`.

use super::{devices::Devices, mix, shares::Shares};

/// How much the hash may weigh, in slots: enough to vary the sets, too little to unbalance.
const JITTER_SLOTS: f64 = 0.5;

/// Candidates that are looked at first, for each slot of a row.
const CANDIDATES_PER_SLOT: usize = 4;

/// The slots of `groups` rows, one row after the other.
pub(super) fn fill(devices: &Devices, shares: &Shares, width: usize, groups: usize) -> Vec<usize> {
    let mut slots = Vec::with_capacity(width * groups);
    let mut deficits = vec![0.0; devices.len()];
    let mut scored: Vec<(f64, usize)> = Vec::with_capacity(devices.len());
    for group in 0..groups {
        scored.clear();
        for (index, deficit) in deficits.iter_mut().enumerate() {
            if devices.domain(index).is_some() {
                *deficit += shares.of_row(index);
                scored.push((*deficit + JITTER_SLOTS * jitter(group, index), index));
            }
        }
        let row = choose(devices, &mut scored, width, shares.domain_cap());
        for index in &row {
            deficits[*index] -= 1.0;
        }
        slots.extend(in_random_order(row, group));
    }
    slots
}

/// The best of those that the rule allows.
fn choose(devices: &Devices, scored: &mut [(f64, usize)], width: usize, domain_cap: usize) -> Vec<usize> {
    let descending = |left: &(f64, usize), right: &(f64, usize)| right.0.total_cmp(&left.0);
    let first = (width * CANDIDATES_PER_SLOT).min(scored.len());
    if first < scored.len() {
        scored.select_nth_unstable_by(first, descending);
    }
    scored[..first].sort_unstable_by(descending);
    let mut row = take_allowed(devices, &scored[..first], width, domain_cap);
    if row.len() < width {
        scored.sort_unstable_by(descending);
        row = take_allowed(devices, scored, width, domain_cap);
    }
    row
}

fn take_allowed(devices: &Devices, scored: &[(f64, usize)], width: usize, domain_cap: usize) -> Vec<usize> {
    let mut row: Vec<usize> = Vec::with_capacity(width);
    for (_, index) in scored {
        let domain = devices.domain(*index);
        if row.len() < width && row.iter().filter(|taken| devices.domain(**taken) == domain).count() < domain_cap {
            row.push(*index);
        }
    }
    row
}

/// Which shard a device gets must not follow its rank, or data and parity would be spread unevenly.
fn in_random_order(mut row: Vec<usize>, group: usize) -> Vec<usize> {
    row.sort_unstable_by_key(|index| mix(!group, *index));
    row
}

/// A number in 0..1 that only (group, device) decide.
fn jitter(group: usize, index: usize) -> f64 {
    (mix(group, index) >> 11) as f64 / (1_u64 << 53) as f64
}
