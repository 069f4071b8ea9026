//! How the two databases are tuned, and how their memory is bounded by one number.
//!
//! | memory | share |
//! |---|---|
//! | block cache, shared; index and filter blocks and all write buffers count in it | five eighths |
//! | of that write buffers, filling and being flushed, of both databases | a quarter of the whole |
//! | the process around them: queues, messages, what the allocator keeps | three eighths |
//!
//! Invariant: what the databases take stays below that, however large the store grows.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options, WriteBufferManager};

use crate::core::view::Family;

/// Less than this and the write buffers are flushed all the time.
const MEMORY_BYTES_MIN: usize = 64 << 20;
/// Most of one family's records before all are flushed: larger skip lists cost more to search than flushes save.
const STATE_FAMILY_BUFFER_BYTES_MAX: usize = 32 << 20;
const LOG_BUFFER_BYTES: usize = 16 << 20;
/// Log files kept to be written again: one is filled while the buffers of two are flushed.
const RECYCLED_LOG_FILES: usize = 3;
const BLOCK_BYTES: usize = 16 << 10;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Of a write buffer: 10 bits for each of its records of 40 bytes and more.
const MEMTABLE_BLOOM_RATIO: f64 = 0.03;
/// One hint for all keys: the prefix that hints are kept by is empty. The bindings have no function for it.
const SORTED_INSERTS: &str = "memtable_insert_with_hint_prefix_extractor=capped:0";
const OPEN_FILES_MAX: i32 = 512;
const INFO_LOG_BYTES: usize = 4 << 20;
const INFO_LOG_FILES: usize = 2;

/// The memory that both databases share. Clones share it.
#[derive(Clone)]
pub(crate) struct SharedCache {
    cache: Cache,
    write_buffers: WriteBufferManager,
    family_buffer_bytes: usize,
}

impl SharedCache {
    /// The databases' part of `bytes` for the whole server.
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.max(MEMORY_BYTES_MIN);
        let (cache_bytes, buffer_bytes) = (bytes / 8 * 5, bytes / 4);
        let cache = Cache::new_lru_cache(cache_bytes);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(buffer_bytes, false, cache.clone());
        Self {
            cache,
            write_buffers,
            family_buffer_bytes: (buffer_bytes / 4).min(STATE_FAMILY_BUFFER_BYTES_MAX),
        }
    }
}

/// Options of the log's database: small, written once, read back soon, dropped from its start.
pub(super) fn log_options(memory: &SharedCache) -> Options {
    let mut options = common_options(memory);
    options.set_write_buffer_size(LOG_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    // What is written goes to the kernel with the sync that covers it, in one call.
    options.set_manual_wal_flush(true);
    // A file that was written before and does not grow is synced without the file system's journal: in half the time, and the
    // servers that share a disk do not wait for each other's.
    options.set_recycle_log_file_num(RECYCLED_LOG_FILES);
    // In such a file old records follow the newest, so its end is where they do not fit any more. Whether it ends too early,
    // because what was synced is damaged, the watermark tells.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // A log file that is missing as a whole is noticed too.
    options.set_track_and_verify_wals_in_manifest(true);
    options
}

/// Options of the state's database.
pub(super) fn state_options(memory: &SharedCache) -> Options {
    let mut options = common_options(memory);
    // Without a write-ahead log the families may only reach the disk together: a replay over a torn state is unsound.
    options.set_atomic_flush(true);
    // One applier writes: what lets several write at once would only cost it.
    options.set_allow_concurrent_memtable_write(false);
    options.create_missing_column_families(true);
    options
}

/// Options of the state's column family of that name.
pub(super) fn family_options(memory: &SharedCache, name: &str) -> Options {
    let mut options = with_sorted_inserts(common_options(memory));
    options.set_write_buffer_size(memory.family_buffer_bytes);
    options.set_max_write_buffer_number(3);
    // Where the applier looks for what is not there yet. Elsewhere a filter would only cost every write a cache line.
    if [Family::Dentry, Family::Chunk]
        .iter()
        .any(|family| family.name() == name)
    {
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
        options.set_memtable_whole_key_filtering(true);
    }
    options
}

/// What is written comes in order of keys: where the last record went is near the place of the next, and is where the search
/// for it begins.
fn with_sorted_inserts(mut options: Options) -> Options {
    let changed = options.get_options_from_string(SORTED_INSERTS);
    changed.expect("RocksDB knows its own option")
}

fn common_options(memory: &SharedCache) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    options.set_write_buffer_manager(&memory.write_buffers);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    // What was just flushed is soon merged: compressing it would be done twice.
    let [fresh, merged] = [DBCompressionType::None, DBCompressionType::Lz4];
    options.set_compression_per_level(&[fresh, merged, merged, merged, merged, merged, merged]);
    options.set_compression_type(merged);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_keep_log_file_num(INFO_LOG_FILES);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_block_based_table_factory(&table_options(memory));
    options
}

fn table_options(memory: &SharedCache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&memory.cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_optimize_filters_for_memory(true);
    table
}
