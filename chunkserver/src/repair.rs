//! Making a shard again where it belongs: read from where it lies, or decoded from others, verified, and stored.
//!
//! The metadata service says which shard, out of which devices; it decides nothing here. Invariant: what is stored is what was
//! committed, byte for byte; repair never takes more than its part of the server's memory, and no more of its devices' time than
//! its pace lets it.

use std::{collections::BTreeMap, sync::Arc};

use cairn_common::{
    cluster_map::ClusterMap,
    ids::{DeviceId, NodeId},
    limits::REPAIR_RATE_MIB,
    wire::{
        failure::{Failure, FailureCode},
        map::device_entry,
        shard::{PutShard, RepairShard},
    },
};
use cairn_datapath::{ChunkBudget, Datapath, Metrics, ReadError, WholeShard};
use cairn_transport::{Addresses, Body, Transport, failure};
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use crate::core::pace::Pace;

/// Shards that are made at once: each may have a whole chunk in memory.
const AT_ONCE: usize = 4;

/// The way to the other chunkservers, while repairs are made.
#[derive(Default)]
pub(crate) struct Repairs(Mutex<Option<Arc<Peers>>>);

struct Peers {
    datapath: Datapath,
    addresses: Arc<dyn Addresses>,
    turns: Semaphore,
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
                ChunkBudget::new(1),
                metrics,
            ),
            addresses,
            turns: Semaphore::new(AT_ONCE),
            pace: Mutex::new(Pace::new(u64::from(REPAIR_RATE_MIB) << 20)),
            started: Instant::now(),
        };
        *self.0.lock() = Some(Arc::new(peers));
    }

    /// None are made any more, and the way to the others is let go of.
    pub(crate) fn stop(&self) {
        *self.0.lock() = None;
    }

    /// The shard that `message` asks for, as it is to be stored, and how many bytes were read for it.
    pub(crate) async fn make(&self, message: &RepairShard) -> Result<(PutShard, Body, u64), Failure> {
        let peers = self.0.lock().clone();
        let peers = peers.ok_or_else(|| failure(FailureCode::Busy, "the server is not ready for repairs yet"))?;
        let chunk = message.chunk.as_ref();
        let chunk = chunk.ok_or_else(|| failure(FailureCode::Malformed, "no chunk is named"))?;
        for server in message.servers.iter().filter(|server| !server.address.is_empty()) {
            peers.addresses.set(NodeId::new(server.node), &server.address);
        }
        let devices: BTreeMap<DeviceId, _> = message.holders.iter().cloned().map(device_entry).collect();
        let map = ClusterMap {
            devices,
            ..ClusterMap::default()
        };
        let turn = peers.turns.acquire().await;
        let _turn = turn.map_err(|_| failure(FailureCode::Busy, "the server is being closed"))?;
        let index = message.shard_index as usize;
        let made = peers.datapath.rebuild_shard(&map, chunk, index).await;
        let WholeShard {
            bytes,
            block_hashes,
            shard_hashes,
            read_bytes,
        } = made.map_err(|error| not_made(&error))?;
        let rate_mib = match message.rate_mib {
            0 => REPAIR_RATE_MIB,
            rate => rate,
        };
        let wait = {
            let mut pace = peers.pace.lock();
            pace.change(u64::from(rate_mib) << 20);
            pace.handle_done(read_bytes, peers.started.elapsed())
        };
        sleep(wait).await;
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
}

fn not_made(error: &ReadError) -> Failure {
    let code = match error {
        ReadError::TooFewShards { .. } => FailureCode::NotFound,
        ReadError::Corrupt { .. } => FailureCode::Corrupt,
        ReadError::NoRow | ReadError::Malformed(_) => FailureCode::Malformed,
    };
    failure(code, error.to_string())
}
