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
        file::{AttributesQuery, FileAnswer, FileId, FileQuery, FileQuestion, FileReply, OrphansPage},
        query::{Answer, Query},
    },
};
use parking_lot::Mutex;

use crate::{
    error::ClientError,
    metadata::{Client, Shared},
    session::Session,
};

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
    shared: Arc<Shared>,
    file: FileId,
}

impl OpenFile {
    /// Whether it was open before this one was opened, or has been opened again since.
    pub fn is_shared(&self) -> bool {
        let files = self.shared.open_files.as_ref();
        files.is_some_and(|files| files.inner.lock().open.get(&self.file).is_some_and(|count| *count > 1))
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let Some(files) = &self.shared.open_files else { return };
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

impl Client {
    /// Enters a file as open. Who opens it asks for its attributes afterwards, and gives it up where it has no name.
    pub fn hold_open(&self, file: FileId) -> OpenFile {
        if let Some(files) = &self.shared.open_files {
            *files.inner.lock().open.entry(file).or_insert(0) += 1;
        }
        OpenFile {
            shared: Arc::clone(&self.shared),
            file,
        }
    }
}

impl Shared {
    /// What the next heartbeat of `session` says.
    pub(crate) fn heartbeat_of(&self, session: &Session) -> Heartbeat {
        let heartbeat = session.heartbeat();
        let Some(files) = &self.open_files else {
            return heartbeat;
        };
        let inner = files.inner.lock();
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
    pub(crate) fn compare_orphans(&self, page: &OrphansPage) -> bool {
        let Some(files) = &self.open_files else { return false };
        let mut inner = files.inner.lock();
        let found: Vec<FileId> = page
            .orphans
            .iter()
            .filter(|file| inner.open.contains_key(*file))
            .copied()
            .collect();
        let any = !found.is_empty();
        inner.held.extend(found);
        inner.seen = inner.seen.max(page.reached);
        page.more || any
    }

    /// Lets a new session, opened at `log_index`, hold what the one before it held.
    pub(crate) async fn take_over_open_files(&self, log_index: u64) -> Result<(), ClientError> {
        let Some(files) = &self.open_files else { return Ok(()) };
        let open: Vec<FileId> = files.inner.lock().open.keys().copied().collect();
        for file in open {
            let question = Some(FileQuestion::Attributes(AttributesQuery { inode: file.inode }));
            let query = Query::File(FileQuery {
                bucket: file.bucket,
                question,
            });
            if let Ok(Answer::File(FileAnswer {
                reply: Some(FileReply::Attributes(attributes)),
            })) = self.read(query).await
                && attributes.links == 0
            {
                files.inner.lock().held.insert(file);
            }
        }
        let mut inner = files.inner.lock();
        inner.seen = inner.seen.max(log_index);
        Ok(())
    }
}
