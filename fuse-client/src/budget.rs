//! The bound on bytes that were written and are not stored yet, for all files of a mount together.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    bound: usize,
    given_back: Notify,
}

impl Budget {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            bound,
            given_back: Notify::new(),
        }
    }

    /// Whether `more` bytes have room. Two askers at once may pass the bound by what one of them brings.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        let used = self.used.load(Ordering::Acquire);
        used == 0 || used + more <= self.bound
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.given_back.notify_waiters();
    }

    /// Bytes counted now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Waits until `more` bytes have room.
    pub(crate) async fn room(&self, more: usize) {
        loop {
            let notified = self.given_back.notified();
            if self.has_room(more) {
                return;
            }
            notified.await;
        }
    }
}
