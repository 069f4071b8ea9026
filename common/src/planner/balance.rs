//! Bringing rows to the rules and devices to their shares, with few moves.
//!
//! First every row that breaks the domain rule is mended. Then each device above its share (rounded up) gives slots to those
//! below theirs (rounded down), or else to those with room, and at last those below are given what others can spare: a slot
//! that goes directly costs one move, and no plan needs fewer. What the rules forbid to go directly goes along a chain of
//! devices: the cheapest augmenting path, on which a slot that is moved for the first time costs one, one that was moved
//! already nothing, and one that goes back to who had it gives one back (successive shortest paths, as in Ahuja, Magnanti and
//! Orlin, *Network Flows*, 9.7).

use std::collections::VecDeque;

use super::{
    mix,
    rows::{Replacement, Rows},
};

/// Possible replacements that are looked at for chains, at most: seconds of work.
const CHECKS_MAX: usize = 1 << 29;

/// How often a cheaper way to one device is followed up.
const VISITS_MAX: usize = 8;

/// Slots that a device gives, or wants.
type Count = fn(&Rows, usize) -> usize;

pub(super) fn settle(rows: &mut Rows) {
    let mut checks_left = CHECKS_MAX;
    mend_rows(rows);
    give_directly(rows, Rows::excess, Rows::deficit);
    // A chain that costs no more than a direct move does two things in one.
    give_by_chains(rows, Rows::excess, Rows::deficit, 1, &mut checks_left);
    give_directly(rows, Rows::excess, Rows::room);
    give_by_chains(rows, Rows::excess, Rows::room, i32::MAX, &mut checks_left);
    give_directly(rows, Rows::spare, Rows::deficit);
    give_by_chains(rows, Rows::spare, Rows::deficit, i32::MAX, &mut checks_left);
    leave_rows(rows);
}

/// Devices that are to hold nothing leave even where that unbalances others.
fn leave_rows(rows: &mut Rows) {
    for out in 0..rows.device_count() {
        if !rows.is_leaving(out) {
            continue;
        }
        for group in rows.groups_of(out).to_vec() {
            if let Some(taker) = best_taker(rows, group, out, 0..rows.device_count()) {
                rows.replace(Replacement { group, out, taker });
            }
        }
    }
}

/// Of some devices the one that needs a slot most, among those that may take it.
fn best_taker(rows: &Rows, group: usize, out: usize, of: impl Iterator<Item = usize>) -> Option<usize> {
    let fitting = of.filter(|taker| {
        let taker = *taker;
        rows.fits(Replacement { group, out, taker })
    });
    fitting.max_by(|left, right| compare_need(rows, group, *left, *right))
}

/// Takes from every failure domain the slots of a row that it holds too many.
fn mend_rows(rows: &mut Rows) {
    for group in 0..rows.group_count() {
        loop {
            let crowded = rows
                .row(group)
                .iter()
                .copied()
                .filter(|index| rows.is_crowded(group, *index));
            let Some(out) = crowded.max_by_key(|index| (rows.excess(*index), mix(group, *index))) else {
                break;
            };
            // There is one: the cap is such that it can be kept.
            let Some(taker) = best_taker(rows, group, out, 0..rows.device_count()) else {
                break;
            };
            rows.replace(Replacement { group, out, taker });
        }
    }
}

fn compare_need(rows: &Rows, group: usize, left: usize, right: usize) -> std::cmp::Ordering {
    let by_need = rows.need(left).total_cmp(&rows.need(right));
    let by_excess = rows.excess(right).cmp(&rows.excess(left));
    by_need.then(by_excess).then(mix(group, left).cmp(&mix(group, right)))
}

fn give_directly(rows: &mut Rows, gives: Count, wants: Count) {
    let devices = 0..rows.device_count();
    let mut givers: Vec<usize> = devices.clone().filter(|index| gives(rows, *index) > 0).collect();
    givers.sort_by_key(|index| (!rows.is_leaving(*index), std::cmp::Reverse(gives(rows, *index))));
    let mut wanting: Vec<usize> = devices.filter(|index| wants(rows, *index) > 0).collect();
    for out in givers {
        let mut groups = rows.groups_of(out).to_vec();
        groups.sort_unstable_by_key(|group| mix(*group, out));
        for group in groups {
            if gives(rows, out) == 0 || wanting.is_empty() {
                break;
            }
            let Some(taker) = best_taker(rows, group, out, wanting.iter().copied().filter(|taker| *taker != out))
            else {
                continue;
            };
            rows.replace(Replacement { group, out, taker });
            if wants(rows, taker) == 0 {
                wanting.retain(|index| *index != taker);
            }
        }
    }
}

fn give_by_chains(rows: &mut Rows, gives: Count, wants: Count, cost_max: i32, checks_left: &mut usize) {
    for from in 0..rows.device_count() {
        while gives(rows, from) > 0 {
            let Some(chain) = find_chain(rows, from, wants, cost_max, checks_left) else {
                break;
            };
            let wanted = chain.len();
            let made = chain.into_iter().take_while(|step| {
                let fits = rows.fits(*step);
                if fits {
                    rows.replace(*step);
                }
                fits
            });
            // Steps of one chain can stand in each other's way in a row that two of them change; what was made is sound.
            if made.count() < wanted {
                break;
            }
        }
    }
}

/// How a device is reached: at what cost, by which last step.
#[derive(Clone, Copy)]
struct Reached {
    cost: i32,
    by: Option<Replacement>,
}

/// The cheapest way of replacements from a device that gives slots to one that wants some, if it costs no more than `cost_max`.
fn find_chain(
    rows: &Rows,
    from: usize,
    wants: Count,
    cost_max: i32,
    checks_left: &mut usize,
) -> Option<Vec<Replacement>> {
    if (0..rows.device_count()).all(|end| wants(rows, end) == 0) {
        return None;
    }
    let mut reached: Vec<Option<Reached>> = vec![None; rows.device_count()];
    reached[from] = Some(Reached { cost: 0, by: None });
    let mut visits = vec![0; rows.device_count()];
    let mut queue = VecDeque::from([from]);
    while let Some(out) = queue.pop_front() {
        visits[out] += 1;
        let Some(so_far) = reached[out] else { continue };
        for group in rows.groups_of(out) {
            *checks_left = checks_left.checked_sub(rows.device_count())?;
            for taker in (0..rows.device_count()).filter(|taker| *taker != from) {
                let step = Replacement {
                    group: *group,
                    out,
                    taker,
                };
                let cost = so_far.cost + rows.cost(step);
                if reached[taker].is_some_and(|known| known.cost <= cost) || cost > cost_max || !rows.fits(step) {
                    continue;
                }
                reached[taker] = Some(Reached { cost, by: Some(step) });
                if visits[taker] < VISITS_MAX && !queue.contains(&taker) {
                    queue.push_back(taker);
                }
            }
        }
    }
    let wanting = (0..rows.device_count()).filter(|end| *end != from && wants(rows, *end) > 0);
    let ends = wanting.filter_map(|end| Some((reached[end]?.cost, end)));
    let (_, best) = ends.min().filter(|(cost, _)| *cost <= cost_max)?;
    way_back(&reached, from, best)
}

/// The steps from `from` to `end`, the last first: a device gives before it takes, so that none holds a slot too many for long.
fn way_back(reached: &[Option<Reached>], from: usize, end: usize) -> Option<Vec<Replacement>> {
    let mut steps = Vec::new();
    let mut at = end;
    while at != from {
        let step = reached[at]?.by?;
        if steps.len() == reached.len() {
            return None;
        }
        steps.push(step);
        at = step.out;
    }
    Some(steps)
}
