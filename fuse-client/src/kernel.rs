//! What the kernel is told besides answers: that pages it keeps of a file are no longer right.
//!
//! Invariant: nobody who holds up a write waits for this: the kernel locks the pages of a write until that is answered.

use std::sync::OnceLock;

use fuser::{INodeNo, Notifier};

/// The way to tell it, once the mount stands.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    notifier: OnceLock<Notifier>,
}

impl Kernel {
    pub(crate) fn connect(&self, notifier: Notifier) {
        // A mount is connected once.
        drop(self.notifier.set(notifier));
    }

    /// Lets the kernel forget the pages of a file from `offset` on, some time soon.
    pub(crate) fn forget_pages(&self, number: INodeNo, offset: u64) {
        let Some(notifier) = self.notifier.get().cloned() else {
            return;
        };
        tokio::task::spawn_blocking(move || invalidate(&notifier, number, offset));
    }

    /// The same, done when this returns. Not for who holds up a write.
    pub(crate) async fn pages_forgotten(&self, number: INodeNo) {
        let Some(notifier) = self.notifier.get().cloned() else {
            return;
        };
        let told = tokio::task::spawn_blocking(move || invalidate(&notifier, number, 0)).await;
        if let Err(error) = told {
            tracing::warn!(%error, "the kernel was not told of a change");
        }
    }
}

fn invalidate(notifier: &Notifier, number: INodeNo, offset: u64) {
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    match notifier.inval_inode(number, offset, 0) {
        Ok(()) => {}
        // The kernel does not know the inode any more.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        Err(error) => tracing::debug!(%error, "the kernel was not told of a change"),
    }
}
