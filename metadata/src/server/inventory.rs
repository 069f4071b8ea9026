//! Compares what devices hold with what the metadata knows: deletes what can never belong to anything or lies elsewhere by now,
//! and has repaired what is not there.
//!
//! It must never judge by a state older than the page it judges: a shard listed, then committed, would look lost. So each
//! page is received first, then a read barrier passed, then asked about. And a shard that should be there is looked for once more
//! after the state said so, for it may have been stored since. Invariant: a shard is deleted only where the state proves that no
//! record needs it there; one is called missing only where its device does not list it.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{ChunkId, DeviceId},
    limits::REPAIR_BATCH_MAX,
    wire::{
        chunk::{ChunkChange, ChunkCommand, ReportShards, ShardPlace},
        command::Command,
        kind::RequestKind,
        shard::{ListShards, ListShardsReply},
    },
};
use cairn_transport::{Body, CallError, Transport, call};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use super::{
    config::InventorySchedule,
    deletion::{Doomed, delete_shard},
    local::RoundError,
    service::Inner,
    strays::delete_strays,
};
use crate::core::{ShardId, Verdict};

/// How long a device may take to list a page.
const LIST_DEADLINE: Duration = Duration::from_secs(30);
/// Devices asked at once.
const DEVICES_IN_PARALLEL: usize = 8;
/// Wait before a device is asked again whose inventory is wanted and could not be taken.
const WANTED_AGAIN: Duration = Duration::from_secs(5);
/// Orphans of one page deleted at once.
const DELETES_IN_PARALLEL: usize = 8;
/// Records looked at in one read of the state.
const RECORDS_AT_ONCE: usize = 4096;

/// What the worker needs.
pub(super) struct InventoryWorker {
    pub(super) inner: Arc<Inner>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) schedule: InventorySchedule,
}

/// Devices whose inventory is not to wait for the next pass.
#[derive(Default)]
pub(super) struct Wanted {
    devices: Mutex<BTreeSet<DeviceId>>,
    news: Notify,
}

impl Wanted {
    /// Has a device's inventory taken soon.
    pub(super) fn want(&self, device: DeviceId) {
        self.devices.lock().insert(device);
        self.news.notify_one();
    }

    fn take(&self) -> BTreeSet<DeviceId> {
        std::mem::take(&mut self.devices.lock())
    }
}

#[derive(Debug, thiserror::Error)]
enum PageError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Round(#[from] RoundError),
    #[error("the device's server names a chunk that is none")]
    Malformed,
}

/// How far a pass is with one device.
#[derive(Clone)]
struct Walk {
    device: Device,
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

#[derive(Clone, Copy, Default)]
struct Counts {
    shards: u64,
    orphans: u64,
    strays: u64,
    missed: u64,
}

impl InventoryWorker {
    /// Makes passes for as long as it is polled.
    pub(super) async fn run(self) {
        let mut next_over_all = Instant::now() + self.schedule.first_after;
        loop {
            let wanted = timeout_at(next_over_all, self.inner.inventories.news.notified()).await;
            let wanted = wanted.is_ok().then(|| self.inner.inventories.take());
            match self.inner.local_map().await {
                Ok(Some(map)) => self.pass(&map, wanted.as_ref()).await,
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "the cluster map cannot be read; no inventory is taken"),
            }
            // A pass over some devices puts off none over all.
            if wanted.is_none() {
                next_over_all = Instant::now() + self.schedule.every;
            }
        }
    }

    /// Over all devices, or those that are wanted.
    async fn pass(&self, map: &ClusterMap, wanted: Option<&BTreeSet<DeviceId>>) {
        let begin = |device: &Device| Walk {
            device: device.clone(),
            cursor: Bytes::new(),
            after: None,
        };
        let is_wanted = |device: &&Device| wanted.is_none_or(|wanted| wanted.contains(&device.id));
        let mut walks: Vec<Walk> = map.devices.values().filter(is_wanted).map(begin).collect();
        let mut total = Counts::default();
        while !walks.is_empty() {
            let pages = stream::iter(walks)
                .map(|walk| self.step(walk, map, wanted.is_some()))
                .buffer_unordered(DEVICES_IN_PARALLEL);
            let outcomes: Vec<(Counts, Option<Walk>)> = pages.collect().await;
            walks = Vec::new();
            for (counts, walk) in outcomes {
                total.add(counts);
                walks.extend(walk);
            }
            if !walks.is_empty() {
                sleep(self.schedule.page_every).await;
            }
        }
        tracing::info!(
            shards = total.shards,
            orphans_deleted = total.orphans,
            strays_deleted = total.strays,
            missing = total.missed,
            "device inventories compared"
        );
    }

    /// One page of one device; the walk to go on with, unless it is at its end or cannot go on. A device that is wanted is asked
    /// again a moment later: what it lost is made again only once it is known.
    async fn step(&self, walk: Walk, map: &ClusterMap, is_wanted: bool) -> (Counts, Option<Walk>) {
        match self.page(&walk, map).await {
            Ok((counts, next)) => (counts, next),
            Err(PageError::Round(RoundError::View(error))) => {
                tracing::error!(%error, "the chunk records cannot be read; nothing is deleted");
                (Counts::default(), None)
            }
            Err(error) => {
                tracing::debug!(device = %walk.device.id, %error, "the device's inventory waits for the next pass");
                if is_wanted {
                    sleep(WANTED_AGAIN).await;
                    self.inner.inventories.want(walk.device.id);
                }
                (Counts::default(), None)
            }
        }
    }

    async fn page(&self, walk: &Walk, map: &ClusterMap) -> Result<(Counts, Option<Walk>), PageError> {
        let page = self.list(walk).await?;
        // Only now: the state must be at least as new as the page.
        self.inner.barrier.pass().await.map_err(RoundError::from)?;
        let (orphans, strays) = self.clear(walk, map, &page).await?;
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

    async fn list(&self, walk: &Walk) -> Result<Page, PageError> {
        let message = ListShards {
            device: walk.device.id.value(),
            incarnation: walk.device.incarnation.value(),
            cursor: walk.cursor.clone(),
        };
        let (transport, kind) = (&*self.transport, RequestKind::ListShards);
        let listing = call::<ListShardsReply>(
            transport,
            walk.device.server,
            kind,
            &message,
            Body::empty(),
            LIST_DEADLINE,
        );
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
    async fn clear(&self, walk: &Walk, map: &ClusterMap, page: &Page) -> Result<(u64, u64), PageError> {
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
                delete_shard(&*self.transport, map, doomed)
            })
            .buffer_unordered(DELETES_IN_PARALLEL);
        let orphans = deletions
            .filter(|outcome| std::future::ready(outcome.is_ok()))
            .count()
            .await as u64;
        let strays = chosen(|verdict| matches!(verdict, Verdict::Stray { .. }));
        let strays = delete_strays(&self.inner, &self.transport, map, device, strays).await;
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
        loop {
            let from = after;
            let read = self
                .inner
                .read_state(move |machine, view, _| machine.expected(view, device, from, through, RECORDS_AT_ONCE));
            let expected = read.await.map_err(RoundError::from)?;
            let is_missed = |shard: &ShardId| !listed.contains(shard);
            let missed: Vec<ShardId> = expected.shards.into_iter().filter(is_missed).collect();
            if !missed.is_empty() {
                let again = self.list(walk).await?;
                let missed: Vec<ShardId> = missed.into_iter().filter(|shard| again.lacks(shard)).collect();
                reported += self.report(device, &missed).await?;
            }
            after = expected.next_after;
            if after.is_none() {
                return Ok(reported);
            }
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
            submitted.map_err(RoundError::from)?;
        }
        Ok(shards.len() as u64)
    }
}

impl Page {
    fn last(&self) -> Option<ChunkId> {
        self.shards.last().map(|(chunk, _)| *chunk)
    }

    /// Whether a shard is not on the device, by a page that would list it.
    fn lacks(&self, shard: &ShardId) -> bool {
        let place = |(chunk, _): &ShardId| (chunk.placement_hash().value(), chunk.to_bytes());
        let reaches = self.next_cursor.is_empty() || self.shards.last().is_some_and(|last| place(shard) < place(last));
        reaches && !self.shards.contains(shard)
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.shards += other.shards;
        self.orphans += other.orphans;
        self.strays += other.strays;
        self.missed += other.missed;
    }
}
