//! Objects that exist and are read, overwritten or deleted by a load, with the versions that each may be found at.
//!
//! Invariant: `floor` is the last version that was acknowledged before any whose outcome is unknown, `begun` the last that was
//! sent; a read that began at `floor` may see what lies between that and `begun` when it sees it, and nothing else.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::content::Dataset;

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
    /// An overwriting failed, which the server may have done, or do later, all the same.
    is_uncertain: AtomicBool,
}

/// A copy: its index, whose content it has, and of which versions.
#[derive(Debug, Clone)]
pub(crate) struct Copied {
    pub(crate) index: u64,
    pub(crate) content: u64,
    pub(crate) versions: RangeInclusive<u32>,
}

impl Pool {
    /// Objects written once.
    pub(crate) fn new(dataset: &Dataset, indices: impl IntoIterator<Item = u64>) -> Self {
        let entries = indices
            .into_iter()
            .map(|index| Entry::new(dataset, index, index, 0..=0));
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
        let stored = stored.into_iter().map(|index| Entry::new(dataset, index, index, 0..=0));
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
    fn new(dataset: &Dataset, index: u64, content: u64, versions: RangeInclusive<u32>) -> Self {
        Self {
            index,
            content,
            size_bytes: dataset.object(content, 0).size_bytes,
            floor: AtomicU32::new(*versions.start()),
            begun: AtomicU32::new(*versions.end()),
            is_busy: AtomicBool::new(false),
            is_uncertain: AtomicBool::new(false),
        }
    }

    pub(crate) fn floor(&self) -> u32 {
        self.floor.load(Ordering::Acquire)
    }

    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Ordering::Acquire)
    }

    /// The version that a writer who has seized the object is about to send.
    pub(crate) fn begin_version(&self) -> u32 {
        self.begun.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The end of an overwriting; lets go of the object.
    pub(crate) fn end_version(&self, version: u32, succeeded: bool) {
        if !succeeded {
            self.is_uncertain.store(true, Ordering::Release);
        } else if !self.is_uncertain.load(Ordering::Acquire) {
            self.floor.store(version, Ordering::Release);
        }
        self.is_busy.store(false, Ordering::Release);
    }

    /// Lets go of an object that was seized and not overwritten.
    pub(crate) fn release(&self) {
        self.is_busy.store(false, Ordering::Release);
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
    fn the_floor_rises_with_what_is_acknowledged_until_something_is_not_known() {
        let pool = pool();
        let entry = pool.entry(0);
        for (succeeded, floor, begun) in [(true, 1, 1), (true, 2, 2), (false, 2, 3), (true, 2, 4)] {
            pool.seize(0);
            let version = entry.begin_version();
            entry.end_version(version, succeeded);
            assert_eq!((entry.floor(), entry.begun()), (floor, begun));
        }
    }
}
