//! Making a shard again where it belongs: read from where it lies, or decoded from others, verified, and stored. And storing a chunk's
//! bytes as another chunk, of another redundancy.
//!
//! The metadata service says which, out of which devices; it decides nothing here. Invariant: what is stored is what was
//! committed, byte for byte; repair never takes more than its part of the server's memory, and no more of its devices' time than
//! its pace lets it.

use std::sync::Arc;

use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId, Epoch, NodeId},
    limits::{CHUNK_SIZE_BYTES, REPAIR_RATE_MIB},
    redundancy::Redundancy,
    wire::{
        failure::{Failure, FailureCode},
        map::{DeviceMessage, device_entry},
        object::Chunk,
        recode::RecodeChunk,
        server::ServerAddress,
        shard::{PutShard, RepairShard},
    },
};
use cairn_datapath::{ChunkBudget, Datapath, Metrics, ReadError, RecodeError, Target, WholeShard, WriteError};
use cairn_transport::{Addresses, Body, CallError, Transport, failure};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

use crate::core::pace::Pace;

/// Shards that are made at once: each may have a whole chunk in memory.
const AT_ONCE: usize = 4;
/// Chunks that are coded anew at once; nothing is lost while they wait.
const RECODES_AT_ONCE: usize = 2;
/// Memory for them and their parity, with what the budget keeps apart for small ones.
const RECODE_BYTES: usize = 8 * CHUNK_SIZE_BYTES;

/// The way to the other chunkservers, while repairs are made.
#[derive(Default)]
pub(crate) struct Repairs(Mutex<Option<Arc<Peers>>>);

struct Peers {
    datapath: Datapath,
    addresses: Arc<dyn Addresses>,
    turns: Semaphore,
    recode_turns: Semaphore,
    pace: Mutex<Pace>,
    started: Instant,
}

impl Repairs {
    /// Repairs are made from now on, over `transport`.
    pub(crate) fn start(&self, transport: Arc<dyn Transport>, addresses: Arc<dyn Addresses>, metrics: Metrics) {
        let none = Arc::new(ClusterMap::default());
        let peers = Peers {
            datapath: Datapath::new(
                transport,
                Arc::new(move || Arc::clone(&none)),
                ChunkBudget::new(RECODE_BYTES),
                metrics,
            ),
            addresses,
            turns: Semaphore::new(AT_ONCE),
            recode_turns: Semaphore::new(RECODES_AT_ONCE),
            pace: Mutex::new(Pace::new(u64::from(REPAIR_RATE_MIB) << 20)),
            started: Instant::now(),
        };
        *self.0.lock() = Some(Arc::new(peers));
    }

    /// None are made any more, and the way to the others is let go of.
    pub(crate) fn stop(&self) {
        *self.0.lock() = None;
    }

    fn peers(&self) -> Result<Arc<Peers>, Failure> {
        let peers = self.0.lock().clone();
        peers.ok_or_else(|| failure(FailureCode::Busy, "the server is not ready for repairs yet"))
    }

    /// The shard that `message` asks for, as it is to be stored, and how many bytes were read for it.
    pub(crate) async fn make(&self, message: &RepairShard) -> Result<(PutShard, Body, u64), Failure> {
        let peers = self.peers()?;
        let chunk = message.chunk.as_ref().ok_or_else(no_chunk)?;
        let map = peers.map(&message.holders, &message.servers, message.epoch);
        let _turn = turn(&peers.turns).await?;
        let index = message.shard_index as usize;
        let made = peers.datapath.rebuild_shard(&map, chunk, index).await;
        let WholeShard {
            bytes,
            block_hashes,
            shard_hashes,
            read_bytes,
        } = made.map_err(|error| not_read(&error))?;
        peers.rest(message.rate_mib, read_bytes).await;
        let put = PutShard {
            device: message.device,
            incarnation: message.incarnation,
            chunk_id: chunk.id.clone(),
            shard_index: message.shard_index,
            shard_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            chunk_len: chunk.length,
            block_hashes,
            shard_hashes,
        };
        Ok((put, Body::from(bytes), read_bytes))
    }

    /// Stores the bytes of a chunk as another chunk, which is returned.
    pub(crate) async fn recode(&self, message: &RecodeChunk) -> Result<Chunk, Failure> {
        let peers = self.peers()?;
        let source = message.source.as_ref().ok_or_else(no_chunk)?;
        let malformed = |what: &str| failure(FailureCode::Malformed, what);
        let id = ChunkId::from_bytes(&message.chunk_id).ok_or_else(|| malformed("the new chunk has no id"))?;
        let redundancy = Redundancy::erasure_coded(message.data_shards as usize, message.parity_shards as usize)
            .map_err(|_| malformed("the new chunk's redundancy is none"))?;
        let map = peers.map(&message.devices, &message.servers, message.epoch);
        let target = Target {
            id,
            redundancy,
            row: message.row.iter().map(|device| DeviceId::new(*device)).collect(),
        };
        let turn = turn(&peers.recode_turns).await?;
        let recoded = peers.datapath.recode_chunk(&map, source, target).await;
        let recoded = recoded.map_err(|error| match error {
            RecodeError::Read(error) => not_read(&error),
            RecodeError::Write(error) => failure(not_stored(&error), error.to_string()),
            RecodeError::SlowDown(error) => failure(FailureCode::Busy, error.to_string()),
        })?;
        drop(turn);
        peers.rest(message.rate_mib, source.length.into()).await;
        Ok(recoded)
    }
}

impl Peers {
    /// The devices that a message names, and where their servers are called.
    fn map(&self, devices: &[DeviceMessage], servers: &[ServerAddress], epoch: u64) -> ClusterMap {
        for server in servers.iter().filter(|server| !server.address.is_empty()) {
            self.addresses.set(NodeId::new(server.node), &server.address);
        }
        ClusterMap {
            epoch: Epoch::new(epoch),
            devices: devices.iter().cloned().map(device_entry).collect(),
            ..ClusterMap::default()
        }
    }

    /// Waits as the rate wants it after so many bytes.
    async fn rest(&self, rate_mib: u32, read_bytes: u64) {
        let rate_mib = match rate_mib {
            0 => REPAIR_RATE_MIB,
            rate => rate,
        };
        let wait = {
            let mut pace = self.pace.lock();
            pace.change(u64::from(rate_mib) << 20);
            pace.handle_done(read_bytes, self.started.elapsed())
        };
        sleep(wait).await;
    }
}

async fn turn(turns: &Semaphore) -> Result<SemaphorePermit<'_>, Failure> {
    let turn = turns.acquire().await;
    turn.map_err(|_| failure(FailureCode::Busy, "the server is being closed"))
}

fn not_stored(error: &WriteError) -> FailureCode {
    match error {
        WriteError::Failed {
            last: CallError::Failed(last),
            ..
        } if last.code() == FailureCode::DeviceFull => FailureCode::DeviceFull,
        _ => FailureCode::DeviceDown,
    }
}

fn no_chunk() -> Failure {
    failure(FailureCode::Malformed, "no chunk is named")
}

fn not_read(error: &ReadError) -> Failure {
    let code = match error {
        ReadError::TooFewShards { .. } => FailureCode::NotFound,
        ReadError::Corrupt { .. } => FailureCode::Corrupt,
        ReadError::NoRow | ReadError::Malformed(_) => FailureCode::Malformed,
    };
    failure(code, error.to_string())
}
