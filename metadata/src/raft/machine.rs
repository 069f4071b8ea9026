//! The pure state machine as the shell calls it.
//!
//! One trait, so that tests can put a machine of their own in place of the real one. Invariant: an implementation is
//! deterministic and does no I/O but through the view.

use cairn_common::{
    ids::{ChunkId, DeviceId, SessionId},
    wire::{
        command::EntryBatch,
        query::{Query, ReadReply},
    },
};

use crate::core::{
    Applied, DeletableChunk, Expected, ShardId, Verdict,
    view::{View, ViewError},
};

/// What the shell asks of the state machine.
pub(crate) trait Machine: Send + Sync + 'static {
    /// What the entry at `log_index` changes, and its replies.
    fn apply(&self, view: &dyn View, log_index: u64, batch: &EntryBatch) -> Result<Applied, ViewError>;

    /// The answer to a query, from the state after entry `log_index`.
    fn answer(&self, view: &dyn View, log_index: u64, query: &Query) -> Result<ReadReply, ViewError>;

    /// Chunks whose shards may be deleted, at most `limit`.
    fn deletable_chunks(&self, view: &dyn View, limit: usize) -> Result<Vec<DeletableChunk>, ViewError>;

    /// What is to become of each of the shards on a device.
    fn judge(&self, view: &dyn View, device: DeviceId, shards: &[ShardId]) -> Result<Vec<Verdict>, ViewError>;

    /// The shards that a device should have of chunks behind one and up to another, out of at most `limit` records.
    fn expected(
        &self,
        view: &dyn View,
        device: DeviceId,
        after: Option<ChunkId>,
        through: Option<ChunkId>,
        limit: usize,
    ) -> Result<Expected, ViewError>;

    /// Sessions that have not ended.
    fn live_sessions(&self, view: &dyn View) -> Result<Vec<SessionId>, ViewError>;

    /// Those of them that are mounts'.
    fn mount_sessions(&self, view: &dyn View) -> Result<Vec<SessionId>, ViewError>;

    /// Whether a release step has something to do.
    fn release_pending(&self, view: &dyn View) -> Result<bool, ViewError>;

    /// The feature level in force.
    fn feature_level(&self, view: &dyn View) -> Result<u32, ViewError>;

    /// Buckets behind `after` with uploads to give up at this time, of at most `limit` looked at; and where to go on.
    fn buckets_to_expire(
        &self,
        view: &dyn View,
        now_ms: u64,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<u64>, Option<u64>), ViewError>;
}
