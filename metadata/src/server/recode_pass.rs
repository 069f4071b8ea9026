//! One walk over a bucket that wants another redundancy: chunkservers read each chunk that is to be coded anew and store its bytes as
//! another one, and then what referred to the first refers to the second.
//!
//! It must never let a chunk take another's place before all of its shards are synced. Invariant: the ids of a walk are of its own
//! session, each used once; one is settled only when nothing of it is under way any more.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId, SessionId},
    redundancy::Redundancy,
    wire::{
        chunk::{ChunkChange, ChunkQuestion, ChunkReply},
        command::{Command, Heartbeat, Outcome},
        failure::FailureCode,
        kind::RequestKind,
        object::Chunk,
        recode::{ChunkRecoded, Recode, RecodeChunk, RecodeChunkReply, RecodesQuery},
        server::ServerInfo,
    },
};
use cairn_transport::{Body, CallError, call};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::{local::RoundError, proposer::SubmitError, recodes::RecodeWorker, sources::Sources};

/// Time between two signs of life of the session.
const ALIVE_EVERY: Duration = Duration::from_secs(3);
/// Records that are looked at together.
const PAGE: u32 = 256;
/// Chunks that are coded anew at once, over all servers.
const AT_ONCE: usize = 8;
/// How long a server may take over a chunk, waiting for its turn and for its rate included.
const RECODE_DEADLINE: Duration = Duration::from_secs(600);
/// Ids that are drawn until all devices of one's row serve.
const DRAWS_MAX: usize = 32;
/// Chunks of several records that are remembered: of more, each record gets a chunk of its own.
const SHARED_MAX: usize = 100_000;

/// A walk over a bucket.
pub(super) struct Pass<'w> {
    worker: &'w RecodeWorker,
    bucket: u64,
    session: SessionId,
    last_counter: AtomicU64,
    /// What took the place of chunks that other records refer to too.
    shared: Mutex<HashMap<ChunkId, Chunk>>,
    /// Whether a device had no room: what is stored on the others then only fills them.
    is_full: AtomicBool,
}

/// What a walk came to.
#[derive(Clone, Copy, Default)]
pub(super) struct Walked {
    /// Chunks that were to be coded anew.
    pub(super) found: usize,
    /// Those of them that could not be.
    pub(super) left: usize,
    /// Whether it came to its end.
    pub(super) is_whole: bool,
}

impl<'w> Pass<'w> {
    pub(super) fn new(worker: &'w RecodeWorker, bucket: u64, session: SessionId) -> Self {
        Self {
            worker,
            bucket,
            session,
            last_counter: AtomicU64::new(0),
            shared: Mutex::default(),
            is_full: AtomicBool::new(false),
        }
    }

    /// Gives signs of life until the session has ended. Nothing that is deleted waits for this pass: what it cannot read any more is
    /// not referred to any more.
    pub(super) async fn stay_alive(&self) -> RoundError {
        loop {
            self.worker.inner.sessions.note_sign_of_life(self.session);
            if let Err(ended) = self.heartbeat(0).await {
                return ended;
            }
            sleep(ALIVE_EVERY).await;
        }
    }

    async fn heartbeat(&self, settled_below: u64) -> Result<(), RoundError> {
        let heartbeat = Heartbeat {
            settled_below,
            reads_from: u64::MAX,
            ..Heartbeat::default()
        };
        match (self.worker)
            .submit(self.session.value(), Command::Heartbeat(heartbeat))
            .await?
        {
            Some(Outcome::Refused(refusal)) => {
                tracing::debug!(refusal.detail, "the pass has lost its session");
                Err(RoundError::Submit(SubmitError::Busy))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn walk(&self) -> Result<Walked, RoundError> {
        let inner = &self.worker.inner;
        let (mut from, mut walked) = (Bytes::new(), Walked::default());
        loop {
            let map = inner.local_map().await?.filter(|map| !map.upkeep.moves_paused);
            let Some(map) = map.filter(|_| !self.is_full.load(Ordering::Relaxed)) else {
                return Ok(walked);
            };
            let servers = inner.known_servers().await?;
            let query = RecodesQuery {
                bucket: self.bucket,
                from,
                limit: PAGE,
            };
            let ChunkReply::Recodes(page) = inner.ask_about_chunks(ChunkQuestion::Recodes(query)).await? else {
                return Ok(walked);
            };
            let recoded = stream::iter(by_chunk(page.recodes))
                .map(|recodes| self.recode(recodes, &map, &servers))
                .buffer_unordered(AT_ONCE);
            let outcomes: Vec<Result<bool, RoundError>> = recoded.collect().await;
            walked.found += outcomes.len();
            for outcome in outcomes {
                walked.left += usize::from(!outcome?);
            }
            // Nothing that this pass has begun is under way any more.
            self.heartbeat(self.last_counter.load(Ordering::Relaxed) + 1).await?;
            from = page.next_from;
            if from.is_empty() {
                walked.is_whole = true;
                return Ok(walked);
            }
        }
    }

    /// Has the chunk that these records refer to coded anew. Whether it was.
    async fn recode(&self, recodes: Vec<Recode>, map: &ClusterMap, servers: &[ServerInfo]) -> Result<bool, RoundError> {
        let Some(first) = recodes.first() else { return Ok(true) };
        let Some((info, chunk)) = first.chunk.as_ref().and_then(|info| Some((info, info.chunk.as_ref()?))) else {
            return Ok(false);
        };
        let Some(old_id) = chunk.chunk_id() else {
            return Ok(false);
        };
        let known = self.shared.lock().get(&old_id).cloned();
        let new = match known {
            Some(known) => known,
            None => match self.store(first, map, servers).await {
                Some(stored) => stored,
                None => return Ok(false),
            },
        };
        let done = ChunkRecoded {
            bucket: self.bucket,
            records: recodes.iter().map(|recode| recode.record.clone()).collect(),
            old_chunk_id: chunk.id.clone(),
            chunk: Some(new.clone()),
            session: self.session.value(),
        };
        let is_done = self.worker.change(ChunkChange::Recoded(done)).await? > 0;
        let mut shared = self.shared.lock();
        if !is_done {
            shared.remove(&old_id);
        } else if info.references > recodes.len() as u64 && shared.len() < SHARED_MAX {
            shared.insert(old_id, new);
        }
        drop(shared);
        self.worker.inner.metrics.chunks_recoded.inc_by(u64::from(is_done));
        Ok(is_done)
    }

    /// Has a chunk's bytes stored as a new chunk.
    async fn store(&self, recode: &Recode, map: &ClusterMap, servers: &[ServerInfo]) -> Option<Chunk> {
        let redundancy = Redundancy::erasure_coded(recode.data_shards as usize, recode.parity_shards as usize).ok()?;
        let (id, row) = self.draw(redundancy, map)?;
        let health = &self.worker.inner.servers;
        let sources = Sources::of(recode.chunk.as_ref()?, &row, map, servers, health)?;
        let at = usize::try_from(id.counter).unwrap_or_default() % row.len();
        let server = map.devices.get(&row[at])?.server;
        let message = RecodeChunk {
            source: Some(sources.chunk),
            chunk_id: Bytes::copy_from_slice(&id.to_bytes()),
            data_shards: recode.data_shards,
            parity_shards: recode.parity_shards,
            row: row.iter().map(|device| device.value()).collect(),
            devices: sources.devices,
            servers: sources.servers,
            epoch: map.epoch.value(),
            rate_mib: map.upkeep.rate_mib,
        };
        let (transport, kind) = (&*self.worker.transport, RequestKind::RecodeChunk);
        let stored = call::<RecodeChunkReply>(transport, server, kind, &message, Body::empty(), RECODE_DEADLINE).await;
        match stored {
            Ok((reply, _)) => reply.chunk,
            Err(error) => {
                tracing::debug!(chunk = %id, %error, "a chunk is not coded anew yet");
                let is_full = matches!(&error, CallError::Failed(failure) if failure.code() == FailureCode::DeviceFull);
                self.is_full.fetch_or(is_full, Ordering::Relaxed);
                None
            }
        }
    }

    /// An id of the pass's session and its row, all of whose devices serve and have room.
    fn draw(&self, redundancy: Redundancy, map: &ClusterMap) -> Option<(ChunkId, Vec<DeviceId>)> {
        let health = &self.worker.inner.servers;
        let takes_more = |id: &DeviceId| {
            let device = health.serving(map, *id);
            device.is_some_and(|device| health.has_room(device))
        };
        (0..DRAWS_MAX).find_map(|_| {
            let id = ChunkId {
                session: self.session,
                counter: self.last_counter.fetch_add(1, Ordering::Relaxed) + 1,
            };
            let row = map.row(redundancy.width(), id.placement_hash().group(map.group_bits))?;
            row.iter().all(takes_more).then(|| (id, row.to_vec()))
        })
    }
}

/// The records of a page, those that refer to one chunk together.
fn by_chunk(recodes: Vec<Recode>) -> Vec<Vec<Recode>> {
    let mut groups: Vec<Vec<Recode>> = Vec::new();
    let mut places: HashMap<Bytes, usize> = HashMap::new();
    for recode in recodes {
        let chunk = recode.chunk.as_ref().and_then(|info| info.chunk.as_ref());
        let id = chunk.map(|chunk| chunk.id.clone()).unwrap_or_default();
        let at = *places.entry(id).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Vec::new());
        }
        groups[at].push(recode);
    }
    groups
}
