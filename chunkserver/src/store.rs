//! The interface of a device's store: what the server needs and any engine gives.
//!
//! Invariants of every implementation: `put` returns once the shard survives a power cut, and never replaces a shard by
//! other content; a future that is dropped may leave its operation running but never half done; after an I/O error all
//! operations answer [`StoreError::Down`] until the store is opened anew.

use async_trait::async_trait;

use crate::shard::{NewShard, ShardKey, ShardPage, StoredShard};

/// Why a store did not do what was asked, by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The shard is not there: ask another device.
    #[error("the device does not hold the shard")]
    NotFound,
    /// The shard is damaged: ask another device, and have it repaired.
    #[error("the shard is damaged: {0}")]
    Corrupt(String),
    /// The device does not serve until restart: use another.
    #[error("the device is down: {0}")]
    Down(String),
    /// The device has no room: use another.
    #[error("the device has no room")]
    Full,
    /// The device has too much to do: try again later.
    #[error("the device has too much to do")]
    Busy,
    /// Another shard is stored under this key: a bug of the sender.
    #[error("the shard exists with other content")]
    Conflict,
}

/// State and space of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Why it does not serve; `None` while it does.
    pub down: Option<String>,
    /// Bytes of the file system.
    pub total_bytes: u64,
    /// Bytes of it that are free.
    pub free_bytes: u64,
    /// Bytes that shards take, as far as they were counted.
    pub used_bytes: u64,
    /// Shards found damaged since the store was opened.
    pub corrupt_shards: u64,
}

/// Durable shards of one device.
#[async_trait]
pub trait ShardStore: Send + Sync + 'static {
    /// Stores `shard` durably. Storing the same again succeeds.
    async fn put(&self, shard: NewShard) -> Result<(), StoreError>;

    /// Reads up to `block_count` blocks from `first_block` on; fewer come where the shard ends.
    async fn read(&self, key: ShardKey, first_block: u32, block_count: u32) -> Result<StoredShard, StoreError>;

    /// Deletes a shard for good. Deleting one that is not there succeeds.
    async fn delete(&self, key: ShardKey) -> Result<(), StoreError>;

    /// Up to `limit` keys behind `after`, in order.
    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<ShardPage, StoreError>;

    /// State and space.
    async fn status(&self) -> StoreStatus;
}
