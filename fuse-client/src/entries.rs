//! Names that the kernel goes by for a moment, and the attributes that come with them.
//!
//! Here is what was given when; `trust.rs` decides what is.
//! To take a name from the kernel needs the lock of its directory, which may be held by who waits for the very mount that is to take it.
//! So it is never told: it goes by a name for a tenth of a second at a time, and whoever lets go of the lease waits until that is over.
//! Invariant: a lease counts as let go of only after the kernel has stopped going by what it was told under it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How long the kernel goes by a name at a time: enough for the steps of a path that is walked again and again.
pub(crate) const GONE_BY: Duration = Duration::from_millis(100);

/// The same, with the time that an answer may be on its way to a program that has to be scheduled.
const GONE_BY_AT_MOST: Duration = Duration::from_millis(300);

/// How long none are given of an inode that had to be waited for, or in its directory: others use it too, and would wait each time.
const SHARED_FOR: Duration = Duration::from_secs(10);

/// Inodes from which on those are looked for that nothing is gone by of any more.
const MANY: usize = 1 << 14;

/// What was given, by inode: the names in a directory, and attributes with a name.
#[derive(Debug)]
pub(crate) struct Entries {
    inodes: Mutex<Inodes>,
}

#[derive(Debug)]
struct Inodes {
    given: HashMap<u64, Given>,
    shared_until: HashMap<u64, Instant>,
    many: usize,
}

#[derive(Clone, Copy, Debug)]
struct Given {
    /// The directory in which it was: of names the inode itself.
    directory: u64,
    until: Instant,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            inodes: Mutex::new(Inodes {
                given: HashMap::new(),
                shared_until: HashMap::new(),
                many: MANY,
            }),
        }
    }
}

impl Entries {
    /// A name in a directory is about to be given, with the attributes of an inode; whether each may be.
    pub(crate) fn will_give(&self, directory: u64, found: Option<u64>, now: Instant) -> (bool, bool) {
        let mut inodes = self.inodes.lock();
        if inodes.is_shared(directory, now) {
            return (false, false);
        }
        let found = found.filter(|inode| !inodes.is_shared(*inode, now));
        let until = now + GONE_BY_AT_MOST;
        for inode in found.into_iter().chain([directory]) {
            inodes.given.insert(inode, Given { directory, until });
        }
        inodes.tidy(now);
        (true, found.is_some())
    }

    /// Nothing of these inodes, or of all, is given from now on for a while, where something is gone by. Gives until when it is.
    pub(crate) fn take_back(&self, inodes: Option<&[u64]>, now: Instant) -> Option<Instant> {
        let mut all = self.inodes.lock();
        let Inodes {
            given, shared_until, ..
        } = &mut *all;
        let live = |given: &Given| given.until > now;
        let Some(inodes) = inodes else {
            // Losing all leases says nothing about who else uses what.
            return given
                .values()
                .filter(|given| live(given))
                .map(|given| given.until)
                .max();
        };
        let mut last = None;
        for inode in inodes {
            let Some(given) = given.get(inode).filter(|given| live(given)) else {
                continue;
            };
            last = last.max(Some(given.until));
            shared_until.insert(*inode, now + SHARED_FOR);
            shared_until.insert(given.directory, now + SHARED_FOR);
        }
        last
    }
}

impl Inodes {
    fn is_shared(&self, inode: u64, now: Instant) -> bool {
        self.shared_until.get(&inode).is_some_and(|until| *until > now)
    }

    fn tidy(&mut self, now: Instant) {
        if self.given.len() + self.shared_until.len() >= self.many {
            self.given.retain(|_, given| given.until > now);
            self.shared_until.retain(|_, until| *until > now);
            self.many = MANY.max(2 * (self.given.len() + self.shared_until.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_to_be_waited_for_is_not_given_for_a_while() {
        let (entries, start) = (Entries::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(entries.will_give(1, Some(7), at(0)), (true, true));
        assert_eq!(entries.will_give(2, None, at(10)), (true, false));
        assert_eq!(entries.take_back(Some(&[9]), at(20)), None);
        assert_eq!(entries.take_back(Some(&[7, 9]), at(20)), Some(at(300)));
        assert_eq!(
            entries.will_give(1, Some(8), at(30)),
            (false, false),
            "its directory is shared"
        );
        assert_eq!(
            entries.will_give(2, Some(7), at(30)),
            (true, false),
            "and so is the file"
        );
        assert_eq!(entries.take_back(Some(&[1]), at(400)), None, "nothing is gone by");
        assert_eq!(entries.will_give(1, Some(7), at(10_020)), (true, true));
        // A lease that was lost is not one that others wanted.
        assert_eq!(entries.take_back(None, at(10_030)), Some(at(10_320)));
        assert_eq!(entries.will_give(1, Some(7), at(10_040)), (true, true));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let (entries, start) = (Entries::default(), Instant::now());
        for inode in 0..3 * MANY as u64 {
            entries.will_give(1, Some(2 + inode), start + Duration::from_millis(inode));
        }
        assert!(entries.inodes.lock().given.len() <= MANY);
    }
}
