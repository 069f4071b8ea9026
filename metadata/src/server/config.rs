//! What a metadata server is told at its start.
//!
//! Invariant: the defaults are what a store runs with; the other values are for tests and for operators who measured.

use std::{path::PathBuf, sync::Arc, time::Duration};

use cairn_common::{
    ids::{ClusterId, NodeId},
    limits::{METADATA_MEMORY_BYTES, SESSION_LEASE_MS},
};
use cairn_transport::{Addresses, NoAddresses, Transport};

use super::clock::{Clock, SystemClock};
use crate::raft::{RaftTiming, Start};

/// What a metadata server is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataConfig {
    /// Where its databases lie; made where it is missing.
    pub dir: PathBuf,
    /// Its number, for the life of `dir`.
    pub server_id: NodeId,
    /// The cluster; servers of different ones refuse each other.
    pub cluster: ClusterId,
    /// Where others call this server, host and port; empty for one that will always be alone.
    pub address: String,
    /// What it becomes at its first start.
    pub start: Start,
    /// When a leader is taken for dead.
    pub timing: RaftTiming,
    /// Time between the leader's looks at the other members.
    pub probe_every: Duration,
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
    /// Memory that the server keeps within: five eighths of it are the databases' caches and write buffers.
    pub memory_bytes: usize,
}

/// What a metadata server is given to reach the world with.
#[derive(Clone)]
pub struct Surroundings {
    /// Leads to the chunkservers and to the other members.
    pub transport: Arc<dyn Transport>,
    /// What learns where the other members are.
    pub addresses: Arc<dyn Addresses>,
    /// What stamps records.
    pub clock: Arc<dyn Clock>,
}

impl Surroundings {
    /// A carrier that needs no addresses, and the system's clock.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            addresses: Arc::new(NoAddresses),
            clock: Arc::new(SystemClock),
        }
    }
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
            cluster: ClusterId::new([0; 16]),
            address: String::new(),
            start: Start::default(),
            timing: RaftTiming::default(),
            probe_every: Duration::from_secs(5),
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
