//! Leases of files: what a mount was told of them is gone by without asking again, until the service recalls it.
//!
//! The mount asks all the time what is recalled, which renews its leases, and lets go before it asks again. Invariant: what is recalled is
//! forgotten here, and by the kernel, before the service is told so; leases count from when they were asked for.

mod known;

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use cairn_common::{
    limits,
    wire::{
        command::{Command, Outcome, WriteReply},
        file::{FileAction, FileAttributes, FileCommand, FileId},
        kind::RequestKind,
        lease::{LeaseNews, LeasePoll},
    },
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

pub(crate) use self::known::Asked;
use self::known::{Change, Known};
use crate::{error::ClientError, metadata::Shared};

/// How long an answer may take beyond the time that the service keeps the question: a leader that is gone is noticed within it.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// First and longest time between questions where they are not answered: a service of before leases answers none.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Who goes by what it was told of files: a mount's kernel.
pub trait LeaseHolder: Send + Sync + 'static {
    /// This mount itself has changed these inodes, or nobody knows which: where none are named.
    fn note_change(&self, inodes: Option<&[u64]>);

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

    /// How long these attributes of a file may still be gone by; not at all where they are not what is known.
    pub(crate) fn left(&self, file: FileId, attributes: &FileAttributes) -> Duration {
        let now = Instant::now();
        let known = self.known.lock();
        let is_known = known.attributes(file, now) == Some(attributes);
        known.until().saturating_duration_since(now) * u32::from(is_known)
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

    /// Goes by nothing any more, here or in the kernel.
    async fn lose(&self) {
        self.known.lock().lose(Instant::now());
        if let Some(holder) = self.holder.get() {
            holder.release(None).await;
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
            Some(FileAction::MakeDirectory(make)) => Some((make.parent, &make.name)),
            Some(FileAction::Link(link)) => Some((link.parent, &link.name)),
            _ => None,
        };
        let change = Change {
            bucket: *bucket,
            own: &reply.changed,
            told,
            entered,
            term: reply.lease_term,
        };
        self.leases.known.lock().changed(self.asked, &change);
        if let Some(holder) = self.leases.holder.get() {
            let changed = reply.changed.iter().filter(|change| change.name.is_empty());
            let changed: Vec<u64> = changed.map(|change| change.inode).collect();
            holder.note_change(Some(&changed));
        }
    }
}

impl Drop for OwnCommand<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // The leases too: where it is carried out later nobody tells this mount.
        self.leases.known.lock().lose(Instant::now());
        if let Some(holder) = self.leases.holder.get() {
            holder.note_change(None);
        }
    }
}

impl Shared {
    /// Goes by leases from now on, for as long as the client lives; whoever is told by `holder` lets go of them too.
    pub(crate) fn hold_leases(self: &Arc<Self>, holder: Arc<dyn LeaseHolder>) {
        if self.leases.holder.set(holder).is_ok() {
            tokio::spawn(keep(Arc::downgrade(self)));
        }
    }

    /// Asks what is recalled, once, and lets go of it. Gives up to which recall it has let go; nothing where there are no leases.
    async fn follow_recalls(&self, asks: &mut Asking) -> Result<Option<u64>, ClientError> {
        let term = self.leases.known.lock().term();
        let asked_at = Instant::now();
        let news = self.poll_leases(asks, term).await?;
        if news.length_ms == 0 {
            return Ok(None);
        }
        let files: Vec<FileId> = news.recalled;
        self.leases.forget(&files);
        if let Some(holder) = self.leases.holder.get().filter(|_| !files.is_empty()) {
            let inodes = files.iter().map(|file| file.inode).collect();
            holder.release(Some(inodes)).await;
        }
        let until = asked_at + Duration::from_millis(news.length_ms.into());
        self.leases.known.lock().renew(term, news.term, until);
        Ok(Some(asks.released.max(news.newest)))
    }

    async fn poll_leases(&self, asks: &mut Asking, term: u64) -> Result<LeaseNews, ClientError> {
        asks.begun += u64::from(term == 0);
        let mut poll = LeasePoll {
            session: asks.session,
            term,
            released: asks.released,
            group: 0,
            begun: asks.begun,
        };
        let within = Duration::from_millis(limits::LEASE_POLL_MS) + ANSWER_GRACE;
        self.router.send_once(RequestKind::LeasePoll, &mut poll, within).await
    }
}

/// What a mount says when it asks.
#[derive(Default)]
struct Asking {
    session: u64,
    /// It has let go of all that was recalled up to this number.
    released: u64,
    /// How often it has begun.
    begun: u64,
}

/// Keeps the leases of a mount for as long as its client lives.
async fn keep(shared: Weak<Shared>) {
    let mut asks = Asking::default();
    let mut pause = PAUSE.0;
    while let Some(shared) = shared.upgrade() {
        let own = shared.session();
        let is_other = own.is_retired() || own.id().value() != asks.session;
        if is_other || shared.leases.known.lock().is_full() {
            let had_leases = shared.leases.known.lock().term() != 0;
            shared.leases.lose().await;
            asks.released = 0;
            if is_other && had_leases {
                // So that nobody waits for the session of before.
                let told = shared.poll_leases(&mut asks, 0).await;
                tracing::debug!(?told, "a session that was given up holds no leases");
            }
            asks.session = own.id().value();
        }
        let followed = if own.is_retired() {
            // Whoever needs a session opens another.
            Ok(None)
        } else {
            shared.follow_recalls(&mut asks).await
        };
        let had_leases = shared.leases.known.lock().term() != 0;
        match followed {
            Ok(Some(through)) => {
                asks.released = through;
                pause = PAUSE.0;
                continue;
            }
            Ok(None) => {
                shared.leases.lose().await;
                asks.released = 0;
                if had_leases {
                    continue;
                }
            }
            Err(error) => tracing::debug!(%error, "leases of files were not renewed"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}
