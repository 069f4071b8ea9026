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

/// Counters and latencies of all devices of a process.
#[derive(Clone, Debug)]
pub struct Metrics {
    up: Family<DeviceLabel, Gauge>,
    put_shards: Family<DeviceLabel, Counter>,
    read_shards: Family<DeviceLabel, Counter>,
    deleted_shards: Family<DeviceLabel, Counter>,
    written_bytes: Family<DeviceLabel, Counter>,
    read_bytes: Family<DeviceLabel, Counter>,
    errors: Family<DeviceLabel, Counter>,
    corrupt_shards: Family<DeviceLabel, Counter>,
    sync_seconds: Family<DeviceLabel, Histogram, fn() -> Histogram>,
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
    pub(crate) sync_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            up: Family::default(),
            put_shards: Family::default(),
            read_shards: Family::default(),
            deleted_shards: Family::default(),
            written_bytes: Family::default(),
            read_bytes: Family::default(),
            errors: Family::default(),
            corrupt_shards: Family::default(),
            // 50 µs to 1.6 s: from a drive with a protected cache to one in trouble.
            sync_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_05, 2.0, 16))),
        }
    }
}

impl Metrics {
    /// Adds all of them to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("put_shards", "Shards stored durably", &self.put_shards),
            ("read_shards", "Shards read, in whole or in part", &self.read_shards),
            ("deleted_shards", "Shards deleted", &self.deleted_shards),
            ("written_bytes", "Shard bytes stored", &self.written_bytes),
            ("read_bytes", "Shard bytes read", &self.read_bytes),
            (
                "errors",
                "Requests that a device failed, shards that were not there included",
                &self.errors,
            ),
            (
                "corrupt_shards",
                "Reads that found a damaged shard header",
                &self.corrupt_shards,
            ),
        ];
        for (name, help, family) in counters {
            registry.register(format!("cairn_chunkserver_{name}"), help, family.clone());
        }
        registry.register(
            "cairn_chunkserver_device_up",
            "Whether the device serves",
            self.up.clone(),
        );
        let help = "Time of a shard's syncs: its data, then its directory";
        registry.register("cairn_chunkserver_sync_seconds", help, self.sync_seconds.clone());
    }

    pub(crate) fn of(&self, device: DeviceId) -> DeviceMetrics {
        let label = DeviceLabel { device: device.value() };
        DeviceMetrics {
            up: self.up.get_or_create_owned(&label),
            put_shards: self.put_shards.get_or_create_owned(&label),
            read_shards: self.read_shards.get_or_create_owned(&label),
            deleted_shards: self.deleted_shards.get_or_create_owned(&label),
            written_bytes: self.written_bytes.get_or_create_owned(&label),
            read_bytes: self.read_bytes.get_or_create_owned(&label),
            errors: self.errors.get_or_create_owned(&label),
            corrupt_shards: self.corrupt_shards.get_or_create_owned(&label),
            sync_seconds: self.sync_seconds.get_or_create_owned(&label),
        }
    }
}
