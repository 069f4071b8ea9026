//! Programs of this mount that wait for each other's locks in a circle, none of which would ever go on.
//!
//! Invariant: a circle counts only where each of its waits was confirmed after the last of them began: a program that waits gives
//! nothing back meanwhile, so at that moment all of them held what the next one wants. What programs of other mounts wait for is not
//! known here.

use std::{collections::HashMap, time::Instant};

use parking_lot::Mutex;

/// Who waits for whom, by owners of locks.
#[derive(Default)]
pub(crate) struct Waits(Mutex<HashMap<u64, Wait>>);

/// One owner's wait.
#[derive(Clone, Copy)]
struct Wait {
    since: Instant,
    holder: u64,
    confirmed: Instant,
}

/// A wait that is noted, until it is dropped.
pub(crate) struct Waiting<'a> {
    waits: &'a Waits,
    owner: u64,
    since: Instant,
}

impl Waits {
    /// `owner` begins to wait.
    pub(crate) fn begin(&self, owner: u64, now: Instant) -> Waiting<'_> {
        Waiting {
            waits: self,
            owner,
            since: now,
        }
    }
}

impl Waiting<'_> {
    /// Notes that `holder` has what is wanted at this moment; whether that closes a circle of waits.
    pub(crate) fn confirm(&self, holder: u64, now: Instant) -> bool {
        let mut waits = self.waits.0.lock();
        let wait = Wait {
            since: self.since,
            holder,
            confirmed: now,
        };
        waits.insert(self.owner, wait);
        let (mut circle, mut at) = (vec![wait], holder);
        while at != self.owner {
            // No longer than there are waits: one that leads into another circle does not come back here.
            match waits.get(&at) {
                Some(next) if circle.len() < waits.len() => circle.push(*next),
                _ => return false,
            }
            at = circle[circle.len() - 1].holder;
        }
        let begun = circle.iter().map(|wait| wait.since).max();
        circle.iter().all(|wait| Some(wait.confirmed) >= begun)
    }

    /// Notes that what is wanted looks free, or is held where nothing is known of who waits.
    pub(crate) fn clear(&self) {
        self.waits.0.lock().remove(&self.owner);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn times() -> impl Iterator<Item = Instant> {
        let first = Instant::now();
        (0..).map(move |step| first + Duration::from_millis(step))
    }

    #[test]
    fn a_circle_is_found_once_all_of_it_was_confirmed() {
        let (waits, mut now) = (Waits::default(), times());
        let mut next = || now.next().expect("time goes on");
        let one = waits.begin(1, next());
        assert!(!one.confirm(2, next()));
        let two = waits.begin(2, next());
        assert!(!two.confirm(3, next()));
        let three = waits.begin(3, next());
        // What the others wait for may have changed before this one began to.
        assert!(!three.confirm(1, next()));
        assert!(!one.confirm(2, next()));
        assert!(two.confirm(3, next()));
    }

    #[test]
    fn waits_that_end_or_lead_elsewhere_close_no_circle() {
        let (waits, mut now) = (Waits::default(), times());
        let mut next = || now.next().expect("time goes on");
        let one = waits.begin(1, next());
        assert!(!one.confirm(2, next()));
        let two = waits.begin(2, next());
        drop(one);
        assert!(!two.confirm(1, next()));
        // A circle of others.
        let (three, four) = (waits.begin(3, next()), waits.begin(4, next()));
        assert!(!three.confirm(4, next()));
        assert!(four.confirm(3, next()));
        assert!(!two.confirm(3, next()));
        four.clear();
        assert!(!three.confirm(4, next()));
    }
}
