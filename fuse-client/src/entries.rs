//! Names that the kernel goes by for a moment, and the attributes that come with them.
//!
//! To take a name from the kernel needs the lock of its directory, which may be held by who waits for the very mount that is to take it.
//! So it is never told: it goes by a name for a tenth of a second at a time, and whoever lets go of the lease waits until that is over.
//! Invariant: a lease counts as let go of only after the kernel has stopped going by what it was told under it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_common::wire::file::FileAttributes;
use parking_lot::Mutex;

use crate::volume::Volume;

/// How long the kernel goes by a name: enough for the steps of a path that is walked again and again.
const GONE_BY: Duration = Duration::from_millis(100);

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
    fn will_give(&self, directory: u64, found: Option<u64>, now: Instant) -> (bool, bool) {
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

/// What a name stands for, as the kernel is told.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) attributes: FileAttributes,
    pub(crate) trust: Trust,
}

/// For how long the kernel may go by an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) name: Duration,
    pub(crate) attributes: Duration,
}

impl Volume {
    /// The entry of what was `found` under a name, with the attributes that the kernel is told of it.
    pub(crate) fn entry(&self, directory: u64, name: &Bytes, found: &FileAttributes, told: FileAttributes) -> Entry {
        Entry {
            attributes: told,
            trust: self.entry_trust(directory, name, Some(found)),
        }
    }

    /// For how long the kernel may go by what a name stands for: nothing, or something with these attributes.
    pub(crate) fn entry_trust(&self, directory: u64, name: &Bytes, found: Option<&FileAttributes>) -> Trust {
        let asked_for = self.settings.kernel_cache;
        let now = Instant::now();
        // Noted before it is looked whether it is still known under a lease: whoever lets go of that forgets it first.
        let (is_given, is_given_too) = self.entries.will_give(directory, found.map(|found| found.inode), now);
        let left = if is_given {
            self.name_left(directory, name, found)
        } else {
            Duration::ZERO
        };
        let trusted = GONE_BY.min(left);
        let is_certain = found.is_some_and(|found| is_given_too && self.attributes_stay(found));
        if let Some(found) = found.filter(|_| is_certain) {
            self.kernel.will_trust(self.number(found.inode));
        }
        Trust {
            name: asked_for.max(trusted),
            attributes: asked_for.max(if is_certain { trusted } else { Duration::ZERO }),
        }
    }

    /// How long a name may still be gone by.
    fn name_left(&self, directory: u64, name: &Bytes, found: Option<&FileAttributes>) -> Duration {
        match self.new_file_at(directory, name) {
            Some(new) if found.is_some_and(|found| found.inode == new.inode) => self.files.alone_left(directory),
            Some(_) => Duration::ZERO,
            None => self.files.name_left(directory, name, found),
        }
    }

    /// Whether attributes stay as they are told until somebody changes them: nothing that was written is still to move them.
    fn attributes_stay(&self, told: &FileAttributes) -> bool {
        let opened = self.opened_files.get(told.inode);
        opened.is_none_or(|opened| opened.state.lock().attributes_stay())
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
