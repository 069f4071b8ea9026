//! A store of one device as its callers see it: over the in-process carrier.
//!
//! Invariant: shards are named by a counter, and each is written once.

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use cairn_chunkserver::{ChunkServer, ChunkServerConfig, DeviceConfig, DeviceIdentity, DeviceSettings, format_device};
use cairn_common::{
    aligned::AlignedBytes,
    checksum::{Hash, block_hashes, shard_hash},
    ids::{ChunkId, DeviceId, Incarnation, NodeId, SessionId},
    wire::{
        kind::RequestKind,
        shard::{
            DeleteShard, DeleteShardReply, DeviceStatus, DeviceStatusReply, DeviceStatusRequest, GetShard,
            GetShardReply, PutShard, PutShardReply,
        },
    },
};
use cairn_transport::{Body, InProcess, call};

const SERVER: NodeId = NodeId::new(1);
const DEVICE: DeviceId = DeviceId::new(1);
const LIFE: Incarnation = Incarnation::new(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// When to stop.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Time(Duration),
    /// So many of all tasks together.
    Count(u64),
}

/// The store.
pub(crate) struct Store {
    carrier: Arc<InProcess>,
    next: Arc<AtomicU64>,
}

/// The numbers of shards that are there.
pub(crate) type Live = Arc<std::sync::Mutex<Vec<u64>>>;

/// A shard of some length; all have the same bytes.
#[derive(Clone)]
struct Content {
    put: PutShard,
    bytes: Bytes,
}

impl Store {
    /// Opens the device at `path`, formatted where it was not.
    pub(crate) async fn open(path: &Path, settings: DeviceSettings) -> Result<Self> {
        let identity = DeviceIdentity {
            cluster_id: [7; 16],
            device: DEVICE,
            incarnation: LIFE,
        };
        format_device(path, &identity)?;
        let device = DeviceConfig {
            id: DEVICE,
            incarnation: LIFE,
            path: path.to_owned(),
            cluster_id: identity.cluster_id,
        };
        let config = ChunkServerConfig {
            settings,
            ..ChunkServerConfig::new(SERVER, vec![device])
        };
        let server = ChunkServer::start(config).await;
        let carrier = InProcess::new().with_service(SERVER, ChunkServer::KINDS, Arc::new(server), 4096);
        Ok(Self {
            carrier: Arc::new(carrier),
            next: Arc::new(AtomicU64::new(1)),
        })
    }

    /// The number of the next shard.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Shards a second that `writers` store, each of `len` bytes.
    pub(crate) async fn write(&self, len: usize, writers: usize, until: Until) -> Result<f64> {
        let content = Content::of(len)?;
        let act = move |carrier, counter| store_one(carrier, content.clone(), counter);
        repeat(&self.carrier, writers, until, act, Arc::clone(&self.next), None).await
    }

    /// Shards a second that `writers` store, each of `len` bytes, and delete one of those of `live`, at random.
    pub(crate) async fn churn(&self, live: &Live, len: usize, writers: usize, count: u64) -> Result<f64> {
        let (content, live) = (Content::of(len)?, Arc::clone(live));
        let act = move |carrier: Arc<InProcess>, counter: u64| {
            let (content, live) = (content.clone(), Arc::clone(&live));
            async move {
                let victim = {
                    let mut live = live.lock().map_err(|_| anyhow!("a task has panicked"))?;
                    let at = scattered(counter) as usize % live.len();
                    live.swap_remove(at)
                };
                delete_one(Arc::clone(&carrier), victim).await?;
                store_one(carrier, content, counter).await?;
                live.lock().map_err(|_| anyhow!("a task has panicked"))?.push(counter);
                Ok(())
            }
        };
        let until = Until::Count(count);
        repeat(&self.carrier, writers, until, act, Arc::clone(&self.next), None).await
    }

    /// Shards a second that `readers` read out of a range, in an order that no read-ahead can guess.
    pub(crate) async fn read(&self, range: Range<u64>, readers: usize, until: Until) -> Result<f64> {
        let counter = Arc::new(AtomicU64::new(0));
        repeat(&self.carrier, readers, until, read_one, counter, Some(range)).await
    }

    /// State and space of the device.
    pub(crate) async fn status(&self) -> Result<DeviceStatus> {
        let ask = DeviceStatusRequest {};
        let kind = RequestKind::DeviceStatus;
        let (reply, _) = call::<DeviceStatusReply>(&*self.carrier, SERVER, kind, &ask, Body::empty(), PATIENCE).await?;
        reply.devices.into_iter().next().ok_or_else(|| anyhow!("no device"))
    }
}

impl Content {
    fn of(len: usize) -> Result<Self> {
        let mut memory = AlignedBytes::zeroed(len);
        memory
            .iter_mut()
            .enumerate()
            .for_each(|(index, byte)| *byte = (index / 3) as u8);
        let bytes = Bytes::from_owner(memory).slice(..len);
        let blocks = block_hashes(&bytes);
        let joined = |hashes: &[Hash]| hashes.iter().flat_map(|hash| *hash.as_bytes()).collect::<Bytes>();
        let put = PutShard {
            device: DEVICE.value(),
            incarnation: LIFE.value(),
            chunk_id: Bytes::new(),
            shard_index: 0,
            shard_len: u32::try_from(len)?,
            chunk_len: u32::try_from(len)?,
            block_hashes: joined(&blocks),
            shard_hashes: joined(&[shard_hash(len, &blocks); 3]),
        };
        Ok(Self { put, bytes })
    }
}

async fn store_one(carrier: Arc<InProcess>, content: Content, counter: u64) -> Result<()> {
    let put = PutShard {
        chunk_id: chunk_id(counter),
        ..content.put
    };
    let body = Body::from(content.bytes);
    call::<PutShardReply>(&*carrier, SERVER, RequestKind::PutShard, &put, body, PATIENCE).await?;
    Ok(())
}

async fn delete_one(carrier: Arc<InProcess>, counter: u64) -> Result<()> {
    let delete = DeleteShard {
        device: DEVICE.value(),
        incarnation: LIFE.value(),
        chunk_id: chunk_id(counter),
        shard_index: 0,
        stray_epoch: 0,
    };
    let kind = RequestKind::DeleteShard;
    call::<DeleteShardReply>(&*carrier, SERVER, kind, &delete, Body::empty(), PATIENCE).await?;
    Ok(())
}

async fn read_one(carrier: Arc<InProcess>, counter: u64) -> Result<()> {
    let get = GetShard {
        device: DEVICE.value(),
        incarnation: LIFE.value(),
        chunk_id: chunk_id(counter),
        shard_index: 0,
        first_block: 0,
        block_count: u32::MAX,
    };
    let kind = RequestKind::GetShard;
    let (_, body) = call::<GetShardReply>(&*carrier, SERVER, kind, &get, Body::empty(), PATIENCE).await?;
    body.collect(8 << 20).await?;
    Ok(())
}

/// Has `tasks` act, each on the next number, or on a number out of `range`; gives how many of them a second.
async fn repeat<Act, Acting>(
    carrier: &Arc<InProcess>,
    tasks: usize,
    until: Until,
    act: Act,
    counter: Arc<AtomicU64>,
    range: Option<Range<u64>>,
) -> Result<f64>
where
    Act: Fn(Arc<InProcess>, u64) -> Acting + Clone + Send + 'static,
    Acting: Future<Output = Result<()>> + Send,
{
    let start = Instant::now();
    let begun = Arc::new(AtomicU64::new(0));
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let (carrier, act, begun) = (Arc::clone(carrier), act.clone(), Arc::clone(&begun));
            let (counter, range) = (Arc::clone(&counter), range.clone());
            tokio::spawn(async move {
                let mut done = 0_u64;
                loop {
                    let goes_on = match until {
                        Until::Time(time) => start.elapsed() < time,
                        Until::Count(count) => begun.fetch_add(1, Ordering::Relaxed) < count,
                    };
                    if !goes_on {
                        return Ok::<_, anyhow::Error>(done);
                    }
                    let number = counter.fetch_add(1, Ordering::Relaxed);
                    let number = range.as_ref().map_or(number, |range| {
                        range.start + scattered(number) % (range.end - range.start)
                    });
                    act(Arc::clone(&carrier), number).await?;
                    done += 1;
                }
            })
        })
        .collect();
    let mut done = 0;
    for task in running {
        done += task.await.map_err(|_| anyhow!("a task has panicked"))??;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

/// A number that looks random, always the same one. (The finalizer of SplitMix64.)
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn chunk_id(counter: u64) -> Bytes {
    let id = ChunkId {
        session: SessionId::new(1),
        counter,
    };
    Bytes::copy_from_slice(&id.to_bytes())
}
