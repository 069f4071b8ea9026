//! The index of a device: where each shard lies, as a seam, and over RocksDB.
//!
//! Its database has no log of its own: what was not flushed is read again from the segments, from the place on that the index
//! names. Invariants: what reaches the disk is the state after some batch, in all families at once; only what is durable in the
//! segments is ever put in.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    Direction, ErrorKind, FlushOptions, IteratorMode, Options, ReadOptions, ReadTier, WriteBatch, WriteBufferManager,
    WriteOptions,
};

use crate::{
    core::{
        changes::{Changes, Tombstones},
        index_record::{self, IndexState, SHARD_KEY_LEN},
        location::Location,
        position::SegmentId,
        scrub::ScrubState,
        usage::Usages,
    },
    directory::INDEX,
    shard::ShardKey,
};

const SEGMENT_FAMILY: &str = "segment";
const TOMBSTONE_FAMILY: &str = "tombstone";
const META_FAMILY: &str = "meta";
const FAMILIES: [&str; 4] = [
    rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
    SEGMENT_FAMILY,
    TOMBSTONE_FAMILY,
    META_FAMILY,
];
const STATE: &str = "state";
const SCRUB: &str = "scrub";

/// Of the memory, what is written and not flushed yet may take.
const WRITE_BUFFER_SHARE: usize = 4;
const BLOCK_BYTES: usize = 4 << 10;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Of a write buffer: 10 bits for each of its records of 100 bytes, with what the skip list takes.
const MEMTABLE_BLOOM_RATIO: f64 = 0.0125;
/// A file of the database: while one is written the hashes of all its keys are in memory.
const FILE_BYTES: u64 = 8 << 20;
/// Of each file that compaction reads: many are read at a time.
const READAHEAD_BYTES: usize = 256 << 10;
const OPEN_FILES_MAX: i32 = 128;
const INFO_LOG_BYTES: usize = 1 << 20;
/// Set aside for the list of files, which takes no more on small devices.
const MANIFEST_BYTES: usize = 64 << 10;

/// How the database tells that there is no room: it has no kind of error for it.
const NO_ROOM: &str = "No space left";

/// And that a file is not there.
const NO_FILE: &str = "No such file";

/// Why the index did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IndexError {
    /// It must be made anew from the segments.
    #[error(
        "the index is damaged ({0}): stop the server, and `cairn chunkserver rebuild-index` makes it anew from the segments"
    )]
    Damaged(String),
    /// There is no room to bring it to the disk: what is there is sound, and the rest is in the segments.
    #[error("there is no room for the index: {0}")]
    Full(String),
    /// The disk does not do what it should.
    #[error("the index cannot be used: {0}")]
    Io(String),
}

/// What is known without a wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Known(Option<Location>),
    Unknown,
}

/// What is to be written at once.
#[derive(Debug, Default)]
pub(crate) struct IndexBatch {
    pub(crate) changes: Changes,
    pub(crate) state: Option<IndexState>,
    pub(crate) scrub: Option<ScrubState>,
    /// A segment that is gone.
    pub(crate) removed: Option<SegmentId>,
}

/// The index of a device.
pub(crate) trait Index: Send + Sync + 'static {
    /// Where a shard lies.
    fn find(&self, key: &ShardKey) -> Result<Option<Location>, IndexError>;

    /// The same, without a wait for the disk.
    fn find_cached(&self, key: &ShardKey) -> Result<Found, IndexError>;

    /// Up to `limit` shards behind `after`, in order.
    fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<(ShardKey, Location)>, IndexError>;

    /// The tombstones in `segment` of shards in `target`.
    fn find_tombstones(&self, target: SegmentId, segment: SegmentId) -> Result<Tombstones, IndexError>;

    /// The tombstones of shards in `target`, by the segment that they lie in.
    fn tombstones_of(&self, target: SegmentId) -> Result<Vec<(SegmentId, Tombstones)>, IndexError>;

    /// What of each segment is in use.
    fn usages(&self) -> Result<Usages, IndexError>;

    /// Up to where the log is in it; `None` where it is empty.
    fn state(&self) -> Result<Option<IndexState>, IndexError>;

    /// How far the scrub has come.
    fn scrub(&self) -> Result<ScrubState, IndexError>;

    /// Writes a batch, in one piece.
    fn apply(&self, batch: &IndexBatch) -> Result<(), IndexError>;

    /// Brings all that was written to the disk.
    fn flush(&self) -> Result<(), IndexError>;
}

/// An index in RocksDB.
pub(crate) struct RocksIndex {
    db: DB,
}

impl RocksIndex {
    /// Where the index of the device in `device` lies.
    pub(crate) fn path(device: &Path) -> PathBuf {
        device.join(INDEX)
    }

    /// Opens the database at `path`, or makes it, with `memory_bytes` for all that it keeps in memory.
    pub(crate) fn open(path: &Path, memory_bytes: usize) -> Result<Self, IndexError> {
        let cache = Cache::new_lru_cache(memory_bytes);
        let buffer_bytes = memory_bytes / WRITE_BUFFER_SHARE;
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(buffer_bytes, false, cache.clone());
        let mut options = options(&cache);
        options.set_write_buffer_manager(&buffers);
        options.set_write_buffer_size(buffer_bytes / 2);
        options.set_atomic_flush(true);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let families = FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
        let db = DB::open_cf_descriptors(&options, path, families).map_err(index_error)?;
        Ok(Self { db })
    }

    /// Opens the database at `path` to look at it. It says what was on the disk last, and nothing of it changes.
    pub(crate) fn open_read_only(path: &Path, memory_bytes: usize) -> Result<Self, IndexError> {
        let options = options(&Cache::new_lru_cache(memory_bytes));
        let families = FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
        let db = DB::open_cf_descriptors_read_only(&options, path, families, false).map_err(index_error)?;
        Ok(Self { db })
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily, IndexError> {
        let family = self.db.cf_handle(name);
        family.ok_or_else(|| IndexError::Damaged(format!("its family {name} is missing")))
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, IndexError> {
        self.db.get_cf(self.family(META_FAMILY)?, key).map_err(index_error)
    }
}

impl Index for RocksIndex {
    fn find(&self, key: &ShardKey) -> Result<Option<Location>, IndexError> {
        let found = self.db.get_pinned(index_record::shard_key(key)).map_err(index_error)?;
        found.map(|bytes| location(&bytes)).transpose()
    }

    fn find_cached(&self, key: &ShardKey) -> Result<Found, IndexError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        match self.db.get_pinned_opt(index_record::shard_key(key), &options) {
            Ok(found) => Ok(Found::Known(found.map(|bytes| location(&bytes)).transpose()?)),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(Found::Unknown),
            Err(error) => Err(index_error(error)),
        }
    }

    fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<(ShardKey, Location)>, IndexError> {
        let from = after.map(|key| index_record::shard_key(&key));
        let mode = match &from {
            Some(from) => IteratorMode::From(from, Direction::Forward),
            None => IteratorMode::Start,
        };
        let mut listed = Vec::with_capacity(limit.min(SHARD_KEY_LEN << 6));
        for item in self.db.iterator(mode) {
            let (key, value) = item.map_err(index_error)?;
            let parsed = index_record::parse_shard_key(&key);
            let key = parsed.ok_or_else(|| IndexError::Damaged("a key names no shard".to_owned()))?;
            if Some(key) == after {
                continue;
            }
            if listed.len() == limit {
                break;
            }
            listed.push((key, location(&value)?));
        }
        Ok(listed)
    }

    fn find_tombstones(&self, target: SegmentId, segment: SegmentId) -> Result<Tombstones, IndexError> {
        let key = index_record::tombstone_key(target, segment);
        let found = self
            .db
            .get_pinned_cf(self.family(TOMBSTONE_FAMILY)?, key)
            .map_err(index_error)?;
        let found = found.map(|bytes| index_record::open_tombstones(&bytes).map_err(damaged));
        Ok(found.transpose()?.unwrap_or_default())
    }

    fn tombstones_of(&self, target: SegmentId) -> Result<Vec<(SegmentId, Tombstones)>, IndexError> {
        let prefix = index_record::segment_key(target);
        let family = self.family(TOMBSTONE_FAMILY)?;
        let mut found = Vec::new();
        for item in self
            .db
            .iterator_cf(family, IteratorMode::From(&prefix, Direction::Forward))
        {
            let (key, value) = item.map_err(index_error)?;
            if !key.starts_with(&prefix) {
                break;
            }
            let segment = index_record::parse_tombstone_key(&key);
            let segment = segment.ok_or_else(|| IndexError::Damaged("a key names no tombstones".to_owned()))?;
            found.push((segment, index_record::open_tombstones(&value).map_err(damaged)?));
        }
        Ok(found)
    }

    fn usages(&self) -> Result<Usages, IndexError> {
        let mut usages = Usages::default();
        for item in self.db.iterator_cf(self.family(SEGMENT_FAMILY)?, IteratorMode::Start) {
            let (key, value) = item.map_err(index_error)?;
            let segment = index_record::parse_segment_key(&key);
            let segment = segment.ok_or_else(|| IndexError::Damaged("a key names no segment".to_owned()))?;
            usages.insert(segment, index_record::open_usage(&value).map_err(damaged)?);
        }
        Ok(usages)
    }

    fn state(&self) -> Result<Option<IndexState>, IndexError> {
        let stored = self.meta(STATE)?;
        stored
            .map(|bytes| index_record::open_state(&bytes).map_err(damaged))
            .transpose()
    }

    fn scrub(&self) -> Result<ScrubState, IndexError> {
        let stored = self.meta(SCRUB)?;
        let opened = stored.map(|bytes| index_record::open_scrub(&bytes).map_err(damaged));
        Ok(opened.transpose()?.unwrap_or_default())
    }

    fn apply(&self, batch: &IndexBatch) -> Result<(), IndexError> {
        let [segments, tombstones, meta] =
            [SEGMENT_FAMILY, TOMBSTONE_FAMILY, META_FAMILY].map(|name| self.family(name));
        let (segments, tombstones, meta) = (segments?, tombstones?, meta?);
        let mut writes = WriteBatch::default();
        for (key, location) in &batch.changes.entries {
            match location {
                Some(location) => writes.put(index_record::shard_key(key), location.encode()),
                None => writes.delete(index_record::shard_key(key)),
            }
        }
        for (segment, usage) in &batch.changes.usages {
            writes.put_cf(
                segments,
                index_record::segment_key(*segment),
                index_record::seal_usage(usage),
            );
        }
        for ((target, segment), found) in &batch.changes.tombstones {
            let key = index_record::tombstone_key(*target, *segment);
            writes.put_cf(tombstones, key, index_record::seal_tombstones(found));
        }
        if let Some(removed) = batch.removed {
            writes.delete_cf(segments, index_record::segment_key(removed));
            for (segment, _) in self.tombstones_of(removed)? {
                writes.delete_cf(tombstones, index_record::tombstone_key(removed, segment));
            }
        }
        if let Some(state) = &batch.state {
            writes.put_cf(meta, STATE, index_record::seal_state(state));
        }
        if let Some(scrub) = &batch.scrub {
            writes.put_cf(meta, SCRUB, index_record::seal_scrub(scrub));
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(writes, &options).map_err(index_error)
    }

    fn flush(&self) -> Result<(), IndexError> {
        let families = FAMILIES
            .map(|name| self.family(name))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_cfs_opt(&families, &options).map_err(index_error)
    }
}

fn options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    // In parts of a block each: a filter or an index as a whole would be larger than what a part of the cache holds, and
    // would be read again for every shard.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(BLOCK_BYTES);
    table.set_pin_top_level_index_and_filter(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_optimize_filters_for_memory(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_paranoid_checks(true);
    options.set_target_file_size_base(FILE_BYTES);
    options.set_compaction_readahead_size(READAHEAD_BYTES);
    // A shard that is new is looked for, and not found, before it is put.
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
    options.set_memtable_whole_key_filtering(true);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_manifest_preallocation_size(MANIFEST_BYTES);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options
}

fn location(bytes: &[u8]) -> Result<Location, IndexError> {
    Location::decode(bytes).ok_or_else(|| IndexError::Damaged("an entry is no location".to_owned()))
}

fn damaged(error: cairn_common::envelope::EnvelopeError) -> IndexError {
    IndexError::Damaged(error.to_string())
}

fn index_error(error: rocksdb::Error) -> IndexError {
    match error.kind() {
        ErrorKind::IOError if error.as_ref().contains(NO_ROOM) => IndexError::Full(error.into_string()),
        // A file that another one names is missing.
        ErrorKind::IOError if !error.as_ref().contains(NO_FILE) => IndexError::Io(error.into_string()),
        _ => IndexError::Damaged(error.into_string()),
    }
}
