//! Compares a page of what a device holds with what the metadata knows: deletes what can never belong to anything or lies elsewhere
//! by now, and has repaired what is not there.
//!
//! It must never judge by a state older than the page it judges: a shard listed, then committed, would look lost. So each
//! page is received first, then a read barrier passed, then asked about. And a shard that should be there is looked for once more
//! after the state said so, for it may have been stored since. Invariant: a shard is deleted only where the state proves that no
//! record needs it there; one is called missing only where its device does not list it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{ChunkId, DeviceId},
    limits::REPAIR_BATCH_MAX,
    wire::{
        chunk::{ChunkChange, ChunkCommand, ReportShards, ShardPlace},
        command::{Command, Outcome},
        kind::RequestKind,
        shard::{ListShards, ListShardsReply},
    },
};
use cairn_transport::{Body, CallError, Transport, call};
use futures::{StreamExt, stream};

use super::{
    deletion::{Doomed, delete_shard},
    local::RoundError,
    service::Inner,
    strays::delete_strays,
};
use crate::core::{ShardId, Verdict};

/// How long a device may take to list a page.
const LIST_DEADLINE: Duration = Duration::from_secs(30);
/// Orphans of one page deleted at once.
const DELETES_IN_PARALLEL: usize = 8;
/// Records looked at in one read of the state.
pub(super) const RECORDS_AT_ONCE: usize = 4096;

/// What a comparison needs.
pub(super) struct Comparison<'w> {
    pub(super) inner: &'w Arc<Inner>,
    pub(super) transport: &'w Arc<dyn Transport>,
    pub(super) map: &'w ClusterMap,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Round(#[from] RoundError),
    #[error("the device's server names a chunk that is none")]
    Malformed,
    #[error("what is missing was not noted: {0}")]
    Refused(String),
}

/// How far a pass is with one device.
#[derive(Clone)]
pub(super) struct Walk {
    pub(super) device: Device,
    cursor: Bytes,
    /// The last chunk of the page before.
    after: Option<ChunkId>,
}

/// A page of a device's inventory.
struct Page {
    shards: Vec<ShardId>,
    damaged: Vec<ShardId>,
    next_cursor: Bytes,
}

/// What pages came to.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) shards: u64,
    pub(super) orphans: u64,
    pub(super) strays: u64,
    pub(super) missed: u64,
}

impl Comparison<'_> {
    /// Compares the next page of a device. Gives where to go on, unless it is at its end.
    pub(super) async fn page(&self, walk: &Walk) -> Result<(Counts, Option<Walk>), PageError> {
        let page = self.list(&walk.device, &walk.cursor).await?;
        // Only now: the state must be at least as new as the page.
        self.inner.barrier.pass().await.map_err(RoundError::from)?;
        let (orphans, strays) = self.clear(walk, &page).await?;
        let missed = self.report_damaged(walk, &page).await? + self.report_missing(walk, &page).await?;
        let counts = Counts {
            shards: page.shards.len() as u64,
            orphans,
            strays,
            missed,
        };
        let metrics = &self.inner.metrics;
        metrics.inventory_shards.inc_by(counts.shards);
        metrics.orphans_deleted.inc_by(counts.orphans);
        metrics.shards_missed.inc_by(counts.missed);
        let next = Walk {
            device: walk.device.clone(),
            after: page.last(),
            cursor: page.next_cursor,
        };
        Ok((counts, (!next.cursor.is_empty()).then_some(next)))
    }

    async fn list(&self, device: &Device, cursor: &Bytes) -> Result<Page, PageError> {
        let message = ListShards {
            device: device.id.value(),
            incarnation: device.incarnation.value(),
            cursor: cursor.clone(),
        };
        let (transport, kind) = (&**self.transport, RequestKind::ListShards);
        let listing = call::<ListShardsReply>(transport, device.server, kind, &message, Body::empty(), LIST_DEADLINE);
        let (reply, _) = listing.await?;
        let mut page = Page {
            shards: Vec::with_capacity(reply.shards.len()),
            damaged: Vec::new(),
            next_cursor: reply.next_cursor,
        };
        for name in reply.shards {
            let chunk = ChunkId::from_bytes(&name.chunk_id).ok_or(PageError::Malformed)?;
            let shard = (chunk, name.shard_index);
            page.shards.push(shard);
            page.damaged.extend(name.damaged.then_some(shard));
        }
        Ok(page)
    }

    /// Deletes what of a page nobody needs: orphans and strays, how many of each.
    async fn clear(&self, walk: &Walk, page: &Page) -> Result<(u64, u64), PageError> {
        let (device, listed) = (walk.device.id, page.shards.clone());
        let judged = self.inner.read_state(move |machine, view, _| {
            let verdicts = machine.judge(view, device, &listed)?;
            Ok(listed.into_iter().zip(verdicts).collect::<Vec<_>>())
        });
        let judged = judged.await.map_err(RoundError::from)?;
        let chosen = |is_chosen: fn(&Verdict) -> bool| {
            let chosen = judged.iter().filter(move |(_, verdict)| is_chosen(verdict));
            chosen.map(|(shard, _)| *shard).collect::<Vec<ShardId>>()
        };
        let orphans = chosen(|verdict| *verdict == Verdict::Orphan);
        let deletions = stream::iter(orphans)
            .map(|shard| {
                let doomed = Doomed {
                    device,
                    shard,
                    stray_epoch: 0,
                };
                delete_shard(&**self.transport, self.map, doomed)
            })
            .buffer_unordered(DELETES_IN_PARALLEL);
        let orphans = deletions
            .filter(|outcome| std::future::ready(outcome.is_ok()))
            .count()
            .await as u64;
        let strays = chosen(|verdict| matches!(verdict, Verdict::Stray { .. }));
        let strays = delete_strays(self.inner, self.transport, self.map, device, strays).await;
        Ok((orphans, strays.map_err(RoundError::from)?))
    }

    /// Has shards repaired that their device found damaged; how many.
    async fn report_damaged(&self, walk: &Walk, page: &Page) -> Result<u64, PageError> {
        self.report(walk.device.id, &page.damaged).await
    }

    /// Has shards repaired that should lie in the range of a page and do not; how many.
    async fn report_missing(&self, walk: &Walk, page: &Page) -> Result<u64, PageError> {
        let listed: HashSet<ShardId> = page.shards.iter().copied().collect();
        let through = page.last().filter(|_| !page.next_cursor.is_empty());
        let (device, mut after, mut reported) = (walk.device.id, walk.after, 0);
        // How far what was missed was looked for once more: what is missed later lies behind that.
        let mut again = walk.cursor.clone();
        loop {
            let from = after;
            let read = self
                .inner
                .read_state(move |machine, view, _| machine.expected(view, device, from, through, RECORDS_AT_ONCE));
            let expected = read.await.map_err(RoundError::from)?;
            let is_missed = |shard: &ShardId| !listed.contains(shard);
            let missed: Vec<ShardId> = expected.shards.into_iter().filter(is_missed).collect();
            let missed = self.missed_again(&walk.device, missed, &mut again).await?;
            reported += self.report(device, &missed).await?;
            after = expected.next_after;
            if after.is_none() {
                return Ok(reported);
            }
        }
    }

    /// Those of `missed` that the device does not list now either, from `again` on, which goes along. The device may have become so full
    /// meanwhile that what was one page is many.
    async fn missed_again(
        &self,
        device: &Device,
        mut missed: Vec<ShardId>,
        again: &mut Bytes,
    ) -> Result<Vec<ShardId>, PageError> {
        let Some(last) = missed.iter().map(|shard| place(shard.0)).max() else {
            return Ok(missed);
        };
        loop {
            let page = self.list(device, again).await?;
            let listed: HashSet<&ShardId> = page.shards.iter().collect();
            missed.retain(|shard| !listed.contains(shard));
            // A page may end within the shards of a chunk.
            let passes = page.last().is_some_and(|chunk| place(chunk) > last);
            if missed.is_empty() || passes || page.next_cursor.is_empty() {
                return Ok(missed);
            }
            *again = page.next_cursor;
        }
    }

    async fn report(&self, device: DeviceId, shards: &[ShardId]) -> Result<u64, PageError> {
        for some in shards.chunks(REPAIR_BATCH_MAX) {
            let place = |(chunk, shard_index): &ShardId| ShardPlace {
                chunk_id: Bytes::copy_from_slice(&chunk.to_bytes()),
                shard_index: *shard_index,
                device: device.value(),
            };
            let shards = some.iter().map(place).collect();
            let change = Some(ChunkChange::Report(ReportShards { shards }));
            let command = Command::Chunk(ChunkCommand { change });
            let submitted = self.inner.proposer.submit_own(command).await;
            if let Some(Outcome::Refused(refusal)) = submitted.map_err(RoundError::from)?.outcome {
                return Err(PageError::Refused(refusal.detail));
            }
        }
        Ok(shards.len() as u64)
    }
}

impl Walk {
    pub(super) fn begin(device: &Device) -> Self {
        Self {
            device: device.clone(),
            cursor: Bytes::new(),
            after: None,
        }
    }
}

impl Page {
    fn last(&self) -> Option<ChunkId> {
        self.shards.last().map(|(chunk, _)| *chunk)
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.shards += other.shards;
        self.orphans += other.orphans;
        self.strays += other.strays;
        self.missed += other.missed;
    }
}

/// The place of a chunk in the order of inventories.
fn place(chunk: ChunkId) -> (u64, [u8; 16]) {
    (chunk.placement_hash().value(), chunk.to_bytes())
}
