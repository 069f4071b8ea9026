//! A device in use: its engine with the threads that run it.
//!
//! Reads that need no disk are answered where they are asked; others, and large writes, have threads of the device's own; one
//! thread commits; one keeps house. Invariants: a put is answered once it is durable; each shard is changed by one at a time; a
//! device whose disk hangs or fails holds up nobody but its own callers.

mod budget;
mod committer;
mod housekeeping;
mod key_locks;
mod put;
mod room;
mod threads;

use std::{
    cell::Cell,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_common::limits::{DEVICE_QUEUE_MAX, DEVICE_READS_MAX, DEVICE_RESERVE_BYTES, DEVICE_WRITES_MAX};
use cairn_transport::Body;
use rustix::{fd::OwnedFd, io::Errno};

pub(crate) use self::put::PutError;
use self::{
    budget::{Budget, Share},
    committer::Committer,
    housekeeping::Housekeeper,
    key_locks::KeyLocks,
    room::Room,
    threads::Threads,
};
use crate::{
    core::{location::Location, record::RecordBody},
    directory,
    engine::{
        Cached, Engine, Item, Parts, SEGMENT_BYTES_LIMIT, SEGMENT_BYTES_MIN, SEGMENT_BYTES_UNIT, Settings,
        disk::{Disk, KernelDisk},
        health::Health,
        index::{Found, IndexError, RocksIndex},
        payload_len, random_salt,
    },
    metrics::DeviceMetrics,
    opening::Opening,
    shard::{ListedShard, ShardDescription, ShardKey, ShardPage, StoredShard},
    store::{StoreError, StoreStatus},
    superblock::{DeviceIdentity, open_superblock},
};

/// Memory of a device.
const MEMORY_BYTES: usize = 64 << 20;

/// Of a device's memory the index has one part of so many.
const INDEX_SHARE: usize = 2;

/// And so have shards on their way to the disk, and those on their way from it.
const TRANSFER_SHARE: usize = 4;

/// Bytes that compaction moves in a second: a part of what any disk does.
const COMPACTION_BYTES_PER_SECOND: u64 = 64 << 20;

/// Bytes that the scrub reads in a second: 10 TB in two weeks.
const SCRUB_BYTES_PER_SECOND: u64 = 8 << 20;

/// Time from one pass of the scrub to the next.
const SCRUB_PERIOD: Duration = Duration::from_hours(14 * 24);

/// Time between two words on a long opening.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How a device's store works.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSettings {
    /// Free bytes that new shards never take, two segments at least.
    pub reserve_bytes: u64,
    /// Bytes of a segment, 16 MiB to 1 GiB; chosen by the size of the file system where it is `None`.
    pub segment_bytes: Option<u32>,
    /// Bytes of its file system that the device may take; all where it is `None`.
    pub capacity_bytes: Option<u64>,
    /// Memory that the device may take, 8 MiB at least.
    pub memory_bytes: usize,
    /// Bytes that compaction moves in a second while there is room; 0 is as fast as it goes.
    pub compaction_bytes_per_second: u64,
    /// Bytes that the scrub reads in a second; 0 is as fast as it goes.
    pub scrub_bytes_per_second: u64,
    /// Time from the beginning of one pass of the scrub to that of the next.
    pub scrub_period: Duration,
}

impl Default for DeviceSettings {
    fn default() -> Self {
        Self {
            reserve_bytes: DEVICE_RESERVE_BYTES,
            segment_bytes: None,
            capacity_bytes: None,
            memory_bytes: MEMORY_BYTES,
            compaction_bytes_per_second: COMPACTION_BYTES_PER_SECOND,
            scrub_bytes_per_second: SCRUB_BYTES_PER_SECOND,
            scrub_period: SCRUB_PERIOD,
        }
    }
}

impl DeviceSettings {
    /// Least memory of a device: the index's buffers and a few blocks.
    pub const MEMORY_BYTES_MIN: usize = 8 << 20;

    /// What of them cannot be.
    fn check(&self) -> Result<(), String> {
        let sizes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_LIMIT;
        if let Some(size) = self
            .segment_bytes
            .filter(|size| !sizes.contains(size) || size % SEGMENT_BYTES_UNIT != 0)
        {
            return Err(format!(
                "segments of {size} bytes: choose whole MiB from {} to {}",
                SEGMENT_BYTES_MIN >> 20,
                SEGMENT_BYTES_LIMIT >> 20
            ));
        }
        if self.memory_bytes < Self::MEMORY_BYTES_MIN {
            let (given, least) = (self.memory_bytes, Self::MEMORY_BYTES_MIN >> 20);
            return Err(format!("{given} bytes of memory: a device needs {least} MiB at least"));
        }
        Ok(())
    }

    /// Memory of the index.
    pub(crate) fn index_memory_bytes(&self) -> usize {
        self.memory_bytes / INDEX_SHARE
    }
}

/// What a device's store is opened with.
pub(crate) struct OpenConfig {
    pub(crate) path: PathBuf,
    pub(crate) identity: DeviceIdentity,
    pub(crate) settings: DeviceSettings,
    pub(crate) metrics: DeviceMetrics,
}

/// The store of one device.
pub(crate) struct DeviceStore {
    // In the order in which they end: nobody asks the committer any more when it ends, and the lock goes last.
    housekeeper: Housekeeper,
    reads: Threads,
    writes: Threads,
    committer: Arc<Committer>,
    locks: KeyLocks,
    room: Room,
    read_budget: Budget,
    write_budget: Budget,
    engine: Arc<Engine>,
    opening: Opening,
    root: OwnedFd,
    _lock: OwnedFd,
}

impl DeviceStore {
    /// Opens a formatted device; the error says why it cannot serve. Blocks.
    pub(crate) fn open(config: OpenConfig) -> Result<Self, String> {
        config.settings.check()?;
        let root =
            directory::open(&config.path).map_err(|errno| format!("cannot open the device's directory: {errno}"))?;
        let lock = open_superblock(&root, &config.identity).map_err(|error| error.to_string())?;
        let opening = Opening::mark(&root, drawn_number())?;
        let settings = config.settings;
        let device = config.identity.device;
        let metrics = config.metrics.clone();
        let engine = Arc::new(open_engine(config)?);
        let committer = Arc::new(Committer::start(Arc::clone(&engine))?);
        let locks = KeyLocks::default();
        let room = Room::default();
        let housekeeper = Housekeeper::start(
            Arc::clone(&engine),
            Arc::clone(&committer),
            locks.clone(),
            room.clone(),
            settings,
        )?;
        let threads =
            |what: &str, count, depth| Threads::new(format!("{what}-{device}"), count, DEVICE_QUEUE_MAX, depth);
        Ok(Self {
            housekeeper,
            reads: threads("read", DEVICE_READS_MAX, metrics.waiting.reads),
            writes: threads("write", DEVICE_WRITES_MAX, metrics.waiting.writes),
            committer,
            locks,
            room,
            read_budget: Budget::new(settings.memory_bytes / TRANSFER_SHARE),
            write_budget: Budget::new(settings.memory_bytes / TRANSFER_SHARE),
            engine,
            opening,
            root,
            _lock: lock,
        })
    }

    /// Stores a shard durably, whose bytes come out of `body`. Storing the same again succeeds.
    pub(crate) async fn put(&self, shard: ShardDescription, body: Body) -> Result<(), PutError> {
        put::put(self, shard, body).await
    }

    /// Reads up to `block_count` blocks from `first_block` on; fewer come where the shard ends. Their share of the memory for reads
    /// is to be kept until they have changed hands.
    pub(crate) async fn read(
        &self,
        key: ShardKey,
        first_block: u32,
        block_count: u32,
    ) -> Result<(StoredShard, Share), StoreError> {
        let started = Instant::now();
        let mut share = None;
        let admit = |len| {
            share = self.read_budget.try_take(len);
            share.is_some()
        };
        let cached = self.engine.read_cached(key, first_block, block_count, admit)?;
        let share = match share {
            Some(share) => share,
            None => {
                let location = self.find(key).await?.ok_or(StoreError::NotFound)?;
                let len = payload_len(&location, first_block, block_count);
                self.read_budget.take(len).await
            }
        };
        let engine = Arc::clone(&self.engine);
        let shard = match cached {
            Cached::Whole(shard) => shard,
            Cached::Begun(begun) => self.reads.run(move || engine.finish_read(begun)).await?,
            Cached::Nothing => {
                let read = move || engine.read(key, first_block, block_count);
                self.reads.run(read).await?
            }
        };
        let metrics = &self.engine.metrics;
        metrics.read_shards.inc();
        metrics.read_bytes.inc_by(shard.payload.len() as u64);
        metrics.read_seconds.observe(started.elapsed().as_secs_f64());
        Ok((shard, share))
    }

    /// Notes that the metadata service knows of this opening. Blocks.
    pub(crate) fn confirm_opening(&self) -> Result<(), Errno> {
        self.opening.confirm(&self.root)
    }

    /// Reads a whole shard and remembers it to be damaged where it is: another put takes its place then.
    pub(crate) async fn check(&self, key: ShardKey) -> Result<(), StoreError> {
        let Some(location) = self.find(key).await? else {
            return Ok(());
        };
        let _share = self.read_budget.take(location.shard_len as usize).await;
        let engine = Arc::clone(&self.engine);
        self.reads.run(move || engine.check(key)).await
    }

    /// Deletes a shard for good. Deleting one that is not there succeeds.
    pub(crate) async fn delete(&self, key: ShardKey) -> Result<(), StoreError> {
        let lock = self.locks.lock(key).await;
        let Some(location) = self.find(key).await? else {
            return Ok(());
        };
        let target = location.position.segment;
        let item = Item::Write {
            body: RecordBody::Tombstone { key, target },
            payload: Vec::new(),
            moved: None,
        };
        answered(self.committer.commit(item, Some(lock)).await)?;
        self.engine.metrics.deleted_shards.inc();
        Ok(())
    }

    /// Up to `limit` shards behind `after`, in order.
    pub(crate) async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<ShardPage, StoreError> {
        let engine = Arc::clone(&self.engine);
        let mut found = self.reads.run(move || engine.list(after, limit + 1)).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let shards = found.into_iter().map(|(key, location)| ListedShard {
            key,
            is_damaged: location.is_damaged,
        });
        Ok(ShardPage {
            shards: shards.collect(),
            more,
        })
    }

    async fn find(&self, key: ShardKey) -> Result<Option<Location>, StoreError> {
        match self.engine.find_cached(&key)? {
            Found::Known(found) => Ok(found),
            Found::Unknown => {
                let engine = Arc::clone(&self.engine);
                self.reads.run(move || engine.find(&key)).await
            }
        }
    }

    /// State and space. Blocks for a moment.
    pub(crate) fn status(&self) -> StoreStatus {
        let holdings = self.engine.holdings();
        self.engine.metrics.background.note(&holdings);
        StoreStatus {
            down: self.engine.health.down().map(str::to_owned),
            total_bytes: holdings.space.total_bytes,
            free_bytes: holdings.space.free_bytes,
            used_bytes: holdings.usage.live_bytes,
            corrupt_shards: holdings.usage.damaged.into(),
            scrub_finished_ms: holdings.scrub.finished_ms,
            opening: (self.opening.number, self.opening.before),
        }
    }
}

/// What a commit came to.
fn answered(outcome: Result<Result<(), StoreError>, tokio::sync::oneshot::error::RecvError>) -> Result<(), StoreError> {
    outcome.unwrap_or_else(|_| Err(StoreError::Down("the committing thread has ended".to_owned())))
}

/// Opens the engine. An index that is damaged is made anew from the segments.
fn open_engine(config: OpenConfig) -> Result<Engine, String> {
    let path = RocksIndex::path(&config.path);
    match try_open_engine(&config) {
        Err(OpenError::Index(reason)) => {
            let device = config.identity.device;
            tracing::warn!(%device, reason, "the index is damaged and is made anew from the segments");
            std::fs::remove_dir_all(&path).map_err(|error| format!("cannot remove the damaged index: {error}"))?;
            try_open_engine(&config).map_err(|error| error.to_string())
        }
        opened => opened.map_err(|error| error.to_string()),
    }
}

/// Why an engine was not opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    /// The index must be made anew.
    #[error("{0}")]
    Index(String),
    #[error("{0}")]
    Other(String),
}

fn try_open_engine(config: &OpenConfig) -> Result<Engine, OpenError> {
    let disk =
        KernelDisk::open(&config.path).map_err(|errno| OpenError::Other(format!("cannot open segments/: {errno}")))?;
    let index = RocksIndex::open(&RocksIndex::path(&config.path), config.settings.index_memory_bytes());
    let index = index.map_err(|error| match error {
        IndexError::Damaged(reason) => OpenError::Index(reason),
        IndexError::Io(reason) | IndexError::Full(reason) => OpenError::Other(reason),
    })?;
    let shown = config.path.display().to_string();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let parts = Parts {
        identity: config.identity,
        disk,
        index: Box::new(index),
        health: Health::new(config.identity.device, shown, config.metrics.up.clone()),
        metrics: config.metrics.clone(),
        settings: Settings {
            reserve_bytes: config.settings.reserve_bytes,
            segment_bytes: config.settings.segment_bytes,
            capacity_bytes: config.settings.capacity_bytes,
        },
        salts: Box::new(random_salt),
    };
    let device = config.identity.device;
    let told = Cell::new(Instant::now());
    let progress = |done_bytes, total_bytes| {
        if told.get().elapsed() >= PROGRESS_INTERVAL {
            told.set(Instant::now());
            tracing::info!(%device, done_bytes, total_bytes, "segments are read again");
        }
    };
    let (engine, recovered) = Engine::open(parts, &progress).map_err(OpenError::Other)?;
    let crate::engine::Recovered {
        records,
        cut,
        unreadable,
    } = recovered;
    tracing::info!(%device, records, cut, unreadable, "the device is open");
    Ok(engine)
}

fn drawn_number() -> u64 {
    let mut number = [0; 8];
    getrandom::fill(&mut number).expect("the operating system gives randomness");
    u64::from_le_bytes(number)
}
