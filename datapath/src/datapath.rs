//! What all chunks of a process share: the way to the devices, what is known of them, and the codecs.
//!
//! Invariant: nothing here belongs to one chunk; a clone is another handle to the same.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cairn_common::{
    cluster_map::ClusterMap,
    erasure::Codec,
    ids::{ChunkId, DeviceId},
    limits::{
        BLOCK_SIZE_BYTES, READ_HEDGE_MS_MAX, READ_HEDGE_MS_MIN, READ_MEMORY_PART, WRITE_LATE_MS_MAX, WRITE_LATE_MS_MIN,
    },
    redundancy::Redundancy,
    wire::failure::FailureCode,
};
use cairn_transport::{CallError, Transport};
use parking_lot::Mutex;
use tokio::{sync::SemaphorePermit, time::Instant};

use crate::{
    budget::ChunkBudget,
    hedges::Hedges,
    metrics::Metrics,
    read_memory::{ReadMemory, ReadShare},
    read_plan::ChunkView,
    suspects::{Avoided, Suspects, Suspicion},
};

/// Where the current map is read from; cheap.
pub type MapSource = Arc<dyn Fn() -> Arc<ClusterMap> + Send + Sync>;

/// Damaged shards that are remembered as logged; beyond that the memory starts anew.
const LOGGED_MAX: usize = 4096;

/// A read or a write is late once it takes this many times the usual.
const LATE_FACTOR: u64 = 8;

/// Stores and reads chunks.
#[derive(Clone)]
pub struct Datapath {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn Transport>,
    map: MapSource,
    budget: ChunkBudget,
    read_memory: ReadMemory,
    metrics: Metrics,
    suspects: Suspects,
    codecs: Mutex<HashMap<Redundancy, Arc<Codec>>>,
    /// Usual time of a shard read, an average that forgets.
    read_us: AtomicU64,
    /// The same of a shard write.
    write_us: AtomicU64,
    hedges: Hedges,
    logged: Mutex<HashSet<(ChunkId, usize)>>,
    findings: Mutex<Vec<Finding>>,
}

/// A shard that is not on its device as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The chunk.
    pub chunk: ChunkId,
    /// Which shard.
    pub shard: usize,
    /// Where it was looked for.
    pub device: DeviceId,
}

impl Datapath {
    /// A data path over `transport`, with devices and rows as `map` has them at each moment.
    pub fn new(transport: Arc<dyn Transport>, map: MapSource, budget: ChunkBudget, metrics: Metrics) -> Self {
        let inner = Inner {
            transport,
            map,
            read_memory: ReadMemory::new(budget.total_bytes() / READ_MEMORY_PART),
            budget,
            metrics,
            suspects: Suspects::default(),
            codecs: Mutex::default(),
            read_us: AtomicU64::new(0),
            write_us: AtomicU64::new(0),
            hedges: Hedges::new(Instant::now()),
            logged: Mutex::default(),
            findings: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The budget that buffers to be written come from.
    pub fn budget(&self) -> &ChunkBudget {
        &self.inner.budget
    }

    /// Memory to read `bytes` that are wanted next; where there is none, read a block.
    pub fn memory_to_read(&self, bytes: usize) -> Option<ReadShare> {
        let share = self.inner.read_memory.take_to_read(bytes);
        let is_short = share.is_none() && bytes > BLOCK_SIZE_BYTES;
        self.metrics().reads_short_of_memory.inc_by(is_short.into());
        share
    }

    /// Memory to read `bytes` that will be wanted later; where there is none, leave it until then.
    pub fn memory_to_read_ahead(&self, bytes: usize) -> Option<ReadShare> {
        self.inner.read_memory.take_to_read_ahead(bytes)
    }

    /// Waits for memory to gather and decode `bytes`.
    pub(crate) async fn room_to_decode(&self, bytes: usize) -> SemaphorePermit<'_> {
        self.inner.read_memory.room_to_decode(bytes).await
    }

    /// What is counted here.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub(crate) fn transport(&self) -> &dyn Transport {
        self.inner.transport.as_ref()
    }

    pub(crate) fn map(&self) -> Arc<ClusterMap> {
        (self.inner.map)()
    }

    /// The codec of `redundancy`. At most one for each scheme there is, some hundred.
    pub(crate) fn codec(&self, redundancy: Redundancy) -> Arc<Codec> {
        let mut codecs = self.inner.codecs.lock();
        Arc::clone(
            codecs
                .entry(redundancy)
                .or_insert_with(|| Arc::new(Codec::new(redundancy))),
        )
    }

    pub(crate) fn avoided(&self) -> Avoided {
        self.inner.suspects.at(Instant::now())
    }

    /// Learns from a device's acknowledgement of a write.
    pub(crate) fn trust(&self, device: DeviceId) {
        self.inner.suspects.clear(device);
    }

    /// Learns from a failed request to a device.
    pub(crate) fn suspect(&self, device: DeviceId, error: &CallError) {
        if let Some(suspicion) = suspicion_of(error) {
            self.inner
                .suspects
                .mark(device, suspicion, Instant::now(), is_busy(error));
        }
    }

    /// Learns that a device did not acknowledge a write while others did.
    pub(crate) fn suspect_late(&self, device: DeviceId) {
        self.inner
            .suspects
            .mark(device, Suspicion::Failing, Instant::now(), false);
    }

    /// After how long without an answer a read is late.
    pub(crate) fn late_after(&self) -> Duration {
        late_after(&self.inner.read_us, (READ_HEDGE_MS_MIN, READ_HEDGE_MS_MAX))
    }

    /// After how long without an acknowledgement a write is late.
    pub(crate) fn write_late_after(&self) -> Duration {
        late_after(&self.inner.write_us, (WRITE_LATE_MS_MIN, WRITE_LATE_MS_MAX))
    }

    /// Whether so many shards may be asked for beyond those needed, since others are late: those are then avoided for a moment, so
    /// that the next reads need no such thing.
    pub(crate) fn may_hedge(&self, view: &ChunkView, late: &[usize], requests: usize) -> bool {
        let now = Instant::now();
        if !self.inner.hedges.take(requests, now) {
            self.metrics().hedges_refused.inc();
            return false;
        }
        self.metrics().hedged_reads.inc();
        for device in late.iter().filter_map(|index| view.devices[*index].as_ref()) {
            self.inner.suspects.mark(device.id, Suspicion::Late, now, true);
        }
        true
    }

    pub(crate) fn learn_read_time(&self, taken: Duration) {
        self.inner.hedges.handle_answer();
        learn(&self.inner.read_us, taken);
    }

    pub(crate) fn learn_write_time(&self, taken: Duration) {
        learn(&self.inner.write_us, taken);
    }

    /// Damaged and missing shards that readers met since the last call.
    pub fn take_findings(&self) -> Vec<Finding> {
        std::mem::take(&mut self.inner.findings.lock())
    }

    /// Remembers a damaged or missing shard. Whether it is seen for the first time, so that it is logged and reported once and
    /// not at each read.
    pub(crate) fn is_news(&self, finding: Finding) -> bool {
        let mut logged = self.inner.logged.lock();
        if logged.len() >= LOGGED_MAX {
            logged.clear();
        }
        let is_news = logged.insert((finding.chunk, finding.shard));
        let mut findings = self.inner.findings.lock();
        if is_news && findings.len() < LOGGED_MAX {
            findings.push(finding);
        }
        is_news
    }
}

fn late_after(usual_us: &AtomicU64, (least_ms, most_ms): (u64, u64)) -> Duration {
    let late = Duration::from_micros(usual_us.load(Ordering::Relaxed).saturating_mul(LATE_FACTOR));
    late.clamp(Duration::from_millis(least_ms), Duration::from_millis(most_ms))
}

fn learn(usual_us: &AtomicU64, taken: Duration) {
    let taken = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
    let usual = usual_us.load(Ordering::Relaxed);
    // A lost update between two costs one sample of many.
    usual_us.store((usual.saturating_mul(15).saturating_add(taken)) / 16, Ordering::Relaxed);
}

/// Whether the device has merely too much to do.
pub(crate) fn is_busy(error: &CallError) -> bool {
    matches!(error, CallError::Failed(failure) if failure.code() == FailureCode::Busy)
}

/// What a failed request says of the device; `None` where it says nothing, or only of one shard.
fn suspicion_of(error: &CallError) -> Option<Suspicion> {
    match error {
        CallError::DeadlineExceeded => Some(Suspicion::Strained),
        CallError::Unreachable { .. }
        | CallError::ConnectionLost { .. }
        | CallError::Malformed(_)
        | CallError::Body(_) => Some(Suspicion::Failing),
        CallError::Failed(failure) => match failure.code() {
            FailureCode::Busy | FailureCode::DeadlineExceeded => Some(Suspicion::Strained),
            FailureCode::DeviceFull => Some(Suspicion::Full),
            FailureCode::DeviceDown
            | FailureCode::WrongDevice
            | FailureCode::Internal
            | FailureCode::NotLeader
            | FailureCode::Forbidden
            | FailureCode::Unsupported
            | FailureCode::WrongGroup
            | FailureCode::WrongEpoch
            | FailureCode::Unspecified => Some(Suspicion::Failing),
            FailureCode::NotFound | FailureCode::Corrupt | FailureCode::Malformed => None,
        },
    }
}
