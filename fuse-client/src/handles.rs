//! Files and directories that programs have open, by the numbers that the kernel is given.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cairn_client::OpenFile;
use fuser::{Errno, FileHandle};
use parking_lot::Mutex;

use crate::{convert::Outcome, directory::Reading, opened::Opened};

/// A file that is open.
pub(crate) struct Handle {
    pub(crate) opened: Arc<Opened>,
    /// Up to which error of a flush its owner was told.
    pub(crate) told: Mutex<u64>,
    /// Owners of `fcntl` locks that were asked for through it. Those of an open file description end with it, and the kernel does
    /// not say so.
    lock_owners: Mutex<HashSet<u64>>,
    /// Keeps the file though it loses its names.
    _open: OpenFile,
}

impl Handle {
    pub(crate) fn new(opened: Arc<Opened>, open: OpenFile) -> Self {
        let told = opened.state.lock().told_at_open();
        Self {
            opened,
            told: Mutex::new(told),
            lock_owners: Mutex::default(),
            _open: open,
        }
    }

    pub(crate) fn enter_lock_owner(&self, owner: u64) {
        self.lock_owners.lock().insert(owner);
    }

    pub(crate) fn lock_owners(&self) -> Vec<u64> {
        self.lock_owners.lock().iter().copied().collect()
    }

    /// The error that the owner was not told of.
    pub(crate) fn error(&self) -> Outcome<()> {
        let mut told = self.told.lock();
        self.opened.state.lock().error_since(&mut told).map_or(Ok(()), Err)
    }

    /// The same, and it counts as untold: a program that ends closes what it shares with another, and nobody sees the answer.
    pub(crate) fn error_at_close(&self) -> Outcome<()> {
        let mut told = *self.told.lock();
        self.opened.state.lock().error_since(&mut told).map_or(Ok(()), Err)
    }
}

/// Things by number.
pub(crate) struct Table<T> {
    next: AtomicU64,
    entries: Mutex<HashMap<u64, Arc<T>>>,
}

pub(crate) type Handles = Table<Handle>;
pub(crate) type Directories = Table<Reading>;

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(1),
            entries: Mutex::default(),
        }
    }
}

impl<T> Table<T> {
    pub(crate) fn enter(&self, entry: T) -> FileHandle {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.entries.lock().insert(number, Arc::new(entry));
        FileHandle(number)
    }

    pub(crate) fn get(&self, handle: FileHandle) -> Outcome<Arc<T>> {
        self.entries.lock().get(&handle.0).cloned().ok_or(Errno::EBADF)
    }

    pub(crate) fn remove(&self, handle: FileHandle) -> Option<Arc<T>> {
        self.entries.lock().remove(&handle.0)
    }
}
