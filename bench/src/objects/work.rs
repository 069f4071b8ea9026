//! One phase of load on objects, as the engine runs it: what all its slots share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::pool::{Copied, Pool};
use super::worker::ObjectWorker;
use crate::content::Dataset;
use crate::engine::{Worker, Workload};
use crate::load::{KeyPicker, Mix, OpKind};
use crate::target::ObjectStore;

/// The keys of a run. Invariant: objects below `begun` may exist, and none from there on.
pub(crate) struct Space {
    pub(crate) dataset: Dataset,
    next: AtomicU64,
}

/// What a phase does.
#[derive(Debug, Clone)]
pub(crate) enum Working {
    Only(OpKind),
    Mixed(Mix),
}

/// How the operations are, apart from which.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) part_bytes: u64,
    pub(crate) range_bytes: u64,
    pub(crate) page: u32,
    pub(crate) verify: bool,
}

/// A phase of load.
pub(crate) struct ObjectWork<'a> {
    pub(super) store: &'a dyn ObjectStore,
    pub(super) space: &'a Space,
    pub(super) working: Working,
    pub(super) manner: Manner,
    /// What is read, overwritten, copied or deleted; absent where the work needs none.
    pub(super) pool: Option<(&'a Pool, KeyPicker)>,
    pub(super) wrote: Wrote,
}

/// What a phase has left behind: acknowledged, and not deleted.
#[derive(Debug)]
pub(crate) struct Written {
    /// Indices, in order.
    pub(crate) stored: Vec<u64>,
    pub(crate) copies: Vec<Copied>,
}

/// The same while it grows.
#[derive(Default)]
pub(super) struct Wrote {
    stored: Mutex<VecDeque<u64>>,
    copies: Mutex<Vec<Copied>>,
}

impl Space {
    pub(crate) fn new(dataset: Dataset) -> Self {
        Self {
            dataset,
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn begun(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// The index of a new object.
    pub(super) fn begin(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl<'a> ObjectWork<'a> {
    pub(crate) fn new(
        store: &'a dyn ObjectStore,
        space: &'a Space,
        working: Working,
        manner: Manner,
        pool: Option<(&'a Pool, KeyPicker)>,
    ) -> Self {
        Self {
            store,
            space,
            working,
            manner,
            pool,
            wrote: Wrote::default(),
        }
    }

    pub(crate) fn into_written(self) -> Written {
        let stored = self.wrote.stored.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Slots finish out of order; reading in the order of writing is what a user of the results expects.
        let mut stored = Vec::from(stored);
        stored.sort_unstable();
        let copies = self.wrote.copies.into_inner().unwrap_or_else(PoisonError::into_inner);
        Written { stored, copies }
    }
}

impl Workload for ObjectWork<'_> {
    fn worker<'a>(&'a self, slot: u32, halt: &'a AtomicBool) -> Box<dyn Worker + 'a> {
        Box::new(ObjectWorker::new(self, self.store.session(slot, halt)))
    }

    fn works_in_background(&self) -> bool {
        self.store.works_in_background()
    }
}

impl Wrote {
    pub(super) fn add(&self, index: u64) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.push_back(index);
    }

    /// The oldest of what was written, to be deleted.
    pub(super) fn take_oldest(&self) -> Option<u64> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.pop_front()
    }

    pub(super) fn add_copy(&self, copy: Copied) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.push(copy);
    }
}
