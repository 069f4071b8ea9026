//! What a mount holds open, and what of it has lost its last name: told with each heartbeat, so that it stays.
//!
//! Invariant: a file is entered here before it is asked for what opens it, so that none is lost between the question and the
//! heartbeat; what was compared up to a log index is reported only after every file that is open was looked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cairn_common::{
    limits,
    wire::{
        command::Heartbeat,
        file::{FileId, OrphansPage},
    },
};
use parking_lot::Mutex;

/// The open files of a mount.
#[derive(Default)]
pub(crate) struct OpenFiles {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// How often each is open.
    open: BTreeMap<FileId, usize>,
    /// Those of them without a name.
    held: BTreeSet<FileId>,
    /// All open files were compared with what lost its last name up to this log index.
    seen: u64,
}

/// A file that a mount has open; dropping it closes it. While it is there, the file stays even without a name.
pub struct OpenFile {
    files: Option<Arc<OpenFiles>>,
    file: FileId,
}

impl OpenFiles {
    /// Enters a file as open.
    pub(crate) fn enter(files: Option<&Arc<Self>>, file: FileId) -> OpenFile {
        if let Some(files) = files {
            *files.inner.lock().open.entry(file).or_insert(0) += 1;
        }
        OpenFile {
            files: files.cloned(),
            file,
        }
    }

    /// Up to where what lost its name was looked for.
    pub(crate) fn seen(&self) -> u64 {
        self.inner.lock().seen
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<FileId> {
        self.inner.lock().open.keys().copied().collect()
    }

    /// Adds to a heartbeat what is held, and up to where what lost its name was looked for.
    pub(crate) fn tell(&self, heartbeat: Heartbeat) -> Heartbeat {
        let inner = self.inner.lock();
        if inner.held.len() > limits::HELD_FILES_MAX {
            let (held, bound) = (inner.held.len(), limits::HELD_FILES_MAX);
            tracing::error!(
                held,
                bound,
                "more files without a name are open than can be kept: some are lost"
            );
        }
        Heartbeat {
            orphans_seen: inner.seen,
            held: inner.held.iter().copied().take(limits::HELD_FILES_MAX).collect(),
            ..heartbeat
        }
    }

    /// Compares files that lost their last name with those that are open. Says whether the service should be told at once.
    pub(crate) fn compare(&self, page: &OrphansPage) -> bool {
        let mut inner = self.inner.lock();
        let is_open = |file: &&FileId| inner.open.contains_key(*file);
        let found: Vec<FileId> = page.orphans.iter().filter(is_open).copied().collect();
        let any = !found.is_empty();
        inner.held.extend(found);
        inner.seen = inner.seen.max(page.reached);
        page.more || any
    }

    /// Lets a session that was opened at `log_index` hold these, if they are still open.
    pub(crate) fn take_over(&self, nameless: &[FileId], log_index: u64) {
        let mut inner = self.inner.lock();
        for file in nameless {
            if inner.open.contains_key(file) {
                inner.held.insert(*file);
            }
        }
        inner.seen = inner.seen.max(log_index);
    }
}

impl OpenFile {
    /// Whether it was open before this one was opened, or has been opened again since.
    pub fn is_shared(&self) -> bool {
        let files = self.files.as_ref();
        files.is_some_and(|files| files.inner.lock().open.get(&self.file).is_some_and(|count| *count > 1))
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let Some(files) = &self.files else { return };
        let mut inner = files.inner.lock();
        let Some(count) = inner.open.get_mut(&self.file) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            inner.open.remove(&self.file);
            inner.held.remove(&self.file);
        }
    }
}
