//! Brings shards to where they belong: looks at groups whose rows have changed, and has chunkservers make what is missing or
//! lies elsewhere, the most urgent first.
//!
//! It must never take a shard for repaired on its own word: the chunkserver that stored it says so. Invariant: what is to be done
//! stands in the replicated state alone, so that another leader goes on where this one ended.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId, Epoch, NodeId},
    limits::{MOVE_STEP_MAX, REPAIR_BATCH_MAX},
    wire::{
        chunk::{
            ChunkChange, ChunkCommand, ChunkInfo, ChunkQuestion, ChunkReply, MoveStep, PageQuery, Repair, RepairDone,
            ShardPlace,
        },
        command::{Command, Outcome},
        kind::RequestKind,
        object::Chunk,
        server::ServerInfo,
        shard::{RepairShard, RepairShardReply},
    },
};
use cairn_transport::{Body, Transport, call};
use futures::{StreamExt, future::join_all, stream};
use tokio::time::{Instant, sleep};

use super::{
    local::RoundError,
    places::Places,
    retries::Retries,
    service::Inner,
    sources::{Sources, location},
    strays::{LeftBehind, delete_strays},
};
use crate::core::view::ViewError;

/// Wait after a round that found nothing to do.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// Wait after the state could not be read.
const TROUBLE_WAIT: Duration = Duration::from_secs(60);
/// Groups that are looked at in a round.
const GROUPS_PER_ROUND: u32 = 256;
/// Entries of the queue that are looked at together.
const PAGE: u32 = 256;
/// Chunks whose shards are made at once, over all servers.
const AT_ONCE: usize = 16;
/// Chunks that have all their shards, which only lie elsewhere than they should.
const MOVES: Range<u32> = 64..192;
/// How long a server may take over a shard, waiting for its turn included.
const REPAIR_DEADLINE: Duration = Duration::from_secs(60);

/// What the worker needs.
pub(super) struct RepairWorker {
    pub(super) inner: Arc<Inner>,
    pub(super) transport: Arc<dyn Transport>,
}

/// What the worker remembers from round to round. Nothing of it matters to another leader.
#[derive(Default)]
struct Memory {
    /// The map of the last round.
    epoch: Epoch,
    /// Where the look at groups on the move goes on.
    moves_from: Bytes,
    retries: Retries,
    left_behind: LeftBehind,
}

/// A chunk of which shards are to be made.
struct Job {
    id: ChunkId,
    id_bytes: Bytes,
    places: Places,
    tasks: Vec<Task>,
}

/// A shard that is to be made.
struct Task {
    index: usize,
    server: NodeId,
    message: RepairShard,
}

impl RepairWorker {
    /// Works for as long as it is polled.
    pub(super) async fn run(self) {
        let started = Instant::now();
        let mut memory = Memory::default();
        loop {
            match self.round(&mut memory, started.elapsed()).await {
                Ok(true) => {}
                Ok(false) => sleep(IDLE_WAIT).await,
                Err(RoundError::Submit(error)) => {
                    tracing::debug!(%error, "repair waits");
                    sleep(IDLE_WAIT).await;
                }
                Err(RoundError::View(error)) => {
                    tracing::error!(%error, "what is to be repaired cannot be read; nothing is until it can be");
                    sleep(TROUBLE_WAIT).await;
                }
            }
        }
    }

    /// One bounded round; whether there may be more to do at once.
    async fn round(&self, memory: &mut Memory, now: Duration) -> Result<bool, RoundError> {
        let Some(map) = self.inner.local_map().await? else {
            return Ok(false);
        };
        if std::mem::replace(&mut memory.epoch, map.epoch) != map.epoch {
            // What failed under another map may do well under this one.
            memory.retries = Retries::default();
        }
        self.clear_left_behind(&map, &mut memory.left_behind, now).await?;
        let looked = !map.upkeep.moves_paused && self.look_at_moves(&mut memory.moves_from).await?;
        let jobs = self.jobs(&map, &mut memory.retries, now).await?;
        if jobs.is_empty() {
            return Ok(looked);
        }
        let made = stream::iter(jobs)
            .map(|job| async move {
                let made = self.make(&job).await;
                (job, made)
            })
            .buffer_unordered(AT_ONCE);
        let outcomes: Vec<(Job, Vec<usize>)> = made.collect().await;
        let switched = self.switch(map.epoch, &outcomes).await?;
        for ((job, _), switched) in outcomes.iter().zip(&switched) {
            if switched.len() == job.tasks.len() {
                memory.retries.forget(job.id);
            } else {
                memory.retries.handle_failure(job.id, now);
            }
            for index in switched {
                if let Some(device) = job.places.left_by(*index) {
                    memory.left_behind.note(device, (job.id, *index as u32), now);
                }
            }
        }
        Ok(looked || switched.iter().any(|switched| !switched.is_empty()))
    }

    /// Has the state note where shards lie that were made; which of each job's it noted.
    async fn switch(&self, epoch: Epoch, outcomes: &[(Job, Vec<usize>)]) -> Result<Vec<Vec<usize>>, RoundError> {
        let switched: Vec<Vec<usize>> = outcomes.iter().map(|(job, made)| job.places.switchable(made)).collect();
        let place = |job: &Job, index: usize| ShardPlace {
            chunk_id: job.id_bytes.clone(),
            shard_index: index as u32,
            device: job.places.row[index].device.value(),
        };
        let all = outcomes.iter().zip(&switched);
        let shards: Vec<ShardPlace> = all
            .flat_map(|((job, _), switched)| switched.iter().map(|index| place(job, *index)))
            .collect();
        let count = shards.len() as u64;
        if count == 0 {
            return Ok(switched);
        }
        let epoch = epoch.value();
        // All of a chunk's in one command: what stands between is never the chunk's record.
        let change = Some(ChunkChange::Repaired(RepairDone { shards, epoch }));
        let command = Command::Chunk(ChunkCommand { change });
        if let Some(Outcome::Refused(refusal)) = self.inner.proposer.submit_own(command).await?.outcome {
            tracing::debug!(refusal.detail, "shards were made for a map that is no longer in force");
            return Ok(vec![Vec::new(); outcomes.len()]);
        }
        self.inner.metrics.shards_repaired.inc_by(count);
        Ok(switched)
    }

    /// Deletes what moves left behind long enough ago.
    async fn clear_left_behind(
        &self,
        map: &ClusterMap,
        left_behind: &mut LeftBehind,
        now: Duration,
    ) -> Result<(), ViewError> {
        while let Some((device, shards)) = left_behind.take_due(now, REPAIR_BATCH_MAX) {
            delete_strays(&self.inner, &self.transport, map, device, shards).await?;
        }
        Ok(())
    }

    /// Has the state look at the next chunks of groups whose rows have changed, from where the last look ended. Whether there may
    /// be more to look at at once.
    async fn look_at_moves(&self, from: &mut Bytes) -> Result<bool, RoundError> {
        let page = PageQuery {
            from: std::mem::take(from),
            limit: GROUPS_PER_ROUND,
        };
        let ChunkReply::Moves(moves) = self.inner.ask_about_chunks(ChunkQuestion::Moves(page)).await? else {
            return Ok(false);
        };
        *from = moves.next_from;
        let mut groups: Vec<(u32, u32)> = moves.moves.iter().map(|moving| (moving.width, moving.group)).collect();
        groups.dedup();
        let is_more = !groups.is_empty() || !from.is_empty();
        let steps = stream::iter(groups)
            .map(|(width, group)| {
                let steps = MOVE_STEP_MAX as u32;
                let change = Some(ChunkChange::MoveStep(MoveStep { width, group, steps }));
                self.inner.proposer.submit_own(Command::Chunk(ChunkCommand { change }))
            })
            .buffer_unordered(AT_ONCE);
        let outcomes: Vec<_> = steps.collect().await;
        outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(is_more)
    }

    /// The most urgent chunks of which shards can be made now.
    async fn jobs(&self, map: &ClusterMap, retries: &mut Retries, now: Duration) -> Result<Vec<Job>, RoundError> {
        let servers = self.inner.known_servers().await?;
        let (mut jobs, mut shards) = (Vec::new(), 0);
        let mut page = PageQuery {
            limit: PAGE,
            ..PageQuery::default()
        };
        loop {
            let ChunkReply::Repairs(repairs) = self
                .inner
                .ask_about_chunks(ChunkQuestion::Repairs(page.clone()))
                .await?
            else {
                return Ok(jobs);
            };
            let is_wanted = |repair: &Repair| !map.upkeep.moves_paused || !MOVES.contains(&repair.priority);
            let wanted = repairs.repairs.into_iter().filter(is_wanted);
            for info in wanted.filter_map(|repair| repair.chunk) {
                let id = info.chunk.as_ref().and_then(Chunk::chunk_id);
                let Some(id) = id.filter(|id| retries.is_due(*id, now)) else {
                    continue;
                };
                let Some(job) = self.job(id, &info, map, &servers) else {
                    retries.handle_failure(id, now);
                    continue;
                };
                if shards + job.tasks.len() > REPAIR_BATCH_MAX {
                    return Ok(jobs);
                }
                shards += job.tasks.len();
                jobs.push(job);
            }
            if repairs.next_from.is_empty() || jobs.len() >= PAGE as usize {
                return Ok(jobs);
            }
            page.from = repairs.next_from;
        }
    }

    /// What is to be made of a chunk, on devices that serve; nothing where that would not make it safer.
    fn job(&self, id: ChunkId, info: &ChunkInfo, map: &ClusterMap, servers: &[ServerInfo]) -> Option<Job> {
        let chunk = info.chunk.as_ref()?;
        let row: Vec<DeviceId> = info.row.iter().map(|device| DeviceId::new(*device)).collect();
        let health = &self.inner.servers;
        let wrong = chunk.missing | info.misplaced;
        let can_be_made = |index: &usize| wrong & 1 << index != 0 && health.serving(map, row[*index]).is_some();
        let candidates: Vec<usize> = (0..row.len()).filter(can_be_made).collect();
        let places = Places::new(map, &location(info)?, &row)?;
        let sources = Sources::of(info, &[], map, servers, health)?;
        let tasks: Vec<Task> = (places.switchable(&candidates).into_iter())
            .filter_map(|index| {
                let target = map.devices.get(&row[index])?;
                let message = RepairShard {
                    chunk: Some(sources.chunk.clone()),
                    shard_index: index as u32,
                    device: target.id.value(),
                    incarnation: target.incarnation.value(),
                    holders: sources.devices.clone(),
                    servers: sources.servers.clone(),
                    epoch: map.epoch.value(),
                    rate_mib: map.upkeep.rate_mib,
                };
                let server = target.server;
                Some(Task { index, server, message })
            })
            .collect();
        (!tasks.is_empty()).then(|| Job {
            id,
            id_bytes: chunk.id.clone(),
            places,
            tasks,
        })
    }

    /// Has the shards of a job made; gives those that were.
    async fn make(&self, job: &Job) -> Vec<usize> {
        let asked = job.tasks.iter().map(|task| async move {
            let (kind, transport) = (RequestKind::RepairShard, &*self.transport);
            let asked = call::<RepairShardReply>(
                transport,
                task.server,
                kind,
                &task.message,
                Body::empty(),
                REPAIR_DEADLINE,
            );
            match asked.await {
                Ok(_) => Some(task.index),
                Err(error) => {
                    tracing::debug!(chunk = %job.id, shard = task.index, %error, "a shard is not made yet");
                    None
                }
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}
