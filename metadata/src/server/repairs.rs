//! Brings shards to where they belong: looks at groups whose rows have changed, and has chunkservers make what is missing or
//! lies elsewhere, the most urgent first.
//!
//! It must never take a shard for repaired on its own word: the chunkserver that stored it says so. Invariant: what is to be done
//! stands in the replicated state alone, so that another leader goes on where this one ended.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId, NodeId},
    limits::{MOVE_STEP_MAX, REPAIR_BATCH_MAX},
    wire::{
        chunk::{
            ChunkChange, ChunkCommand, ChunkInfo, ChunkQuery, ChunkQuestion, ChunkReply, MoveStep, PageQuery,
            RepairDone, ShardPlace,
        },
        command::Command,
        kind::RequestKind,
        map::MapMessage,
        object::Chunk,
        query::{Answer, Query},
        server::{ServerAddress, ServerInfo},
        shard::{RepairShard, RepairShardReply},
    },
};
use cairn_transport::{Body, Transport, call};
use futures::{StreamExt, future::join_all, stream};
use tokio::time::{Instant, sleep};

use super::{deletion::local_map, places::Places, proposer::SubmitError, retries::Retries, service::Inner};
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
/// How long a server may take over a shard, waiting for its turn included.
const REPAIR_DEADLINE: Duration = Duration::from_secs(60);

/// What the worker needs.
pub(super) struct RepairWorker {
    pub(super) inner: Arc<Inner>,
    pub(super) transport: Arc<dyn Transport>,
}

#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    View(#[from] ViewError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
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
        let mut retries = Retries::default();
        let mut moves_from = Bytes::new();
        loop {
            match self.round(&mut moves_from, &mut retries, started.elapsed()).await {
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
    async fn round(&self, moves_from: &mut Bytes, retries: &mut Retries, now: Duration) -> Result<bool, RoundError> {
        let Some(map) = local_map(&self.inner.node, &self.inner.machine)? else {
            return Ok(false);
        };
        let looked = self.look_at_moves(moves_from).await?;
        let jobs = self.jobs(&map, retries, now).await?;
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
        let (mut shards, mut done) = (Vec::new(), Vec::new());
        for (job, made) in outcomes {
            let switched = job.places.switchable(&made);
            if switched.len() == job.tasks.len() {
                done.push(job.id);
            } else {
                retries.handle_failure(job.id, now);
            }
            shards.extend(switched.into_iter().map(|index| ShardPlace {
                chunk_id: job.id_bytes.clone(),
                shard_index: index as u32,
                device: job.places.row[index].device.value(),
            }));
        }
        if shards.is_empty() {
            return Ok(looked);
        }
        retries.forget(&done);
        self.inner.metrics.shards_repaired.inc_by(shards.len() as u64);
        // All of a chunk's in one command: what stands between is never the chunk's record.
        let change = Some(ChunkChange::Repaired(RepairDone { shards }));
        self.inner
            .proposer
            .submit_own(Command::Chunk(ChunkCommand { change }))
            .await?;
        Ok(true)
    }

    /// Has the state look at the next chunks of groups whose rows have changed, from where the last look ended. Whether there may
    /// be more to look at at once.
    async fn look_at_moves(&self, from: &mut Bytes) -> Result<bool, RoundError> {
        let page = PageQuery {
            from: std::mem::take(from),
            limit: GROUPS_PER_ROUND,
        };
        let ChunkReply::Moves(moves) = self.ask(ChunkQuestion::Moves(page)).await? else {
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
        let servers = self.inner.known_servers()?;
        let (mut jobs, mut shards) = (Vec::new(), 0);
        let mut page = PageQuery {
            limit: PAGE,
            ..PageQuery::default()
        };
        loop {
            let ChunkReply::Repairs(repairs) = self.ask(ChunkQuestion::Repairs(page.clone())).await? else {
                return Ok(jobs);
            };
            for info in repairs.repairs.into_iter().filter_map(|repair| repair.chunk) {
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
        let location = chunk.explicit_row().unwrap_or_else(|| row.clone());
        let serves = |device: &DeviceId| {
            let device = map.devices.get(device);
            device.is_some_and(|device| self.inner.servers.may_serve(device))
        };
        let wrong = chunk.missing | info.misplaced;
        let can_be_made = |index: &usize| wrong & 1 << index != 0 && serves(&row[*index]);
        let candidates: Vec<usize> = (0..row.len()).filter(can_be_made).collect();
        let places = Places::new(map, &location, &row)?;
        // Nobody waits for a device that is known to be down.
        let silent = location.iter().enumerate().filter(|(_, device)| !serves(device));
        let placed = Chunk {
            explicit_devices: location.iter().map(|device| device.value()).collect(),
            missing: silent.fold(chunk.missing, |missing, (index, _)| missing | 1 << index),
            ..chunk.clone()
        };
        let holding = ClusterMap {
            devices: (location.iter())
                .filter_map(|device| Some((*device, map.devices.get(device)?.clone())))
                .collect(),
            ..ClusterMap::default()
        };
        let addresses = addresses(&holding, servers);
        let holders = MapMessage::from(&holding).devices;
        let tasks: Vec<Task> = (places.switchable(&candidates).into_iter())
            .filter_map(|index| {
                let target = map.devices.get(&row[index])?;
                let message = RepairShard {
                    chunk: Some(placed.clone()),
                    shard_index: index as u32,
                    device: target.id.value(),
                    incarnation: target.incarnation.value(),
                    holders: holders.clone(),
                    servers: addresses.clone(),
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

    /// Asks the state as it is here, on another thread.
    async fn ask(&self, question: ChunkQuestion) -> Result<ChunkReply, ViewError> {
        let (node, machine) = (self.inner.node.clone(), Arc::clone(&self.inner.machine));
        let query = Query::Chunk(ChunkQuery {
            question: Some(question),
        });
        let ask = move || {
            node.state()
                .read(|view, applied| machine.answer(view, applied.index(), &query))
        };
        let joined = tokio::task::spawn_blocking(ask).await;
        let reply = joined.unwrap_or_else(|error| Err(ViewError::Storage(format!("the read has died: {error}"))))?;
        let nothing = || ViewError::Storage("the state gave no answer about chunks".to_owned());
        match reply.answer {
            Some(Answer::Chunk(answer)) => answer.reply.ok_or_else(nothing),
            _ => Err(nothing()),
        }
    }
}

/// Where the servers of these devices are called.
fn addresses(holding: &ClusterMap, servers: &[ServerInfo]) -> Vec<ServerAddress> {
    let is_asked = |server: &&ServerInfo| {
        let mut devices = holding.devices.values();
        devices.any(|device| device.server.value() == server.node)
    };
    let address = |server: &ServerInfo| ServerAddress {
        node: server.node,
        address: server.address.clone(),
    };
    servers.iter().filter(is_asked).map(address).collect()
}
