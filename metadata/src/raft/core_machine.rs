//! The real state machine, [`crate::core`], behind the [`Machine`] trait.
//!
//! Invariant: nothing is added here.

use cairn_common::{
    ids::{ChunkId, DeviceId, SessionId},
    wire::{
        command::EntryBatch,
        query::{Query, ReadReply},
    },
};

use super::machine::Machine;
use crate::core::{
    self, Applied, DeletableChunk, Expected, ShardId, Verdict,
    view::{View, ViewError},
};

/// The real state machine.
pub(crate) struct CoreMachine;

impl Machine for CoreMachine {
    fn apply(&self, view: &dyn View, log_index: u64, batch: &EntryBatch) -> Result<Applied, ViewError> {
        core::apply(view, log_index, batch)
    }

    fn answer(&self, view: &dyn View, log_index: u64, query: &Query) -> Result<ReadReply, ViewError> {
        core::answer(view, log_index, query)
    }

    fn deletable_chunks(&self, view: &dyn View, limit: usize) -> Result<Vec<DeletableChunk>, ViewError> {
        core::deletable_chunks(view, limit)
    }

    fn judge(&self, view: &dyn View, device: DeviceId, shards: &[ShardId]) -> Result<Vec<Verdict>, ViewError> {
        core::judge(view, device, shards)
    }

    fn expected(
        &self,
        view: &dyn View,
        device: DeviceId,
        after: Option<ChunkId>,
        through: Option<ChunkId>,
        limit: usize,
    ) -> Result<Expected, ViewError> {
        core::expected(view, device, after, through, limit)
    }

    fn live_sessions(&self, view: &dyn View) -> Result<Vec<SessionId>, ViewError> {
        core::live_sessions(view)
    }

    fn mount_sessions(&self, view: &dyn View) -> Result<Vec<SessionId>, ViewError> {
        core::mount_sessions(view)
    }

    fn release_pending(&self, view: &dyn View) -> Result<bool, ViewError> {
        core::release_pending(view)
    }

    fn feature_level(&self, view: &dyn View) -> Result<u32, ViewError> {
        core::feature_level(view)
    }

    fn buckets_to_expire(
        &self,
        view: &dyn View,
        now_ms: u64,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<u64>, Option<u64>), ViewError> {
        core::buckets_to_expire(view, now_ms, after, limit)
    }
}
