//! What the gateway counts: requests, latencies, bytes and errors, by operation.
//!
//! Invariant: labels come from closed sets, so a client cannot grow the number of series.

use std::time::Duration;

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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabels {
    operation: &'static str,
    code: String,
}

/// Handles to the gateway's metrics; clones share them.
#[derive(Clone)]
pub struct GatewayMetrics {
    requests: Family<OperationLabel, Counter>,
    errors: Family<ErrorLabels, Counter>,
    seconds: Family<OperationLabel, Histogram, fn() -> Histogram>,
    received: Family<OperationLabel, Counter>,
    sent: Family<OperationLabel, Counter>,
    connections: Gauge,
    failed_handshakes: Counter,
}

/// One finished request.
pub(crate) struct Observation {
    pub(crate) operation: &'static str,
    pub(crate) elapsed: Duration,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

impl Default for GatewayMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            errors: Family::default(),
            // 0.25 ms to 8 s in powers of two, then 16 s and beyond.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 17))),
            received: Family::default(),
            sent: Family::default(),
            connections: Gauge::default(),
            failed_handshakes: Counter::default(),
        }
    }
}

impl GatewayMetrics {
    /// Metrics that nothing was counted in yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cairn_gateway");
        registry.register("requests", "Requests answered", self.requests.clone());
        registry.register(
            "errors",
            "Requests answered with an error, by S3 code",
            self.errors.clone(),
        );
        let help = "Time from the head of a request to the head of its answer";
        registry.register("request_seconds", help, self.seconds.clone());
        registry.register("received_bytes", "Bytes of request bodies", self.received.clone());
        registry.register(
            "sent_bytes",
            "Bytes of answers' bodies, as announced",
            self.sent.clone(),
        );
        registry.register("connections", "Connections open", self.connections.clone());
        registry.register(
            "failed_handshakes",
            "TLS handshakes that came to nothing",
            self.failed_handshakes.clone(),
        );
    }

    pub(crate) fn observe(&self, observation: &Observation) {
        let label = OperationLabel {
            operation: observation.operation,
        };
        self.requests.get_or_create(&label).inc();
        self.seconds
            .get_or_create(&label)
            .observe(observation.elapsed.as_secs_f64());
        if observation.received_bytes > 0 {
            self.received.get_or_create(&label).inc_by(observation.received_bytes);
        }
        if observation.sent_bytes > 0 {
            self.sent.get_or_create(&label).inc_by(observation.sent_bytes);
        }
    }

    pub(crate) fn observe_error(&self, operation: &'static str, code: &str) {
        self.errors
            .get_or_create(&ErrorLabels {
                operation,
                code: code.to_owned(),
            })
            .inc();
    }

    pub(crate) fn handshake_failed(&self) {
        self.failed_handshakes.inc();
    }

    pub(crate) fn connection_opened(&self) -> ConnectionGuard {
        self.connections.inc();
        ConnectionGuard(self.connections.clone())
    }
}

/// Counts a connection while it lives.
pub(crate) struct ConnectionGuard(Gauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The label for an operation of s3s.
pub(crate) fn operation_name(name: &str) -> &'static str {
    const SERVED: [&str; 21] = [
        "GetObject",
        "PutObject",
        "HeadObject",
        "DeleteObject",
        "DeleteObjects",
        "CopyObject",
        "GetObjectAttributes",
        "ListObjects",
        "ListObjectsV2",
        "ListObjectVersions",
        "CreateBucket",
        "HeadBucket",
        "ListBuckets",
        "DeleteBucket",
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPartCopy",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
        "ListParts",
        "ListMultipartUploads",
    ];
    SERVED.into_iter().find(|served| *served == name).unwrap_or("Other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_exposed() {
        let metrics = GatewayMetrics::new();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let elapsed = Duration::from_millis(3);
        metrics.observe(&Observation {
            operation: "PutObject",
            elapsed,
            received_bytes: 10,
            sent_bytes: 0,
        });
        metrics.observe_error("PutObject", "NoSuchBucket");
        let guard = metrics.connection_opened();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "cairn_gateway_requests_total{operation=\"PutObject\"} 1",
            "cairn_gateway_errors_total{operation=\"PutObject\",code=\"NoSuchBucket\"} 1",
            "cairn_gateway_received_bytes_total{operation=\"PutObject\"} 10",
            "cairn_gateway_connections 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        drop(guard);
        assert_eq!(metrics.connections.get(), 0);
    }

    #[test]
    fn unknown_operations_share_a_label() {
        assert_eq!(operation_name("GetObject"), "GetObject");
        assert_eq!(operation_name("PutBucketCors"), "Other");
    }
}
