//! What a device's store answers besides shards: errors by what the caller does next, state and space.

/// Why a store did not do what was asked, by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
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
pub(crate) struct StoreStatus {
    /// Why it does not serve; `None` while it does.
    pub(crate) down: Option<String>,
    /// Bytes of the file system.
    pub(crate) total_bytes: u64,
    /// Bytes of it that are free.
    pub(crate) free_bytes: u64,
    /// Bytes that shards take, with their headers.
    pub(crate) used_bytes: u64,
    /// Shards that were found damaged and not replaced since.
    pub(crate) corrupt_shards: u64,
    /// When the last whole pass of the scrub ended, in milliseconds since 1970; 0 before the first has.
    pub(crate) scrub_finished_ms: u64,
    /// The numbers that the device's newest opening and the one before drew.
    pub(crate) opening: (u64, u64),
}
