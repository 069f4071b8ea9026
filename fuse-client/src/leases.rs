//! What a mount lets go of when its leases are recalled: what the kernel was told, and what is kept beside it.
//!
//! Invariant: before a lease counts as let go of, whatever was told under it is gone from the kernel.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use cairn_client::LeaseHolder;
use futures::future::BoxFuture;
use tokio::time::sleep_until;

use crate::volume::Volume;

/// Lets go on behalf of a mount, for as long as that stands.
pub(crate) struct Holder(Weak<Volume>);

impl Holder {
    pub(crate) fn of(volume: &Arc<Volume>) -> Self {
        Self(Arc::downgrade(volume))
    }
}

impl LeaseHolder for Holder {
    fn note_change(&self, inodes: &[u64]) {
        if let Some(volume) = self.0.upgrade() {
            volume.kernel.forget_attributes(&volume.numbers(inodes));
        }
    }

    fn release(&self, inodes: Option<Vec<u64>>) -> BoxFuture<'static, ()> {
        let volume = self.0.upgrade();
        Box::pin(async move {
            let Some(volume) = volume else { return };
            volume.metrics.leases_recalled.inc();
            volume.let_go(inodes.as_deref());
            let gone_by = volume.entries.take_back(inodes.as_deref(), Instant::now());
            volume.settle_all(inodes.as_deref()).await;
            let numbers = inodes.map(|inodes| volume.numbers(&inodes));
            volume.kernel.attributes_forgotten(numbers.as_deref()).await;
            if let Some(gone_by) = gone_by {
                sleep_until(gone_by.into()).await;
            }
        })
    }
}

impl Volume {
    fn numbers(&self, inodes: &[u64]) -> Vec<u64> {
        inodes.iter().map(|inode| self.number(*inode).0).collect()
    }

    /// Forgets what is kept of inodes, or of all.
    fn let_go(&self, inodes: Option<&[u64]>) {
        let opened = match inodes {
            Some(inodes) => inodes
                .iter()
                .filter_map(|inode| self.opened_files.get(*inode))
                .collect(),
            None => self.opened_files.all(),
        };
        for opened in opened {
            opened.state.lock().forget_plan();
            // Some ways to read ask for no attributes first, which would show that the data has changed.
            self.kernel.forget_pages(self.number(opened.inode), 0);
        }
        self.known_acls.forget(inodes);
        self.forget_directories(inodes);
    }
}
