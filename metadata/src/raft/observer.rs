//! Who is told what each entry has changed before its replies go out, and may hold these up.
//!
//! Invariant: it is told of every entry, in the order of the log, after the entry's writes are in the state.

use cairn_common::wire::{
    command::{EntryBatch, WriteReply},
    file::{FileAttributes, FileId},
};
use tokio::sync::watch;

use crate::core::Touched;

/// A reply, and what it waits for.
#[derive(Debug)]
pub(crate) struct HeldReply {
    pub(crate) reply: WriteReply,
    pub(crate) waits_for: Vec<Hold>,
}

impl HeldReply {
    /// A reply that need not wait.
    pub(crate) const fn of(reply: WriteReply) -> Self {
        let waits_for = Vec::new();
        Self { reply, waits_for }
    }
}

/// Is told what entries have changed.
pub(crate) trait Observer: Send + Sync + 'static {
    /// What came of an entry. Where somebody here waits for the replies, they may be completed and held up.
    fn applied(&self, entry: &AppliedEntry<'_>, replies: Vec<WriteReply>) -> Vec<HeldReply>;
}

/// An entry that was applied.
pub(crate) struct AppliedEntry<'a> {
    pub(crate) term: u64,
    pub(crate) log_index: u64,
    pub(crate) batch: &'a EntryBatch,
    /// What of files and names its commands have changed, in their order.
    pub(crate) touched: &'a [Touched],
    /// Whether somebody here waits for its replies.
    pub(crate) is_awaited: bool,
    /// Looks at an inode as it is now; nothing where it is gone.
    pub(crate) attributes: &'a dyn Fn(FileId) -> Option<FileAttributes>,
}

/// Waits for something that others do: the end that does it, [`Doing`], says so, or is dropped, which means that nobody will.
#[derive(Clone, Debug)]
pub(crate) struct Hold(watch::Receiver<bool>);

/// The other end of a [`Hold`].
#[derive(Debug)]
pub(crate) struct Doing(watch::Sender<bool>);

impl Doing {
    pub(crate) fn new() -> (Self, Hold) {
        let (doing, hold) = watch::channel(false);
        (Self(doing), Hold(hold))
    }

    /// Another who waits for it.
    pub(crate) fn hold(&self) -> Hold {
        Hold(self.0.subscribe())
    }

    /// It is done.
    pub(crate) fn done(self) {
        self.0.send_replace(true);
    }
}

impl Hold {
    /// Whether nobody need wait any more.
    pub(crate) fn is_over(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until it is done; whether it was.
    pub(crate) async fn wait(mut self) -> bool {
        self.0.wait_for(|done| *done).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_learns_whether_it_was_done() {
        let (doing, first) = Doing::new();
        let second = doing.hold();
        doing.done();
        assert!(first.wait().await && second.wait().await);
        let (doing, hold) = Doing::new();
        drop(doing);
        assert!(!hold.wait().await);
    }
}
