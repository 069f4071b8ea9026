//! A store of one file per shard: simple, durable, and the reference for the engine that takes over behind [`ShardStore`].
//!
//! A shard is written to `tmp/`, synced, renamed to its place without replacing anything, and its directory is synced; only
//! then it is acknowledged. So a shard file is whole or absent, and what lies in `tmp/` after a crash was never promised.
//! Blocking calls run on the runtime's blocking threads, a bounded number per device, so that a slow device holds up
//! nobody but its own callers.

mod directory_sync;
mod disk;
mod header;
mod health;
mod inventory;
mod lane;
mod open;
mod operations;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use cairn_common::limits::{DEVICE_QUEUE_MAX, DEVICE_READS_MAX, DEVICE_WRITES_MAX};

pub(crate) use self::open::OpenConfig;
use self::{lane::Lane, open::OpenDevice};
use crate::{
    shard::{NewShard, ShardKey, ShardPage, StoredShard},
    store::{ShardStore, StoreError, StoreStatus},
};

/// The store of one device.
pub(crate) struct FileStore {
    device: Arc<OpenDevice>,
    writes: Lane,
    reads: Lane,
}

impl FileStore {
    /// Opens a formatted device; the error says why it cannot serve. Blocks. Starts to count the used bytes in the background.
    pub(crate) fn open(config: OpenConfig) -> Result<Self, String> {
        let device = Arc::new(OpenDevice::open(config)?);
        Ok(Self {
            device,
            writes: Lane::new(DEVICE_WRITES_MAX, DEVICE_QUEUE_MAX),
            reads: Lane::new(DEVICE_READS_MAX, DEVICE_QUEUE_MAX),
        })
    }

    /// Counts the used bytes, one directory after the other, until done or the store is dropped.
    pub(crate) fn count_in_background(&self) {
        let device = Arc::downgrade(&self.device);
        tokio::task::spawn_blocking(move || inventory::count_all(&device));
    }

    async fn run<T: Send + 'static>(
        &self,
        lane: &Lane,
        work: impl FnOnce(&OpenDevice) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.device.health.check()?;
        let permit = lane.enter().await.ok_or(StoreError::Busy)?;
        let device = Arc::clone(&self.device);
        let running = tokio::task::spawn_blocking(move || {
            let done = work(&device);
            drop(permit);
            done
        });
        running
            .await
            .unwrap_or_else(|_| Err(StoreError::Down("an operation on the device panicked".to_owned())))
    }
}

#[async_trait]
impl ShardStore for FileStore {
    async fn put(&self, shard: NewShard) -> Result<(), StoreError> {
        self.run(&self.writes, move |device| device.put(&shard)).await
    }

    async fn read(&self, key: ShardKey, first_block: u32, block_count: u32) -> Result<StoredShard, StoreError> {
        self.run(&self.reads, move |device| device.read(key, first_block, block_count))
            .await
    }

    async fn delete(&self, key: ShardKey) -> Result<(), StoreError> {
        self.run(&self.writes, move |device| device.delete(key)).await
    }

    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<ShardPage, StoreError> {
        self.run(&self.reads, move |device| device.list(after, limit)).await
    }

    async fn status(&self) -> StoreStatus {
        let device = Arc::clone(&self.device);
        let found = tokio::task::spawn_blocking(move || device.status()).await;
        found.unwrap_or_else(|_| StoreStatus {
            down: Some("the device's status cannot be read".to_owned()),
            ..StoreStatus::default()
        })
    }
}
