//! How the two databases are tuned, and how their memory is bounded.
//!
//! | memory | bound |
//! |---|---|
//! | block cache, shared; index and filter blocks count in it | 48 MiB |
//! | write buffers of the state, all families together | 32 MiB filling + 16 MiB being flushed |
//! | write buffers of the log | 2 × 16 MiB |
//!
//! Invariant: together at most about 128 MiB, however large the store grows.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options};

const BLOCK_CACHE_BYTES: usize = 48 << 20;
const STATE_BUFFER_BYTES: usize = 32 << 20;
const STATE_FAMILY_BUFFER_BYTES: usize = 16 << 20;
const LOG_BUFFER_BYTES: usize = 16 << 20;
const BLOCK_BYTES: usize = 16 << 10;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const OPEN_FILES_MAX: i32 = 512;
const INFO_LOG_BYTES: usize = 4 << 20;
const INFO_LOG_FILES: usize = 2;

/// The block cache that both databases share. Clones share it.
#[derive(Clone)]
pub(crate) struct SharedCache(Cache);

impl SharedCache {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        Self(Cache::new_lru_cache(BLOCK_CACHE_BYTES))
    }
}

/// Options of the log's database: small, written once, read back soon, dropped from its start.
pub(super) fn log_options(cache: &SharedCache) -> Options {
    let mut options = common_options(cache);
    options.set_write_buffer_size(LOG_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    // A torn last record was never acknowledged and is cut off. Damage before it is an error: "point in time" would
    // silently drop acknowledged entries behind the damage.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A log file that is missing as a whole is noticed too.
    options.set_track_and_verify_wals_in_manifest(true);
    options
}

/// Options of the state's database.
pub(super) fn state_options(cache: &SharedCache) -> Options {
    let mut options = common_options(cache);
    options.set_db_write_buffer_size(STATE_BUFFER_BYTES);
    // Without a write-ahead log the families may only reach the disk together: a replay over a torn state is unsound.
    options.set_atomic_flush(true);
    options.create_missing_column_families(true);
    options
}

/// Options of one column family of the state.
pub(super) fn family_options(cache: &SharedCache) -> Options {
    let mut options = common_options(cache);
    options.set_write_buffer_size(STATE_FAMILY_BUFFER_BYTES);
    options.set_max_write_buffer_number(3);
    options
}

fn common_options(cache: &SharedCache) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_keep_log_file_num(INFO_LOG_FILES);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_block_based_table_factory(&table_options(cache));
    options
}

fn table_options(cache: &SharedCache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache.0);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_optimize_filters_for_memory(true);
    table
}
