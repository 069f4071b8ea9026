//! What a metadata server is told at its start.
//!
//! Invariant: the defaults are what a store runs with; the other values are for tests and for operators who measured.

use std::{path::PathBuf, time::Duration};

use cairn_common::{
    ids::NodeId,
    limits::{METADATA_MEMORY_BYTES, SESSION_LEASE_MS},
};

/// What a metadata server is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataConfig {
    /// Where its databases lie; made where it is missing.
    pub dir: PathBuf,
    /// Its number, for the life of `dir`.
    pub server_id: NodeId,
    /// How long a session lives without a sign of life.
    pub session_lease: Duration,
    /// Time between looks for garbage when nothing was deleted meanwhile.
    pub garbage_interval: Duration,
    /// When device inventories are compared with the metadata.
    pub inventory: InventorySchedule,
    /// Bytes of commands after which a snapshot is taken and the log purged: what a restart replays at most.
    pub snapshot_bytes: u64,
    /// Commands after which a snapshot is taken and the log purged.
    pub snapshot_commands: u64,
    /// Memory that the server keeps within: three quarters of it are the databases' caches and write buffers.
    pub memory_bytes: usize,
}

/// When device inventories are compared with the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InventorySchedule {
    /// From the start of the server to the first pass.
    pub first_after: Duration,
    /// From the end of a pass to the next.
    pub every: Duration,
    /// Between two pages of one device.
    pub page_every: Duration,
}

impl MetadataConfig {
    /// The defaults for the server `server_id` with its databases under `dir`.
    pub fn new(dir: impl Into<PathBuf>, server_id: NodeId) -> Self {
        Self {
            dir: dir.into(),
            server_id,
            session_lease: Duration::from_millis(SESSION_LEASE_MS),
            garbage_interval: Duration::from_secs(2),
            inventory: InventorySchedule::default(),
            snapshot_bytes: 64 << 20,
            snapshot_commands: 1 << 17,
            memory_bytes: METADATA_MEMORY_BYTES,
        }
    }
}

impl Default for InventorySchedule {
    fn default() -> Self {
        Self {
            first_after: Duration::from_secs(60),
            every: Duration::from_secs(3600),
            page_every: Duration::from_secs(1),
        }
    }
}
