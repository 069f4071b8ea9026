//! What a chunkserver counts, per device.
//!
//! Invariant: names are `cairn_chunkserver_…` with the label `device`, and never change meaning.

use cairn_common::ids::DeviceId;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::core::holdings::Holdings;

/// Counters and latencies of all devices of a process.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    counters: Counters,
    gauges: Gauges,
    histograms: Histograms,
}

#[derive(Clone, Debug, Default)]
struct Counters {
    put_shards: Family<DeviceLabel, Counter>,
    read_shards: Family<DeviceLabel, Counter>,
    deleted_shards: Family<DeviceLabel, Counter>,
    written_bytes: Family<DeviceLabel, Counter>,
    read_bytes: Family<DeviceLabel, Counter>,
    errors: Family<DeviceLabel, Counter>,
    corrupt_shards: Family<DeviceLabel, Counter>,
    compacted_bytes: Family<DeviceLabel, Counter>,
    scrubbed_bytes: Family<DeviceLabel, Counter>,
}

#[derive(Clone, Debug, Default)]
struct Gauges {
    up: Family<DeviceLabel, Gauge>,
    waiting_reads: Family<DeviceLabel, Gauge>,
    waiting_writes: Family<DeviceLabel, Gauge>,
    waiting_commits: Family<DeviceLabel, Gauge>,
    total_bytes: Family<DeviceLabel, Gauge>,
    free_bytes: Family<DeviceLabel, Gauge>,
    live_bytes: Family<DeviceLabel, Gauge>,
    garbage_bytes: Family<DeviceLabel, Gauge>,
    damaged_shards: Family<DeviceLabel, Gauge>,
    segments: Family<DeviceLabel, Gauge>,
    segments_set_aside: Family<DeviceLabel, Gauge>,
    scrub_started: Family<DeviceLabel, Gauge>,
    scrub_finished: Family<DeviceLabel, Gauge>,
}

type HistogramFamily = Family<DeviceLabel, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug)]
struct Histograms {
    sync_seconds: HistogramFamily,
    put_seconds: HistogramFamily,
    read_seconds: HistogramFamily,
    group_members: HistogramFamily,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeviceLabel {
    device: u32,
}

/// Those of one device.
#[derive(Clone, Debug)]
pub(crate) struct DeviceMetrics {
    pub(crate) up: Gauge,
    pub(crate) put_shards: Counter,
    pub(crate) read_shards: Counter,
    pub(crate) deleted_shards: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) read_bytes: Counter,
    pub(crate) errors: Counter,
    pub(crate) corrupt_shards: Counter,
    pub(crate) background: BackgroundMetrics,
    pub(crate) waiting: WaitingMetrics,
    pub(crate) sync_seconds: Histogram,
    pub(crate) put_seconds: Histogram,
    pub(crate) read_seconds: Histogram,
    pub(crate) group_members: Histogram,
}

/// What compaction and scrub do, and what they find.
#[derive(Clone, Debug)]
pub(crate) struct BackgroundMetrics {
    pub(crate) compacted_bytes: Counter,
    pub(crate) scrubbed_bytes: Counter,
    total_bytes: Gauge,
    free_bytes: Gauge,
    live_bytes: Gauge,
    garbage_bytes: Gauge,
    damaged_shards: Gauge,
    segments: Gauge,
    segments_set_aside: Gauge,
    scrub_started: Gauge,
    scrub_finished: Gauge,
}

/// What waits for a turn.
#[derive(Clone, Debug)]
pub(crate) struct WaitingMetrics {
    pub(crate) reads: Gauge,
    pub(crate) writes: Gauge,
    pub(crate) commits: Gauge,
}

impl Default for Histograms {
    fn default() -> Self {
        // 10 µs to 0.66 s: from the page cache to a drive in trouble.
        let seconds =
            || Family::new_with_constructor((|| Histogram::new(exponential_buckets(0.000_01, 2.0, 17))) as fn() -> _);
        Self {
            sync_seconds: seconds(),
            put_seconds: seconds(),
            read_seconds: seconds(),
            group_members: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 10))),
        }
    }
}

impl Metrics {
    /// Adds all of them to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let Counters {
            put_shards,
            read_shards,
            deleted_shards,
            written_bytes,
            read_bytes,
            errors,
            corrupt_shards,
            compacted_bytes,
            scrubbed_bytes,
        } = &self.counters;
        let counters = [
            ("put_shards", "Shards stored durably", put_shards),
            ("read_shards", "Shards read, in whole or in part", read_shards),
            ("deleted_shards", "Shards deleted", deleted_shards),
            ("written_bytes", "Shard bytes stored", written_bytes),
            ("read_bytes", "Shard bytes read", read_bytes),
            (
                "errors",
                "Requests that a device failed, shards that were not there included",
                errors,
            ),
            ("corrupt_shards", "Shards found damaged", corrupt_shards),
            (
                "compacted_bytes",
                "Bytes of records moved to give room back",
                compacted_bytes,
            ),
            (
                "scrubbed_bytes",
                "Bytes of records verified by the scrub",
                scrubbed_bytes,
            ),
        ];
        for (name, help, family) in counters {
            registry.register(format!("cairn_chunkserver_{name}"), help, family.clone());
        }
        self.register_gauges(registry);
        let Histograms {
            sync_seconds,
            put_seconds,
            read_seconds,
            group_members,
        } = &self.histograms;
        let histograms = [
            ("sync_seconds", "Time of a sync of a segment", sync_seconds),
            (
                "put_seconds",
                "Time from a shard's first byte until it is durable",
                put_seconds,
            ),
            ("read_seconds", "Time of a read of a shard's blocks", read_seconds),
            ("group_members", "Writes and deletes that shared a sync", group_members),
        ];
        for (name, help, family) in histograms {
            registry.register(format!("cairn_chunkserver_{name}"), help, family.clone());
        }
    }

    fn register_gauges(&self, registry: &mut Registry) {
        let Gauges {
            up,
            waiting_reads,
            waiting_writes,
            waiting_commits,
            total_bytes,
            free_bytes,
            live_bytes,
            garbage_bytes,
            damaged_shards,
            segments,
            segments_set_aside,
            scrub_started,
            scrub_finished,
        } = &self.gauges;
        let gauges = [
            ("device_up", "Whether the device serves", up),
            ("waiting_reads", "Reads that wait for a thread", waiting_reads),
            ("waiting_writes", "Large writes that wait for a thread", waiting_writes),
            (
                "waiting_commits",
                "Writes and deletes that wait for a sync",
                waiting_commits,
            ),
            (
                "total_bytes",
                "Bytes of the device's file system, or that it may take of it",
                total_bytes,
            ),
            ("free_bytes", "Bytes of it that are free", free_bytes),
            ("live_bytes", "Bytes of records that are needed", live_bytes),
            (
                "garbage_bytes",
                "Bytes of records that compaction can give back",
                garbage_bytes,
            ),
            (
                "damaged_shards",
                "Shards found damaged and not replaced since",
                damaged_shards,
            ),
            ("segments", "Segments of the log", segments),
            (
                "segments_set_aside",
                "Segments kept for shards that cannot be read",
                segments_set_aside,
            ),
            (
                "scrub_started_timestamp_seconds",
                "When the present pass of the scrub began, or the last one",
                scrub_started,
            ),
            (
                "scrub_finished_timestamp_seconds",
                "When the last whole pass of the scrub ended",
                scrub_finished,
            ),
        ];
        for (name, help, family) in gauges {
            registry.register(format!("cairn_chunkserver_{name}"), help, family.clone());
        }
    }

    pub(crate) fn of(&self, device: DeviceId) -> DeviceMetrics {
        let label = DeviceLabel { device: device.value() };
        let counter = |family: &Family<DeviceLabel, Counter>| family.get_or_create_owned(&label);
        let gauge = |family: &Family<DeviceLabel, Gauge>| family.get_or_create_owned(&label);
        let histogram = |family: &HistogramFamily| family.get_or_create_owned(&label);
        let (counters, gauges, histograms) = (&self.counters, &self.gauges, &self.histograms);
        DeviceMetrics {
            up: gauge(&gauges.up),
            put_shards: counter(&counters.put_shards),
            read_shards: counter(&counters.read_shards),
            deleted_shards: counter(&counters.deleted_shards),
            written_bytes: counter(&counters.written_bytes),
            read_bytes: counter(&counters.read_bytes),
            errors: counter(&counters.errors),
            corrupt_shards: counter(&counters.corrupt_shards),
            background: BackgroundMetrics {
                compacted_bytes: counter(&counters.compacted_bytes),
                scrubbed_bytes: counter(&counters.scrubbed_bytes),
                total_bytes: gauge(&gauges.total_bytes),
                free_bytes: gauge(&gauges.free_bytes),
                live_bytes: gauge(&gauges.live_bytes),
                garbage_bytes: gauge(&gauges.garbage_bytes),
                damaged_shards: gauge(&gauges.damaged_shards),
                segments: gauge(&gauges.segments),
                segments_set_aside: gauge(&gauges.segments_set_aside),
                scrub_started: gauge(&gauges.scrub_started),
                scrub_finished: gauge(&gauges.scrub_finished),
            },
            waiting: WaitingMetrics {
                reads: gauge(&gauges.waiting_reads),
                writes: gauge(&gauges.waiting_writes),
                commits: gauge(&gauges.waiting_commits),
            },
            sync_seconds: histogram(&histograms.sync_seconds),
            put_seconds: histogram(&histograms.put_seconds),
            read_seconds: histogram(&histograms.read_seconds),
            group_members: histogram(&histograms.group_members),
        }
    }
}

impl BackgroundMetrics {
    /// Shows what a device holds.
    pub(crate) fn note(&self, holdings: &Holdings) {
        let shown = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.total_bytes.set(shown(holdings.space.total_bytes));
        self.free_bytes.set(shown(holdings.space.free_bytes));
        self.live_bytes.set(shown(holdings.usage.live_bytes));
        self.garbage_bytes.set(shown(holdings.usage.garbage_bytes()));
        self.damaged_shards.set(holdings.usage.damaged.into());
        self.segments.set(shown(holdings.segments as u64));
        self.segments_set_aside.set(shown(holdings.set_aside as u64));
        self.scrub_started.set(shown(holdings.scrub.started_ms / 1000));
        self.scrub_finished.set(shown(holdings.scrub.finished_ms / 1000));
    }
}
