//! A device's store beside fio on the same disk, in one run.
//!
//! The store is asked as its server is, over the in-process carrier; fio does the bare writes, syncs and reads with the same
//! sizes, at the same queue depth, under the same rule of syncing. `CAIRN_BENCH_DIR` says where (beside the program unless
//! told otherwise: never on a file system in memory, where a sync costs nothing), `CAIRN_BENCH_SECONDS` how long each part
//! takes (3). Without fio in the path its lines are left out.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use cairn_chunkserver::{ChunkServer, ChunkServerConfig, DeviceConfig, DeviceIdentity, format_device};
use cairn_common::{
    aligned::AlignedBytes,
    checksum::{Hash, block_hashes, shard_hash},
    ids::{ChunkId, DeviceId, Incarnation, NodeId, SessionId},
    wire::{
        kind::RequestKind,
        shard::{GetShard, GetShardReply, PutShard, PutShardReply},
    },
};
use cairn_transport::{Body, InProcess, call};

const SERVER: NodeId = NodeId::new(1);
const DEVICE: DeviceId = DeviceId::new(1);
const LIFE: Incarnation = Incarnation::new(1);
const PATIENCE: Duration = Duration::from_secs(60);
const SMALL: usize = 4 << 10;
const LARGE: usize = 1 << 20;
const LARGE_DEPTH: usize = 8;
const SMALL_WRITERS: usize = 64;
const READERS: usize = 16;

fn main() -> Result<()> {
    let seconds: u64 = std::env::var("CAIRN_BENCH_SECONDS").map_or(Ok(3), |text| text.parse())?;
    let time = Duration::from_secs(seconds);
    let program = std::env::current_exe()?;
    let parent =
        std::env::var_os("CAIRN_BENCH_DIR").map_or_else(|| program.parent().map(PathBuf::from), |dir| Some(dir.into()));
    let parent = parent.context("a program in no folder")?;
    let folder = tempfile::Builder::new().prefix("bench-store-").tempdir_in(parent)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let store = runtime.block_on(Store::open(&folder.path().join("device")))?;

    let large = runtime.block_on(store.write(LARGE, LARGE_DEPTH, time))?;
    report("store_put_1m_q8", large * LARGE as f64 / 1e6, "MB/s");
    let bare = fio(
        folder.path(),
        &["--rw=write", "--bs=1m", "--direct=1", "--fdatasync=1", "--numjobs=8"],
        seconds,
    )?;
    ratio("fio_write_1m_q8", large, bare);
    let first_small = store.next.load(Ordering::Relaxed);
    let small = runtime.block_on(store.write(SMALL, SMALL_WRITERS, time))?;
    report("store_put_4k_w64", small, "shards/s");
    let bare = fio(
        folder.path(),
        &["--rw=write", "--bs=4k", "--fdatasync=1", "--numjobs=1"],
        seconds,
    )?;
    ratio("fio_write_4k_w1", small, bare);
    let one = runtime.block_on(store.write(SMALL, 1, time))?;
    report("store_put_4k_w1", one, "shards/s");
    let read = runtime.block_on(store.read(1..first_small.max(2), LARGE_DEPTH, time))?;
    report("store_get_1m_q8", read * LARGE as f64 / 1e6, "MB/s");
    let bare = fio(
        folder.path(),
        &["--rw=randread", "--bs=1m", "--direct=1", "--numjobs=8"],
        seconds,
    )?;
    ratio("fio_read_1m_q8", read, bare);
    let few = first_small..(first_small + 5000).min(store.next.load(Ordering::Relaxed));
    // Once for the page cache.
    runtime.block_on(store.read(few.clone(), READERS, Duration::from_secs(1)))?;
    let cached = runtime.block_on(store.read(few, READERS, time))?;
    report("store_get_4k_cached", cached, "shards/s");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the results are the program's output")]
fn report(name: &str, value: f64, unit: &str) {
    println!("BENCH {name} {value:.3} {unit}");
}

fn ratio(name: &str, ours: f64, bare: Option<f64>) {
    if let Some(bare) = bare {
        report(name, bare, "ops/s");
        report(&format!("{name}_ratio"), ours / bare, "ratio");
    }
}

/// Operations a second that fio reaches in a folder; none where there is no fio.
fn fio(folder: &Path, arguments: &[&str], seconds: u64) -> Result<Option<f64>> {
    let mut command = Command::new("fio");
    command
        .args([
            "--name=bare",
            "--ioengine=psync",
            "--size=256m",
            "--time_based",
            "--group_reporting",
            "--output-format=terse",
        ])
        .arg(format!("--runtime={seconds}"))
        .arg(format!("--directory={}", folder.display()))
        .args(arguments);
    let Ok(output) = command.output() else { return Ok(None) };
    let text = String::from_utf8(output.stdout)?;
    let line = text
        .lines()
        .find(|line| line.starts_with("3;"))
        .with_context(|| format!("fio said: {text}"))?;
    let fields: Vec<&str> = line.split(';').collect();
    // Terse version 3: field 8 is what was read in operations a second, field 49 what was written.
    let rates = [7, 48].map(|at| {
        fields
            .get(at)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0)
    });
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(Some(rates[0] + rates[1]))
}

/// A store of one device, as its callers see it.
struct Store {
    carrier: Arc<InProcess>,
    next: Arc<AtomicU64>,
}

impl Store {
    async fn open(path: &Path) -> Result<Self> {
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
        let server = ChunkServer::start(ChunkServerConfig::new(SERVER, vec![device])).await;
        let carrier = InProcess::new().with_service(SERVER, ChunkServer::KINDS, Arc::new(server), 4096);
        Ok(Self {
            carrier: Arc::new(carrier),
            next: Arc::new(AtomicU64::new(1)),
        })
    }

    /// Shards a second that `writers` store, each of `len` bytes.
    async fn write(&self, len: usize, writers: usize, time: Duration) -> Result<f64> {
        let mut memory = AlignedBytes::zeroed(len);
        memory
            .iter_mut()
            .enumerate()
            .for_each(|(index, byte)| *byte = (index / 3) as u8);
        let bytes = Bytes::from_owner(memory);
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
        self.repeat(
            writers,
            time,
            move |carrier, counter| {
                let (put, bytes) = (put.clone(), bytes.clone());
                async move {
                    let chunk_id = chunk_id(counter);
                    let put = PutShard { chunk_id, ..put };
                    call::<PutShardReply>(
                        &*carrier,
                        SERVER,
                        RequestKind::PutShard,
                        &put,
                        Body::from(bytes),
                        PATIENCE,
                    )
                    .await?;
                    Ok(())
                }
            },
            Arc::clone(&self.next),
            None,
        )
        .await
    }

    /// Shards a second that `readers` read out of a range.
    async fn read(&self, range: std::ops::Range<u64>, readers: usize, time: Duration) -> Result<f64> {
        self.repeat(
            readers,
            time,
            |carrier, counter| async move {
                let get = GetShard {
                    device: DEVICE.value(),
                    incarnation: LIFE.value(),
                    chunk_id: chunk_id(counter),
                    shard_index: 0,
                    first_block: 0,
                    block_count: u32::MAX,
                };
                let (_, body) =
                    call::<GetShardReply>(&*carrier, SERVER, RequestKind::GetShard, &get, Body::empty(), PATIENCE)
                        .await?;
                body.collect(LARGE).await?;
                Ok(())
            },
            Arc::new(AtomicU64::new(0)),
            Some(range),
        )
        .await
    }

    async fn repeat<Act, Acting>(
        &self,
        tasks: usize,
        time: Duration,
        act: Act,
        counter: Arc<AtomicU64>,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<f64>
    where
        Act: Fn(Arc<InProcess>, u64) -> Acting + Clone + Send + 'static,
        Acting: Future<Output = Result<()>> + Send,
    {
        let start = Instant::now();
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let (carrier, act) = (Arc::clone(&self.carrier), act.clone());
                let (counter, range) = (Arc::clone(&counter), range.clone());
                tokio::spawn(async move {
                    let mut done = 0_u64;
                    while start.elapsed() < time {
                        let number = counter.fetch_add(1, Ordering::Relaxed);
                        // In an order that no read-ahead can guess.
                        let number = range.as_ref().map_or(number, |range| {
                            range.start + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (range.end - range.start)
                        });
                        act(Arc::clone(&carrier), number).await?;
                        done += 1;
                    }
                    Ok::<_, anyhow::Error>(done)
                })
            })
            .collect();
        let mut done = 0;
        for task in running {
            done += task.await.map_err(|_| anyhow!("a task has panicked"))??;
        }
        Ok(done as f64 / start.elapsed().as_secs_f64())
    }
}

fn chunk_id(counter: u64) -> Bytes {
    let id = ChunkId {
        session: SessionId::new(1),
        counter,
    };
    Bytes::copy_from_slice(&id.to_bytes())
}
