//! Locks that programs of this mount hold; the store keeps them.
//!
//! Invariant: an owner that may hold a lock is known here, so that closing a file asks the store only where there is something
//! to release.

use std::collections::HashMap;

use cairn_common::wire::lock::{LockKind, LockRange};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::deadlock::Waits;

/// The last byte of a range that has no end, as the kernel says it.
pub(crate) const NO_END: u64 = i64::MAX as u64;

/// Who holds locks.
pub(crate) struct Locks {
    held: Mutex<Held>,
    /// Told when one is given back.
    pub(crate) released: Notify,
    /// Who waits for whom.
    pub(crate) waits: Waits,
}

struct Held {
    session: u64,
    owners: HashMap<(u64, u64, LockKind), Owner>,
}

/// One that may hold locks.
#[derive(Clone, Copy, Default)]
struct Owner {
    /// Under which its last was taken; 0 where it holds none.
    session: u64,
    /// Locks that it asks for now: under which session they are taken turns out with the answer.
    asked: usize,
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
                owners: HashMap::new(),
            }),
            released: Notify::new(),
            waits: Waits::default(),
        }
    }

    /// Locks end with the session that they were taken under.
    pub(crate) fn notice_session(&self, session: u64) {
        let mut held = self.held.lock();
        if held.session == session {
            return;
        }
        held.session = session;
        let mut lost = 0;
        held.owners.retain(|_, owner| {
            if owner.session != session && owner.session != 0 {
                owner.session = 0;
                lost += 1;
            }
            owner.session != 0 || owner.asked > 0
        });
        if lost > 0 {
            tracing::error!(
                lost,
                "the session with the store ended: the locks that were held under it are lost"
            );
        }
    }

    /// A lock is asked for.
    pub(crate) fn enter(&self, wanted: &Wanted) {
        self.held.lock().owners.entry(wanted.key()).or_default().asked += 1;
    }

    /// The answer is here: the lock is held under `session`, or under none.
    pub(crate) fn answered(&self, wanted: &Wanted, session: Option<u64>) {
        let mut held = self.held.lock();
        let owner = held.owners.entry(wanted.key()).or_default();
        owner.asked = owner.asked.saturating_sub(1);
        owner.session = session.unwrap_or(owner.session);
        if (owner.asked, owner.session) == (0, 0) {
            held.owners.remove(&wanted.key());
        }
    }

    pub(crate) fn knows(&self, wanted: &Wanted) -> bool {
        self.held.lock().owners.contains_key(&wanted.key())
    }

    /// An owner has given back a range.
    pub(crate) fn leave(&self, wanted: &Wanted) {
        if (wanted.first, wanted.last >= NO_END) == (0, true) {
            let mut held = self.held.lock();
            if let Some(owner) = held.owners.get_mut(&wanted.key()) {
                owner.session = 0;
                if owner.asked == 0 {
                    held.owners.remove(&wanted.key());
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(owner: u64) -> Wanted {
        Wanted {
            inode: 1,
            kind: LockKind::Range,
            owner,
            first: 0,
            last: NO_END,
            exclusive: true,
            pid: 0,
            waits: None,
        }
    }

    #[test]
    fn an_owner_is_known_as_long_as_it_may_hold_a_lock() {
        let locks = Locks::new(1);
        locks.enter(&wanted(7));
        assert!(locks.knows(&wanted(7)), "while it asks");
        locks.answered(&wanted(7), None);
        assert!(!locks.knows(&wanted(7)), "it was taken by another");
        locks.enter(&wanted(7));
        locks.answered(&wanted(7), Some(1));
        locks.leave(&wanted(7));
        assert!(!locks.knows(&wanted(7)), "it was given back");
        locks.enter(&wanted(7));
        locks.leave(&wanted(7));
        locks.answered(&wanted(7), Some(1));
        assert!(locks.knows(&wanted(7)), "it was taken after another was given back");
    }

    #[test]
    fn locks_taken_under_the_new_session_stay_known() {
        let locks = Locks::new(1);
        for (owner, session) in [(7, 1), (8, 2)] {
            locks.enter(&wanted(owner));
            locks.answered(&wanted(owner), Some(session));
        }
        locks.enter(&wanted(9));
        locks.notice_session(2);
        assert!(!locks.knows(&wanted(7)));
        assert!(locks.knows(&wanted(8)) && locks.knows(&wanted(9)));
    }
}
