//! Leases of files: what a mount was told of them is gone by without asking again, until the service recalls it.
//!
//! Here is what is known, and who else goes by it; `recalls.rs` asks what is recalled. Invariant: what is recalled is forgotten here, and by
//! the kernel, before the service is told so.

mod known;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use cairn_common::wire::{
    command::{Command, Outcome, WriteReply},
    file::{FileAction, FileAttributes, FileCommand, FileId},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use self::known::Asked;
use self::known::{Change, Known};

/// Who goes by what it was told of files: a mount's kernel.
pub trait LeaseHolder: Send + Sync + 'static {
    /// This mount itself has changed these inodes.
    fn note_change(&self, inodes: &[u64]);

    /// Lets go of what it was told of these inodes, or of all; done when the future is.
    fn release(&self, inodes: Option<Vec<u64>>) -> BoxFuture<'static, ()>;
}

/// The leases of a mount. A client that holds none goes by nothing.
pub(crate) struct Leases {
    known: Mutex<Known>,
    holder: OnceLock<Arc<dyn LeaseHolder>>,
}

/// A command that may change what is known. Where its answer is not taken note of, all that is known is forgotten: it may have been
/// carried out.
pub(crate) struct OwnCommand<'a> {
    leases: &'a Leases,
    asked: Option<Asked>,
    is_over: bool,
}

impl Leases {
    pub(crate) fn new() -> Self {
        Self {
            known: Mutex::new(Known::new(Instant::now())),
            holder: OnceLock::new(),
        }
    }

    /// Notes that something is asked for now; nothing where there are no leases.
    pub(crate) fn ask(&self) -> Option<Asked> {
        self.known.lock().ask(Instant::now())
    }

    /// What is known of a file.
    pub(crate) fn attributes(&self, file: FileId) -> Option<FileAttributes> {
        self.known.lock().attributes(file, Instant::now()).cloned()
    }

    /// What is known of a name: that it is not there, or the attributes of what it stands for.
    pub(crate) fn name(&self, directory: FileId, name: &Bytes) -> Option<Option<FileAttributes>> {
        let known = self.known.lock();
        known.name(directory, name, Instant::now()).map(|found| found.cloned())
    }

    /// Whether nobody else does anything in a directory: whoever wants to has this mount let go of it first.
    pub(crate) fn is_alone(&self, directory: FileId) -> bool {
        self.known.lock().is_alone(directory, Instant::now())
    }

    /// Whether others may still have to wait for what this mount does in directories that it used alone.
    pub(crate) fn may_be_waited_for(&self) -> bool {
        Instant::now() < self.known.lock().lasted()
    }

    /// How long these attributes of a file may still be gone by; not at all where they are not what is known.
    pub(crate) fn left(&self, file: FileId, attributes: &FileAttributes) -> Duration {
        let now = Instant::now();
        let known = self.known.lock();
        let is_known = known.attributes(file, now) == Some(attributes);
        known.until().saturating_duration_since(now) * u32::from(is_known)
    }

    /// The same for what a name stands for, with these attributes, or for nothing.
    pub(crate) fn name_left(&self, directory: FileId, name: &Bytes, found: Option<&FileAttributes>) -> Duration {
        let now = Instant::now();
        let known = self.known.lock();
        let is_known = known.name(directory, name, now) == Some(found);
        known.until().saturating_duration_since(now) * u32::from(is_known)
    }

    /// The same for nobody else doing anything in a directory.
    pub(crate) fn alone_left(&self, directory: FileId) -> Duration {
        let now = Instant::now();
        let known = self.known.lock();
        known.until().saturating_duration_since(now) * u32::from(known.is_alone(directory, now))
    }

    /// Keeps the answer to what was asked: the attributes of a file, and the directory and name that it was found under.
    pub(crate) fn keep(&self, asked: Asked, file: FileId, attributes: &FileAttributes, found: Option<(u64, &Bytes)>) {
        let mut known = self.known.lock();
        known.keep_attributes(asked, file, attributes);
        if let Some((inode, name)) = found {
            let directory = FileId { inode, ..file };
            known.keep_name(asked, directory, name, Some(file.inode));
        }
    }

    /// Keeps that a name was not there.
    pub(crate) fn keep_absent(&self, asked: Asked, directory: FileId, name: &Bytes) {
        self.known.lock().keep_name(asked, directory, name, None);
    }

    /// Goes by nothing that was asked for before now.
    pub(crate) fn forget_all(&self) {
        self.known.lock().forget_all();
    }

    /// Forgets what is known of files.
    pub(crate) fn forget(&self, files: &[FileId]) {
        let mut known = self.known.lock();
        for file in files {
            known.forget(*file);
        }
    }

    /// A command is about to be sent.
    pub(crate) fn begin_command(&self) -> OwnCommand<'_> {
        OwnCommand {
            leases: self,
            asked: self.ask(),
            is_over: false,
        }
    }

    /// Whoever goes by what is known elsewhere. Says whether it is the first.
    pub(crate) fn set_holder(&self, holder: Arc<dyn LeaseHolder>) -> bool {
        self.holder.set(holder).is_ok()
    }

    /// The term of the leases; 0 where there are none.
    pub(crate) fn term(&self) -> u64 {
        self.known.lock().term()
    }

    /// Whether so much is known that all is to be given up.
    pub(crate) fn is_full(&self) -> bool {
        self.known.lock().is_full()
    }

    /// Leases are given, or renewed, to one whose leases were of the term `before` when it asked.
    pub(crate) fn renew(&self, before: u64, term: u64, until: Instant) {
        self.known.lock().renew(before, term, until);
    }

    /// Goes by nothing any more, here or in the kernel.
    pub(crate) async fn lose(&self) {
        self.known.lock().lose(Instant::now());
        if let Some(holder) = self.holder.get() {
            holder.release(None).await;
        }
    }

    /// Lets go of files, here and in the kernel.
    pub(crate) async fn release(&self, files: &[FileId]) {
        self.forget(files);
        if let Some(holder) = self.holder.get().filter(|_| !files.is_empty()) {
            holder
                .release(Some(files.iter().map(|file| file.inode).collect()))
                .await;
        }
    }
}

impl OwnCommand<'_> {
    /// It was certainly not carried out.
    pub(crate) fn not_carried_out(mut self) {
        self.is_over = true;
    }

    /// It was answered, the first time that it was sent.
    pub(crate) fn answered(mut self, command: &Command, reply: &WriteReply) {
        self.is_over = true;
        let Command::File(FileCommand { bucket, action }) = command else {
            return;
        };
        let told = match &reply.outcome {
            Some(Outcome::File(outcome)) => outcome.attributes.as_ref(),
            _ => None,
        };
        let entered = match action {
            Some(FileAction::Create(create)) => Some((create.parent, &create.name)),
            Some(FileAction::CreateWritten(made)) => made.create.as_ref().map(|create| (create.parent, &create.name)),
            Some(FileAction::MakeDirectory(make)) => Some((make.parent, &make.name)),
            Some(FileAction::Link(link)) => Some((link.parent, &link.name)),
            _ => None,
        };
        let change = Change {
            bucket: *bucket,
            own: &reply.changed,
            told,
            entered,
            removes: matches!(action, Some(FileAction::Unlink(_) | FileAction::RemoveDirectory(_))),
            alone: &reply.alone,
            term: reply.lease_term,
        };
        self.leases.known.lock().changed(self.asked, &change);
        if let Some(holder) = self.leases.holder.get() {
            let changed = reply.changed.iter().filter(|change| change.name.is_empty());
            let changed: Vec<u64> = changed.map(|change| change.inode).collect();
            holder.note_change(&changed);
        }
    }
}

impl Drop for OwnCommand<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // The leases too: where it is carried out later nobody tells this mount. Whoever begins anew tells the kernel.
        self.leases.known.lock().lose(Instant::now());
    }
}
