//! Deletes what nothing refers to any more.
//!
//! The state says which chunks may go; this worker deletes their shards, and only when every device has confirmed is the
//! chunk forgotten. It must never delete on age or on a guess. Invariant: a chunk with one unconfirmed shard stays in the
//! state and is tried again, later each time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::ChunkId,
    limits::GARBAGE_STEP_MAX,
    wire::command::{Command, ForgetChunks, ReleaseStep},
};
use cairn_transport::Transport;
use futures::{StreamExt, future::join_all, stream};
use tokio::time::{Instant, timeout};

use super::{
    deletion::{Doomed, delete_shard},
    local::RoundError,
    metrics::gauge_value,
    retries::Retries,
    service::Inner,
};
use crate::core::DeletableChunk;

/// Chunks deleted at once; each has up to `WIDTH_MAX` shards under way.
const CHUNKS_IN_PARALLEL: usize = 4;
/// Release steps taken before the chunks they freed are looked at.
const RELEASES_PER_ROUND: usize = 8;
/// Wait after a round that found nothing to do.
const GATHER_WAIT: Duration = Duration::from_millis(100);
/// Wait after the state could not be read or written.
const TROUBLE_WAIT: Duration = Duration::from_secs(60);

/// What the worker needs.
pub(super) struct GarbageWorker {
    pub(super) inner: Arc<Inner>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) interval: Duration,
}

impl GarbageWorker {
    /// Deletes garbage for as long as it is polled.
    pub(super) async fn run(self) {
        let started = Instant::now();
        let mut retries = Retries::default();
        loop {
            match self.round(&mut retries, started.elapsed()).await {
                Ok(true) => {}
                Ok(false) => self.rest().await,
                Err(RoundError::Submit(error)) => {
                    tracing::debug!(%error, "garbage waits");
                    self.rest().await;
                }
                Err(RoundError::View(error)) => {
                    tracing::error!(%error, "garbage cannot be read; nothing is deleted until it can be");
                    tokio::time::sleep(TROUBLE_WAIT).await;
                }
            }
        }
    }

    async fn rest(&self) {
        // Deletes come in swarms: one look serves many of them.
        tokio::time::sleep(GATHER_WAIT.min(self.interval)).await;
        // Either way out of the wait is a reason to look again.
        let _ = timeout(self.interval, self.inner.node.progress().garbage_due()).await;
    }

    /// One bounded round; whether there may be more to do at once.
    async fn round(&self, retries: &mut Retries, now: Duration) -> Result<bool, RoundError> {
        let released = self.release().await?;
        let limit = GARBAGE_STEP_MAX + retries.len();
        let chunks = self
            .inner
            .read_state(move |machine, view, _| machine.deletable_chunks(view, limit))
            .await?;
        self.inner.metrics.garbage_pending.set(gauge_value(chunks.len()));
        retries.keep_only(&chunks.iter().map(|chunk| chunk.id).collect());
        let due: Vec<_> = chunks
            .into_iter()
            .filter(|chunk| retries.is_due(chunk.id, now))
            .collect();
        if due.is_empty() {
            return Ok(released);
        }
        let Some(map) = self.inner.local_map().await? else {
            return Ok(false);
        };
        let deleted = self.delete(due, &map, retries, now).await;
        if deleted.is_empty() {
            return Ok(released);
        }
        self.forget(&deleted).await?;
        deleted.iter().for_each(|id| retries.forget(*id));
        self.inner.metrics.chunks_deleted.inc_by(deleted.len() as u64);
        Ok(true)
    }

    async fn release(&self) -> Result<bool, RoundError> {
        for taken in 0..RELEASES_PER_ROUND {
            let is_pending = self.inner.read_state(|machine, view, _| machine.release_pending(view));
            if !is_pending.await? {
                return Ok(taken > 0);
            }
            let steps = u32::try_from(GARBAGE_STEP_MAX).unwrap_or(u32::MAX);
            self.inner
                .proposer
                .submit_own(Command::ReleaseStep(ReleaseStep { steps }))
                .await?;
        }
        Ok(true)
    }

    /// Deletes the shards of `due` chunks, and returns those of which nothing is left.
    async fn delete(
        &self,
        due: Vec<DeletableChunk>,
        map: &ClusterMap,
        retries: &mut Retries,
        now: Duration,
    ) -> Vec<ChunkId> {
        let deletions = stream::iter(due.into_iter().take(GARBAGE_STEP_MAX))
            .map(|chunk| async move { (chunk.id, self.delete_chunk(&chunk, map).await) })
            .buffer_unordered(CHUNKS_IN_PARALLEL);
        let outcomes: Vec<(ChunkId, bool)> = deletions.collect().await;
        let mut deleted = Vec::new();
        for (id, is_gone) in outcomes {
            if is_gone {
                deleted.push(id);
            } else {
                retries.handle_failure(id, now);
            }
        }
        deleted
    }

    async fn delete_chunk(&self, chunk: &DeletableChunk, map: &ClusterMap) -> bool {
        let shards = chunk.shards.iter();
        let deletions = shards.map(|(device, index)| {
            let doomed = Doomed {
                device: *device,
                shard: (chunk.id, *index),
                stray_epoch: 0,
            };
            delete_shard(&*self.transport, map, doomed)
        });
        let mut is_gone = true;
        for outcome in join_all(deletions).await {
            if let Err(error) = outcome {
                tracing::debug!(chunk = %chunk.id, %error, "a garbage shard stays for now");
                is_gone = false;
            }
        }
        is_gone
    }

    async fn forget(&self, chunks: &[ChunkId]) -> Result<(), RoundError> {
        let chunk_ids = chunks.iter().map(|id| Bytes::copy_from_slice(&id.to_bytes())).collect();
        self.inner
            .proposer
            .submit_own(Command::ForgetChunks(ForgetChunks { chunk_ids }))
            .await?;
        Ok(())
    }
}
