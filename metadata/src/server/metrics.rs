//! What the metadata server counts.
//!
//! Invariant: counting never blocks and never fails a request.

use std::{
    sync::atomic::{AtomicI64, AtomicU64},
    time::Duration,
};

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// What the metadata server counts. Clones count into the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Commands proposed.
    pub proposals: Counter<u64, AtomicU64>,
    /// Commands in each Raft entry.
    pub batch_commands: Histogram,
    /// Seconds of each sync of the Raft log.
    pub sync_seconds: Histogram,
    /// Index of the newest applied entry.
    pub applied_index: Gauge<i64, AtomicI64>,
    /// Queries answered.
    pub reads: Counter<u64, AtomicU64>,
    /// Read barriers: each is shared by all queries that waited for it.
    pub read_barriers: Counter<u64, AtomicU64>,
    /// Commands that wait to be proposed.
    pub queue_depth: Gauge<i64, AtomicI64>,
    /// Requests refused because too many waited.
    pub refused_busy: Counter<u64, AtomicU64>,
    /// Sessions alive.
    pub sessions: Gauge<i64, AtomicI64>,
    /// Sessions ended because their lease ran out.
    pub sessions_expired: Counter<u64, AtomicU64>,
    /// Leases of files that mounts have, where this member leads.
    pub file_leases: Gauge<i64, AtomicI64>,
    /// Directories that one mount uses alone.
    pub directories_alone: Gauge<i64, AtomicI64>,
    /// Leases of files that were recalled because another changed them.
    pub file_leases_recalled: Counter<u64, AtomicU64>,
    /// Mounts that lost their leases because they did not renew them.
    pub file_leases_expired: Counter<u64, AtomicU64>,
    /// Chunks found garbage at the last look and not yet forgotten.
    pub garbage_pending: Gauge<i64, AtomicI64>,
    /// Chunks whose shards were all deleted.
    pub chunks_deleted: Counter<u64, AtomicU64>,
    /// Shards compared with the metadata.
    pub inventory_shards: Counter<u64, AtomicU64>,
    /// Shards deleted because nothing refers to them and nothing ever can.
    pub orphans_deleted: Counter<u64, AtomicU64>,
    /// Shards deleted because they were left behind where their chunk does not lie any more.
    pub strays_deleted: Counter<u64, AtomicU64>,
    /// Shards that inventories found missing or damaged.
    pub shards_missed: Counter<u64, AtomicU64>,
    /// Shards that chunkservers made again or moved.
    pub shards_repaired: Counter<u64, AtomicU64>,
    /// Chunks that were coded anew, because their bucket wants another redundancy.
    pub chunks_recoded: Counter<u64, AtomicU64>,
    /// Times that this member became the leader.
    pub elections_won: Counter<u64, AtomicU64>,
    /// Comparisons of other members' chained hashes with this leader's.
    pub state_comparisons: Counter<u64, AtomicU64>,
    /// Comparisons that found a difference.
    pub state_mismatches: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            proposals: Counter::default(),
            batch_commands: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            sync_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            applied_index: Gauge::default(),
            reads: Counter::default(),
            read_barriers: Counter::default(),
            queue_depth: Gauge::default(),
            refused_busy: Counter::default(),
            sessions: Gauge::default(),
            sessions_expired: Counter::default(),
            file_leases: Gauge::default(),
            directories_alone: Gauge::default(),
            file_leases_recalled: Counter::default(),
            file_leases_expired: Counter::default(),
            garbage_pending: Gauge::default(),
            chunks_deleted: Counter::default(),
            inventory_shards: Counter::default(),
            orphans_deleted: Counter::default(),
            strays_deleted: Counter::default(),
            shards_missed: Counter::default(),
            shards_repaired: Counter::default(),
            chunks_recoded: Counter::default(),
            elections_won: Counter::default(),
            state_comparisons: Counter::default(),
            state_mismatches: Counter::default(),
        }
    }
}

impl Metrics {
    /// Adds all of them to `registry`, under the prefix `cairn_metadata`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cairn_metadata");
        self.register_group(registry);
        self.register_shards(registry);
        registry.register("proposals", "Commands proposed", self.proposals.clone());
        registry.register(
            "batch_commands",
            "Commands in each Raft entry",
            self.batch_commands.clone(),
        );
        registry.register(
            "sync_seconds",
            "Duration of each sync of the Raft log",
            self.sync_seconds.clone(),
        );
        registry.register(
            "applied_index",
            "Index of the newest applied Raft entry",
            self.applied_index.clone(),
        );
        registry.register("reads", "Queries answered", self.reads.clone());
        registry.register(
            "read_barriers",
            "Barriers shared by queries",
            self.read_barriers.clone(),
        );
        registry.register(
            "queue_depth",
            "Commands that wait to be proposed",
            self.queue_depth.clone(),
        );
        registry.register(
            "refused_busy",
            "Requests refused because too many waited",
            self.refused_busy.clone(),
        );
        registry.register("sessions", "Sessions alive", self.sessions.clone());
        registry.register(
            "sessions_expired",
            "Sessions whose lease ran out",
            self.sessions_expired.clone(),
        );
        registry.register(
            "file_leases",
            "Leases of files that mounts have, told by the leader",
            self.file_leases.clone(),
        );
        registry.register(
            "directories_alone",
            "Directories that one mount uses alone, told by the leader",
            self.directories_alone.clone(),
        );
        registry.register(
            "file_leases_recalled",
            "Leases of files recalled because another changed them",
            self.file_leases_recalled.clone(),
        );
        registry.register(
            "file_leases_expired",
            "Mounts that lost their leases of files because they did not renew them",
            self.file_leases_expired.clone(),
        );
        registry.register(
            "garbage_pending",
            "Chunks waiting to be deleted",
            self.garbage_pending.clone(),
        );
    }

    fn register_shards(&self, registry: &mut Registry) {
        registry.register(
            "chunks_deleted",
            "Chunks whose shards were all deleted",
            self.chunks_deleted.clone(),
        );
        registry.register(
            "inventory_shards",
            "Shards compared with the metadata",
            self.inventory_shards.clone(),
        );
        registry.register(
            "orphans_deleted",
            "Shards deleted that nothing refers to",
            self.orphans_deleted.clone(),
        );
        registry.register(
            "strays_deleted",
            "Shards deleted where their chunk does not lie any more",
            self.strays_deleted.clone(),
        );
        registry.register(
            "shards_missed",
            "Shards that inventories found missing or damaged",
            self.shards_missed.clone(),
        );
        registry.register(
            "shards_repaired",
            "Shards that chunkservers made again or moved",
            self.shards_repaired.clone(),
        );
        registry.register(
            "chunks_recoded",
            "Chunks that were coded anew, because their bucket wants another redundancy",
            self.chunks_recoded.clone(),
        );
    }

    fn register_group(&self, registry: &mut Registry) {
        registry.register(
            "elections_won",
            "Times that this member became the leader",
            self.elections_won.clone(),
        );
        registry.register(
            "state_comparisons",
            "Comparisons of other members' states with the leader's",
            self.state_comparisons.clone(),
        );
        registry.register(
            "state_mismatches",
            "Comparisons that found a difference",
            self.state_mismatches.clone(),
        );
    }

    /// Counts a sync of the log.
    pub(crate) fn observe_sync(&self, took: Duration) {
        self.sync_seconds.observe(took.as_secs_f64());
    }
}

/// A count as a gauge takes it.
pub(super) fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_metrics_are_the_counted_ones() {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.proposals.inc_by(3);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        assert!(text.contains("cairn_metadata_proposals_total 3"), "{text}");
    }
}
