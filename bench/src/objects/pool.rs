//! Objects that exist and are read, overwritten or deleted by a load, with the versions that each may be found at.
//!
//! Invariant: `floor` is the last version that was acknowledged, `begun` the last that was sent; a read that began at `floor` may
//! see what lies between that and `begun` when it sees it, a version before that which was given up and may come to be, and
//! nothing else.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::content::Dataset;
use crate::limits::MAX_STRAGGLERS;
use crate::reading::Versions;

/// Objects, by place.
pub(crate) struct Pool {
    entries: Vec<Entry>,
}

/// One object.
pub(crate) struct Entry {
    /// Its key.
    pub(crate) index: u64,
    /// Whose content it has: its own, unless it is a copy.
    pub(crate) content: u64,
    pub(crate) size_bytes: u64,
    floor: AtomicU32,
    begun: AtomicU32,
    /// Being overwritten.
    is_busy: AtomicBool,
    /// Versions whose writing failed, and which the server may have taken, or take later, all the same.
    stragglers: Mutex<Vec<u32>>,
}

/// A copy: its index, whose content it has, and of which versions.
#[derive(Debug, Clone)]
pub(crate) struct Copied {
    pub(crate) index: u64,
    pub(crate) content: u64,
    pub(crate) versions: Versions,
}

impl Pool {
    /// Objects written once.
    pub(crate) fn new(dataset: &Dataset, indices: impl IntoIterator<Item = u64>) -> Self {
        let entries = indices
            .into_iter()
            .map(|index| Entry::new(dataset, index, index, Versions::only(0)));
        Self {
            entries: entries.collect(),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn entry(&self, place: u64) -> &Entry {
        &self.entries[place as usize]
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds what a load has written.
    pub(crate) fn add(&mut self, dataset: &Dataset, stored: Vec<u64>, copies: Vec<Copied>) {
        let stored = stored
            .into_iter()
            .map(|index| Entry::new(dataset, index, index, Versions::only(0)));
        let copies = copies.into_iter();
        let copies = copies.map(|copy| Entry::new(dataset, copy.index, copy.content, copy.versions));
        self.entries.extend(stored.chain(copies));
    }

    /// The first object from `place` on that nobody overwrites, now this caller's to overwrite.
    pub(crate) fn seize(&self, place: u64) -> Option<u64> {
        let places = (place..self.len()).chain(0..place);
        places
            .into_iter()
            .find(|place| !self.entry(*place).is_busy.swap(true, Ordering::AcqRel))
    }
}

impl Entry {
    fn new(dataset: &Dataset, index: u64, content: u64, versions: Versions) -> Self {
        let Versions { range, stragglers } = versions;
        Self {
            index,
            content,
            size_bytes: dataset.object(content, 0).size_bytes,
            floor: AtomicU32::new(*range.start()),
            begun: AtomicU32::new(*range.end()),
            is_busy: AtomicBool::new(false),
            stragglers: Mutex::new(stragglers),
        }
    }

    pub(crate) fn floor(&self) -> u32 {
        self.floor.load(Ordering::Acquire)
    }

    /// What may be seen by now by whoever began at `floor`.
    pub(crate) fn seen_since(&self, floor: u32) -> Versions {
        let mut stragglers = self.stragglers().clone();
        stragglers.retain(|version| *version < floor);
        Versions {
            range: floor..=self.begun.load(Ordering::Acquire),
            stragglers,
        }
    }

    /// The version that a writer who has seized the object is about to send.
    pub(crate) fn begin_version(&self) -> u32 {
        self.begun.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The end of an overwriting; lets go of the object.
    pub(crate) fn end_version(&self, version: u32, succeeded: bool) {
        let mut stragglers = self.stragglers();
        // Where too many have failed, the floor stays where it is, and whatever comes after may be seen.
        let is_full = stragglers.len() >= MAX_STRAGGLERS;
        if succeeded && !is_full {
            self.floor.store(version, Ordering::Release);
        } else if !is_full {
            stragglers.push(version);
        }
        drop(stragglers);
        self.is_busy.store(false, Ordering::Release);
    }

    /// Lets go of an object that was seized and not overwritten.
    pub(crate) fn release(&self) {
        self.is_busy.store(false, Ordering::Release);
    }

    fn stragglers(&self) -> MutexGuard<'_, Vec<u32>> {
        self.stragglers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        let dataset = Dataset::new("p/", 1, &"10".parse().unwrap());
        Pool::new(&dataset, [4, 7])
    }

    #[test]
    fn an_object_is_overwritten_by_one_at_a_time() {
        let pool = pool();
        assert_eq!((pool.seize(1), pool.seize(1), pool.seize(1)), (Some(1), Some(0), None));
        pool.entry(0).release();
        assert_eq!(pool.seize(1), Some(0));
    }

    #[test]
    fn the_floor_rises_with_what_is_acknowledged_and_what_is_not_known_stays_possible() {
        let pool = pool();
        let entry = pool.entry(0);
        for (succeeded, seen) in [
            (true, vec![1]),
            (true, vec![2]),
            (false, vec![2, 3]),
            (true, vec![3, 4]),
            (false, vec![3, 4, 5]),
            (true, vec![3, 5, 6]),
        ] {
            pool.seize(0);
            let version = entry.begin_version();
            entry.end_version(version, succeeded);
            assert_eq!(entry.seen_since(entry.floor()).iter().collect::<Vec<_>>(), seen);
        }
        // Who began before that may see everything since.
        assert_eq!(entry.seen_since(2).iter().collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn where_too_many_have_failed_every_later_version_may_be_seen() {
        let pool = pool();
        let entry = pool.entry(0);
        let write = |succeeded| entry.end_version(entry.begin_version(), succeeded);
        write(true);
        (0..MAX_STRAGGLERS).for_each(|_| write(false));
        let before = entry.floor();
        write(true);
        write(false);
        assert_eq!((before, entry.floor()), (1, 1));
        let last = MAX_STRAGGLERS as u32 + 3;
        assert!(entry.seen_since(1).iter().eq(1..=last));
    }
}
