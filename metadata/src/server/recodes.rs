//! Codes anew what is in buckets that want another redundancy than it has.
//!
//! A pass walks all records of a marked bucket; chunkservers read each chunk that is to be coded anew and store its bytes as another
//! one, and then what referred to the first refers to the second. The mark goes after a pass that left nothing. It must never let a
//! chunk take another's place before all of its shards are synced. Invariant: what is to be done stands in the replicated state alone;
//! a pass that ends early has done no harm, and the next begins where work is left.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId, SessionId},
    redundancy::Redundancy,
    wire::{
        chunk::{ChunkChange, ChunkCommand, ChunkQuestion, ChunkReply},
        command::{Command, EndSession, Heartbeat, OpenSession, Outcome, WriteRequest},
        kind::RequestKind,
        object::Chunk,
        recode::{ChunkRecoded, MarksQuery, Recode, RecodeChunk, RecodeChunkReply, RecodeMark, RecodesQuery},
        server::ServerInfo,
    },
};
use cairn_transport::{Body, Transport, call};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{local::RoundError, service::Inner, sources::Sources};

/// Time between two looks for marked buckets.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// First and longest wait before a bucket is walked again of which something was left.
const PASS_AGAIN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(3600));
/// Time between two signs of life of a pass's session.
const ALIVE_EVERY: Duration = Duration::from_secs(3);
/// Records that are looked at together.
const PAGE: u32 = 256;
/// Chunks that are coded anew at once, over all servers.
const AT_ONCE: usize = 8;
/// How long a server may take over a chunk, waiting for its turn included.
const RECODE_DEADLINE: Duration = Duration::from_secs(120);
/// Ids that are drawn until all devices of one's row serve.
const DRAWS_MAX: usize = 32;
/// Chunks of several records that are remembered: of more, each record gets a chunk of its own.
const SHARED_MAX: usize = 100_000;

/// What the worker needs.
pub(super) struct RecodeWorker {
    pub(super) inner: Arc<Inner>,
    pub(super) transport: Arc<dyn Transport>,
}

/// When a bucket is walked again.
struct Wait {
    length: Duration,
    due: Instant,
}

/// A walk over a bucket.
struct Pass<'w> {
    worker: &'w RecodeWorker,
    bucket: u64,
    session: SessionId,
    last_counter: AtomicU64,
    /// What took the place of chunks that other records refer to too.
    shared: Mutex<HashMap<ChunkId, Chunk>>,
}

impl RecodeWorker {
    /// Works for as long as it is polled.
    pub(super) async fn run(self) {
        let mut waiting = HashMap::new();
        loop {
            sleep(LOOK_EVERY).await;
            match self.look(&mut waiting).await {
                Ok(()) => {}
                Err(RoundError::Submit(error)) => tracing::debug!(%error, "nothing is coded anew for now"),
                Err(RoundError::View(error)) => tracing::error!(%error, "it cannot be read what is to be coded anew"),
            }
        }
    }

    async fn look(&self, waiting: &mut HashMap<u64, Wait>) -> Result<(), RoundError> {
        let ChunkReply::Marks(marks) = self.inner.ask_about_chunks(ChunkQuestion::Marks(MarksQuery {})).await? else {
            return Ok(());
        };
        waiting.retain(|bucket, _| marks.marks.iter().any(|mark| mark.bucket == *bucket));
        let is_paused = |map: Option<Arc<ClusterMap>>| map.is_none_or(|map| map.upkeep.moves_paused);
        if marks.marks.is_empty() || is_paused(self.inner.local_map().await?) {
            return Ok(());
        }
        for mark in marks.marks {
            if waiting.get(&mark.bucket).is_some_and(|wait| wait.due > Instant::now()) {
                continue;
            }
            if self.pass(mark).await? {
                self.change(ChunkChange::BucketRecoded(mark)).await?;
            } else {
                let wait = waiting.get(&mark.bucket);
                let length = wait.map_or(PASS_AGAIN.0, |wait| (wait.length * 2).min(PASS_AGAIN.1));
                let due = Instant::now() + length;
                waiting.insert(mark.bucket, Wait { length, due });
            }
        }
        Ok(())
    }

    /// Whether nothing was left.
    async fn pass(&self, mark: RecodeMark) -> Result<bool, RoundError> {
        let open = Command::OpenSession(OpenSession { mounts: false });
        let Some(Outcome::Session(session)) = self.inner.proposer.submit_own(open).await?.outcome else {
            return Ok(false);
        };
        let pass = Pass {
            worker: self,
            bucket: mark.bucket,
            session: SessionId::new(session),
            last_counter: AtomicU64::new(0),
            shared: Mutex::default(),
        };
        let is_done = tokio::select! {
            walked = pass.walk() => walked,
            () = pass.stay_alive() => Ok(false),
        };
        let end = Command::EndSession(EndSession { session });
        self.inner.proposer.submit_own(end).await?;
        is_done
    }

    async fn change(&self, change: ChunkChange) -> Result<u32, RoundError> {
        let command = Command::Chunk(ChunkCommand { change: Some(change) });
        match self.inner.proposer.submit_own(command).await?.outcome {
            Some(Outcome::Chunk(outcome)) => Ok(outcome.changed),
            Some(Outcome::Refused(refusal)) => {
                tracing::debug!(refusal.detail, "a chunk does not take another's place");
                Ok(0)
            }
            _ => Ok(0),
        }
    }
}

impl Pass<'_> {
    async fn stay_alive(&self) {
        loop {
            self.worker.inner.sessions.note_sign_of_life(self.session);
            sleep(ALIVE_EVERY).await;
        }
    }

    /// Whether nothing was left.
    async fn walk(&self) -> Result<bool, RoundError> {
        let inner = &self.worker.inner;
        let (mut from, mut left) = (Bytes::new(), 0);
        loop {
            let Some(map) = inner.local_map().await?.filter(|map| !map.upkeep.moves_paused) else {
                return Ok(false);
            };
            let servers = inner.known_servers().await?;
            let query = RecodesQuery {
                bucket: self.bucket,
                from,
                limit: PAGE,
            };
            let ChunkReply::Recodes(page) = inner.ask_about_chunks(ChunkQuestion::Recodes(query)).await? else {
                return Ok(false);
            };
            let recoded = stream::iter(by_chunk(page.recodes))
                .map(|records| self.recode(records, &map, &servers))
                .buffer_unordered(AT_ONCE);
            let outcomes: Vec<Result<bool, RoundError>> = recoded.collect().await;
            for outcome in outcomes {
                left += usize::from(!outcome?);
            }
            self.settle().await?;
            from = page.next_from;
            if from.is_empty() {
                tracing::info!(
                    bucket = self.bucket,
                    left,
                    "a bucket's chunks were compared with its redundancy"
                );
                return Ok(left == 0);
            }
        }
    }

    /// Nothing that this pass has begun is under way any more.
    async fn settle(&self) -> Result<(), RoundError> {
        let heartbeat = Heartbeat {
            settled_below: self.last_counter.load(Ordering::Relaxed) + 1,
            reads_from: u64::MAX,
            ..Heartbeat::default()
        };
        let request = WriteRequest {
            session: self.session.value(),
            command: Some(Command::Heartbeat(heartbeat)),
            ..WriteRequest::default()
        };
        self.worker.inner.proposer.submit(request).await?;
        Ok(())
    }

    /// Has the chunk that these records refer to coded anew. Whether it was.
    async fn recode(&self, records: Vec<Recode>, map: &ClusterMap, servers: &[ServerInfo]) -> Result<bool, RoundError> {
        let Some(first) = records.first() else { return Ok(true) };
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
        if info.references > records.len() as u64 {
            let mut shared = self.shared.lock();
            if shared.len() < SHARED_MAX {
                shared.insert(old_id, new.clone());
            }
        }
        let mut changed = 0;
        for recode in &records {
            let done = ChunkRecoded {
                bucket: self.bucket,
                record: recode.record.clone(),
                old_chunk_id: chunk.id.clone(),
                chunk: Some(new.clone()),
                session: self.session.value(),
            };
            changed += self.worker.change(ChunkChange::Recoded(done)).await?;
        }
        if changed == 0 {
            self.shared.lock().remove(&old_id);
        }
        self.worker.inner.metrics.chunks_recoded.inc_by(u64::from(changed > 0));
        // Where nothing refers to it any more nothing is left either: the next page, or pass, says so.
        Ok(changed > 0)
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
                None
            }
        }
    }

    /// An id of the pass's session and its row, all of whose devices serve.
    fn draw(&self, redundancy: Redundancy, map: &ClusterMap) -> Option<(ChunkId, Vec<DeviceId>)> {
        let health = &self.worker.inner.servers;
        let serves = |device: &DeviceId| map.devices.get(device).is_some_and(|device| health.may_serve(device));
        (0..DRAWS_MAX).find_map(|_| {
            let id = ChunkId {
                session: self.session,
                counter: self.last_counter.fetch_add(1, Ordering::Relaxed) + 1,
            };
            let row = map.row(redundancy.width(), id.placement_hash().group(map.group_bits))?;
            row.iter().all(serves).then(|| (id, row.to_vec()))
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
