//! What the data path counts.
//!
//! Invariant: names are `cairn_datapath_…` and never change meaning; the struct is cheap to clone and shared by all clones.

use prometheus_client::{
    metrics::{
        counter::Counter,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Counters and latencies of the chunks that a process writes and reads.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) chunk_writes: Counter,
    pub(crate) write_retries: Counter,
    pub(crate) write_failures: Counter,
    pub(crate) explicit_placements: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) write_seconds: Histogram,
    pub(crate) chunk_reads: Counter,
    pub(crate) degraded_reads: Counter,
    pub(crate) read_failures: Counter,
    pub(crate) hedged_reads: Counter,
    pub(crate) hedges_refused: Counter,
    pub(crate) corrupt_shards: Counter,
    pub(crate) missing_shards: Counter,
    pub(crate) reads_short_of_memory: Counter,
    pub(crate) read_bytes: Counter,
    pub(crate) read_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        // 0.25 ms to 8 s: from a block out of the page cache to a disk's own retries.
        let seconds = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        Self {
            chunk_writes: Counter::default(),
            write_retries: Counter::default(),
            write_failures: Counter::default(),
            explicit_placements: Counter::default(),
            written_bytes: Counter::default(),
            write_seconds: seconds(),
            chunk_reads: Counter::default(),
            degraded_reads: Counter::default(),
            read_failures: Counter::default(),
            hedged_reads: Counter::default(),
            hedges_refused: Counter::default(),
            corrupt_shards: Counter::default(),
            missing_shards: Counter::default(),
            reads_short_of_memory: Counter::default(),
            read_bytes: Counter::default(),
            read_seconds: seconds(),
        }
    }
}

impl Metrics {
    /// Adds all of them to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            (
                "chunk_writes",
                "Chunks stored with all their shards",
                &self.chunk_writes,
            ),
            ("write_retries", "Chunks sent again under a new id", &self.write_retries),
            (
                "write_failures",
                "Chunks that could not be stored",
                &self.write_failures,
            ),
            (
                "explicit_placements",
                "Chunks stored as copies for want of a healthy row",
                &self.explicit_placements,
            ),
            (
                "written_bytes",
                "Chunk bytes stored, redundancy not counted",
                &self.written_bytes,
            ),
            ("chunk_reads", "Ranges of chunks read", &self.chunk_reads),
            (
                "degraded_reads",
                "Ranges read around a shard that failed",
                &self.degraded_reads,
            ),
            ("read_failures", "Ranges that could not be read", &self.read_failures),
            (
                "hedged_reads",
                "Reads that asked others because a shard was late",
                &self.hedged_reads,
            ),
            (
                "hedges_refused",
                "Times that others were not asked although a shard was late, since they had been asked too often",
                &self.hedges_refused,
            ),
            (
                "reads_short_of_memory",
                "Times that only a block was read where more was wanted, since the memory for reads was taken",
                &self.reads_short_of_memory,
            ),
            (
                "corrupt_shards",
                "Shards found damaged by readers",
                &self.corrupt_shards,
            ),
            (
                "missing_shards",
                "Shards not found where they should be",
                &self.missing_shards,
            ),
            ("read_bytes", "Chunk bytes read", &self.read_bytes),
        ];
        for (name, help, counter) in counters {
            registry.register(format!("cairn_datapath_{name}"), help, counter.clone());
        }
        let histograms = [
            ("write_seconds", "Time to store a chunk", &self.write_seconds),
            ("read_seconds", "Time to read a range of a chunk", &self.read_seconds),
        ];
        for (name, help, histogram) in histograms {
            registry.register(format!("cairn_datapath_{name}"), help, histogram.clone());
        }
    }

    /// Shards found damaged by readers since the start.
    pub fn corrupt_shards(&self) -> u64 {
        self.corrupt_shards.get()
    }

    /// Shards not found where they should be, since the start.
    pub fn missing_shards(&self) -> u64 {
        self.missing_shards.get()
    }

    /// Ranges read around a shard that failed, since the start.
    pub fn degraded_reads(&self) -> u64 {
        self.degraded_reads.get()
    }

    /// Tries to store a chunk that came to nothing, since the start.
    pub fn write_retries(&self) -> u64 {
        self.write_retries.get()
    }

    /// Chunks stored as copies for want of a healthy row, since the start.
    pub fn explicit_placements(&self) -> u64 {
        self.explicit_placements.get()
    }
}
