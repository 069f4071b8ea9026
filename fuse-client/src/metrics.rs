//! What a mount counts.
//!
//! Invariant: names are `cairn_mount_…` and never change meaning.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Counters of a mount; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<Operation, Counter>,
    pub(crate) read_bytes: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) failed_stores: Counter,
    pub(crate) leases_recalled: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

impl Metrics {
    /// Adds them to the registry of the process.
    pub fn register(&self, registry: &mut Registry) {
        let requests = "Requests of the kernel by operation";
        registry.register("cairn_mount_requests", requests, self.requests.clone());
        let read = "Bytes that programs read, but for what the kernel had";
        registry.register("cairn_mount_read_bytes", read, self.read_bytes.clone());
        let written = "Bytes that the kernel handed over";
        registry.register("cairn_mount_written_bytes", written, self.written_bytes.clone());
        let failed = "Times that bytes which programs wrote could not be stored and were given up";
        registry.register("cairn_mount_failed_stores", failed, self.failed_stores.clone());
        let recalled = "Times that leases of files were recalled, or lost";
        registry.register("cairn_mount_leases_recalled", recalled, self.leases_recalled.clone());
    }

    /// Counts a request.
    pub(crate) fn count(&self, operation: &'static str) {
        self.requests.get_or_create(&Operation { operation }).inc();
    }
}
