//! Compares what devices hold with what the metadata knows, and deletes what can never belong to anything.
//!
//! It must never judge by a state older than the page it judges: a shard listed, then committed, would look lost. So each
//! page is received first, then a read barrier passed, then asked about. Invariant: a shard is deleted only where the state
//! proves that no record refers to its chunk and that nobody can ever commit it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::ChunkId,
    wire::{
        kind::RequestKind,
        shard::{ListShards, ListShardsReply, ShardName},
    },
};
use cairn_transport::{Body, CallError, Transport, call};
use futures::{StreamExt, stream};

use super::{
    barrier::Barrier,
    config::InventorySchedule,
    deletion::{delete_shard, local_map},
    metrics::Metrics,
    proposer::SubmitError,
};
use crate::{
    core::view::ViewError,
    raft::{Machine, RaftNode},
};

/// How long a device may take to list a page.
const LIST_DEADLINE: Duration = Duration::from_secs(30);
/// Devices asked at once.
const DEVICES_IN_PARALLEL: usize = 8;
/// Orphans of one page deleted at once.
const DELETES_IN_PARALLEL: usize = 8;

/// What the worker needs.
pub(super) struct InventoryWorker {
    pub(super) node: RaftNode,
    pub(super) machine: Arc<dyn Machine>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) barrier: Barrier,
    pub(super) metrics: Metrics,
    pub(super) schedule: InventorySchedule,
}

#[derive(Debug, thiserror::Error)]
enum PageError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Barrier(#[from] SubmitError),
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("the device's server names a chunk that is none")]
    Malformed,
}

/// How far a pass is with one device.
#[derive(Clone)]
struct Walk {
    device: Device,
    cursor: Bytes,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    shards: u64,
    orphans: u64,
}

impl InventoryWorker {
    /// Makes passes for as long as it is polled.
    pub(super) async fn run(self) {
        tokio::time::sleep(self.schedule.first_after).await;
        loop {
            match local_map(&self.node, &self.machine) {
                Ok(Some(map)) => self.pass(&map).await,
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "the cluster map cannot be read; no inventory is taken"),
            }
            tokio::time::sleep(self.schedule.every).await;
        }
    }

    async fn pass(&self, map: &ClusterMap) {
        let begin = |device: &Device| Walk {
            device: device.clone(),
            cursor: Bytes::new(),
        };
        let mut walks: Vec<Walk> = map.devices.values().map(begin).collect();
        let mut total = Counts::default();
        while !walks.is_empty() {
            let pages = stream::iter(walks)
                .map(|walk| self.step(walk, map))
                .buffer_unordered(DEVICES_IN_PARALLEL);
            let outcomes: Vec<(Counts, Option<Walk>)> = pages.collect().await;
            walks = Vec::new();
            for (counts, walk) in outcomes {
                total.shards += counts.shards;
                total.orphans += counts.orphans;
                walks.extend(walk);
            }
            tokio::time::sleep(self.schedule.page_every).await;
        }
        tracing::info!(
            shards = total.shards,
            orphans_deleted = total.orphans,
            "device inventories compared"
        );
    }

    /// One page of one device; the walk to go on with, unless it is at its end or cannot go on.
    async fn step(&self, walk: Walk, map: &ClusterMap) -> (Counts, Option<Walk>) {
        match self.page(&walk, map).await {
            Ok((counts, next)) if next.is_empty() => (counts, None),
            Ok((counts, cursor)) => (counts, Some(Walk { cursor, ..walk })),
            Err(PageError::View(error)) => {
                tracing::error!(%error, "the chunk records cannot be read; nothing is deleted");
                (Counts::default(), None)
            }
            Err(error @ (PageError::Call(_) | PageError::Barrier(_) | PageError::Malformed)) => {
                tracing::debug!(device = %walk.device.id, %error, "the device's inventory waits for the next pass");
                (Counts::default(), None)
            }
        }
    }

    async fn page(&self, walk: &Walk, map: &ClusterMap) -> Result<(Counts, Bytes), PageError> {
        let (device, incarnation) = (walk.device.id.value(), walk.device.incarnation.value());
        let message = ListShards {
            device,
            incarnation,
            cursor: walk.cursor.clone(),
        };
        let kind = RequestKind::ListShards;
        let listing = call::<ListShardsReply>(
            &*self.transport,
            walk.device.server,
            kind,
            &message,
            Body::empty(),
            LIST_DEADLINE,
        );
        let (page, _) = listing.await?;
        let mut counts = Counts {
            shards: page.shards.len() as u64,
            orphans: 0,
        };
        // Only now: the state must be at least as new as the page.
        self.barrier.pass().await?;
        let orphans = self.find_orphans(page.shards).await?;
        let deletions = stream::iter(orphans)
            .map(|(chunk, index)| delete_shard(&*self.transport, map, walk.device.id, chunk, index))
            .buffer_unordered(DELETES_IN_PARALLEL);
        let outcomes: Vec<_> = deletions.collect().await;
        counts.orphans = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
        self.metrics.inventory_shards.inc_by(counts.shards);
        self.metrics.orphans_deleted.inc_by(counts.orphans);
        Ok((counts, page.next_cursor))
    }

    async fn find_orphans(&self, shards: Vec<ShardName>) -> Result<Vec<(ChunkId, u32)>, PageError> {
        let (node, machine) = (self.node.clone(), Arc::clone(&self.machine));
        let judge = move || {
            node.state().read(|view, _| {
                let mut orphans = Vec::new();
                for shard in shards {
                    let chunk = ChunkId::from_bytes(&shard.chunk_id).ok_or(PageError::Malformed)?;
                    if machine.is_orphan(view, chunk)? {
                        orphans.push((chunk, shard.shard_index));
                    }
                }
                Ok(orphans)
            })
        };
        let judged = tokio::task::spawn_blocking(judge).await;
        judged.unwrap_or_else(|error| Err(ViewError::Storage(format!("judging a page has died: {error}")).into()))
    }
}

impl From<crate::store::StoreError> for PageError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::View(error.into())
    }
}
