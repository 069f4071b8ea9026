//! Locks that programs of this mount hold; the store keeps them.
//!
//! Invariant: an owner that may hold a lock is known here, so that closing a file asks the store only where there is something
//! to release.

use std::collections::HashSet;

use cairn_common::wire::lock::{LockKind, LockRange};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The last byte of a range that has no end, as the kernel says it.
pub(crate) const NO_END: u64 = i64::MAX as u64;

/// Who holds locks.
pub(crate) struct Locks {
    held: Mutex<Held>,
    /// Told when one is given back.
    pub(crate) released: Notify,
}

struct Held {
    session: u64,
    owners: HashSet<(u64, u64, LockKind)>,
}

/// A lock that a program asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) inode: u64,
    pub(crate) kind: LockKind,
    pub(crate) owner: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) exclusive: bool,
    pub(crate) pid: u32,
    /// The thread that waits, if it does.
    pub(crate) waits: Option<u32>,
}

impl Locks {
    pub(crate) fn new(session: u64) -> Self {
        Self {
            held: Mutex::new(Held {
                session,
                owners: HashSet::new(),
            }),
            released: Notify::new(),
        }
    }

    /// Locks end with the session that they were taken under.
    pub(crate) fn notice_session(&self, session: u64) {
        let mut held = self.held.lock();
        if held.session == session {
            return;
        }
        let lost = held.owners.len();
        if lost > 0 {
            tracing::error!(
                lost,
                "the mount was given up by the store for a while: its locks are lost"
            );
        }
        held.session = session;
        held.owners.clear();
    }

    pub(crate) fn enter(&self, wanted: &Wanted) {
        self.held.lock().owners.insert(wanted.key());
    }

    pub(crate) fn knows(&self, wanted: &Wanted) -> bool {
        self.held.lock().owners.contains(&wanted.key())
    }

    /// An owner has given back a range.
    pub(crate) fn leave(&self, wanted: &Wanted) {
        if (wanted.first, wanted.last >= NO_END) == (0, true) {
            self.held.lock().owners.remove(&wanted.key());
        }
        self.released.notify_waiters();
    }
}

impl Wanted {
    /// As the store takes it.
    pub(crate) fn range(&self) -> LockRange {
        LockRange {
            kind: self.kind.into(),
            owner: self.owner,
            pid: self.pid,
            exclusive: self.exclusive,
            first: if self.kind == LockKind::WholeFile {
                0
            } else {
                self.first
            },
            last: if self.kind == LockKind::WholeFile || self.last >= NO_END {
                u64::MAX
            } else {
                self.last
            },
        }
    }

    const fn key(&self) -> (u64, u64, LockKind) {
        (self.inode, self.owner, self.kind)
    }
}
