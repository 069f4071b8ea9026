//! Makes a failing sequence short: takes out what is not needed to fail in the same way.

use super::{
    generate::{Profile, Step},
    run::{Difference, Run},
};

/// Tries at most: a sequence that is still long then is printed as it is.
const TRIES_MAX: usize = 3000;

/// The shortest failing part of `steps` that was found, and how it fails.
pub(super) fn shrink(profile: Profile, steps: &[Step], on_disk: bool, first: Difference) -> (Vec<Step>, Difference) {
    let mut best = (steps.to_vec(), first);
    let mut tries = 0;
    let mut part = best.0.len() / 2;
    while part > 0 {
        let mut at = 0;
        let mut removed = false;
        while at < best.0.len() && tries < TRIES_MAX {
            let mut shorter = best.0.clone();
            shorter.drain(at..(at + part).min(shorter.len()));
            tries += 1;
            match Run::steps(profile, &shorter, on_disk) {
                Err(difference) if difference.kind == best.1.kind => {
                    best = (shorter, difference);
                    removed = true;
                }
                Err(_) | Ok(_) => at += part,
            }
        }
        // Single steps are tried again as long as that helps: one may have been needed only by another.
        part = if part == 1 && removed && tries < TRIES_MAX {
            1
        } else {
            part / 2
        };
    }
    best
}
