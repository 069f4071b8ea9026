//! What the transport counts, per peer and request kind, and what it knows of each network path.
//!
//! Invariant: names are `cairn_transport_…` and never change meaning; the struct is cheap to clone and shared by all clones.

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use cairn_common::{
    ids::NodeId,
    wire::kind::{RequestKind, TrafficClass},
};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tokio::time::Instant;

/// Which end of a request or connection is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// This node asked, or called.
    Caller,
    /// This node answered, or was called.
    Server,
}

/// Counters and latencies of requests, and figures of live paths.
#[derive(Clone, Debug)]
pub struct TransportMetrics {
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
    failures: Family<FailureLabels, Counter>,
    retries: Family<Labels, Counter>,
    sent_bytes: Family<Labels, Counter>,
    received_bytes: Family<Labels, Counter>,
    in_flight: Family<Labels, Gauge>,
    refused_handshakes: Counter,
    paths: Paths,
}

/// One request, counted as in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    counts: Arc<Counts>,
    started: Instant,
}

/// What one pair of peer and kind counts, looked up once and used by all its requests.
#[derive(Debug)]
pub(crate) struct Counts {
    labels: Labels,
    seconds: Histogram,
    sent_bytes: Counter,
    received_bytes: Counter,
    in_flight: Gauge,
    retries: Counter,
    failures: Family<FailureLabels, Counter>,
}

/// The counts of one peer, kind by kind; of kinds that are never asked there are none.
#[derive(Debug)]
pub(crate) struct PeerCounts {
    metrics: TransportMetrics,
    peer: NodeId,
    side: Side,
    kinds: [OnceLock<Arc<Counts>>; RequestKind::ALL.len()],
}

/// A network path while its connection lives.
pub(crate) trait Path: Send + Sync {
    /// The figures as they are now.
    fn figures(&self) -> PathFigures;
}

/// Figures of a network path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathFigures {
    /// The node at its end.
    pub(crate) peer: NodeId,
    /// What it carries.
    pub(crate) class: TrafficClass,
    /// Who called.
    pub(crate) side: Side,
    /// Largest UDP payload that fits, in bytes.
    pub(crate) mtu_bytes: u64,
    /// Smoothed round-trip time.
    pub(crate) round_trip: Duration,
    /// Packets sent.
    pub(crate) sent_packets: u64,
    /// Packets that were lost and sent again.
    pub(crate) lost_packets: u64,
    /// Times the congestion window was cut.
    pub(crate) congestion_events: u64,
}

#[derive(Clone, Default)]
struct Paths(Arc<Mutex<LivePaths>>);

#[derive(Default)]
struct LivePaths {
    paths: Vec<(u64, Weak<dyn Path>)>,
    /// Numbers given out: one is never used again, so that no path goes on with another's figures.
    numbers: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    peer: u64,
    kind: &'static str,
    side: Side,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    peer: u64,
    kind: &'static str,
    side: Side,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    peer: u64,
    class: &'static str,
    side: Side,
    path: u64,
}

impl Default for TransportMetrics {
    fn default() -> Self {
        Self {
            seconds: Family::new_with_constructor(histogram),
            failures: Family::default(),
            retries: Family::default(),
            sent_bytes: Family::default(),
            received_bytes: Family::default(),
            in_flight: Family::default(),
            refused_handshakes: Counter::default(),
            paths: Paths::default(),
        }
    }
}

impl TransportMetrics {
    /// Adds all of them to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, metric: Family<Labels, Counter>| {
            registry.register(format!("cairn_transport_{name}"), help, metric);
        };
        add(
            "sent_bytes",
            "Bytes of requests or answers sent, heads included",
            self.sent_bytes.clone(),
        );
        add(
            "received_bytes",
            "Bytes of requests or answers received, heads included",
            self.received_bytes.clone(),
        );
        add(
            "retries",
            "Requests sent again on a new connection since the old one had ended",
            self.retries.clone(),
        );
        registry.register(
            "cairn_transport_request_seconds",
            "Time from a request to the head of its answer",
            self.seconds.clone(),
        );
        registry.register(
            "cairn_transport_failures",
            "Requests without a good answer, by reason",
            self.failures.clone(),
        );
        registry.register(
            "cairn_transport_in_flight",
            "Requests whose answer has not come to its end",
            self.in_flight.clone(),
        );
        registry.register(
            "cairn_transport_refused_handshakes",
            "Connections that did not prove who they are, or were too many",
            self.refused_handshakes.clone(),
        );
        registry.register_collector(Box::new(self.paths.clone()));
    }

    /// The counts of `peer`'s requests.
    pub(crate) fn of_peer(&self, peer: NodeId, side: Side) -> PeerCounts {
        PeerCounts {
            metrics: self.clone(),
            peer,
            side,
            kinds: [const { OnceLock::new() }; RequestKind::ALL.len()],
        }
    }

    fn counts(&self, peer: NodeId, side: Side, kind: RequestKind) -> Counts {
        let labels = Labels {
            peer: peer.value(),
            kind: kind.name(),
            side,
        };
        Counts {
            seconds: self.seconds.get_or_create(&labels).clone(),
            sent_bytes: self.sent_bytes.get_or_create(&labels).clone(),
            received_bytes: self.received_bytes.get_or_create(&labels).clone(),
            in_flight: self.in_flight.get_or_create(&labels).clone(),
            retries: self.retries.get_or_create(&labels).clone(),
            failures: self.failures.clone(),
            labels,
        }
    }

    /// Counts a connection that was not let in.
    pub(crate) fn refused_handshake(&self) {
        self.refused_handshakes.inc();
    }

    /// Shows the figures of `path` as long as it lives.
    pub(crate) fn add_path(&self, path: Weak<dyn Path>) {
        let mut live = self.paths.0.lock();
        live.paths.retain(|(_, path)| path.strong_count() > 0);
        live.numbers += 1;
        let number = live.numbers;
        live.paths.push((number, path));
    }
}

impl PeerCounts {
    /// The counts of requests of that kind.
    pub(crate) fn of(&self, kind: RequestKind) -> &Arc<Counts> {
        let index = RequestKind::ALL.iter().position(|known| *known == kind);
        let counts = &self.kinds[index.expect("every kind is among all kinds")];
        counts.get_or_init(|| Arc::new(self.metrics.counts(self.peer, self.side, kind)))
    }
}

impl Counts {
    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Flight {
        self.in_flight.inc();
        Flight {
            counts: Arc::clone(self),
            started: Instant::now(),
        }
    }

    /// A request is sent again.
    pub(crate) fn retried(&self) {
        self.retries.inc();
    }

    /// A request has failed.
    pub(crate) fn failed(&self, reason: &'static str) {
        let labels = FailureLabels {
            peer: self.labels.peer,
            kind: self.labels.kind,
            side: self.labels.side,
            reason,
        };
        self.failures.get_or_create(&labels).inc();
    }
}

impl Flight {
    /// The head of the answer is there, or has been made.
    pub(crate) fn answered(&self) {
        self.counts.seconds.observe(self.started.elapsed().as_secs_f64());
    }

    /// It has failed.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.counts.failed(reason);
    }

    /// Counts bytes sent.
    pub(crate) fn sent(&self) -> Counter {
        self.counts.sent_bytes.clone()
    }

    /// Counts bytes received.
    pub(crate) fn received(&self) -> Counter {
        self.counts.received_bytes.clone()
    }
}

impl EncodeLabelValue for Side {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let name = match self {
            Self::Caller => "caller",
            Self::Server => "server",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.counts.in_flight.dec();
    }
}

impl Collector for Paths {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let live: Vec<_> = self.0.lock().paths.clone();
        let figures = |(number, path): &(u64, Weak<dyn Path>)| Some((*number, path.upgrade()?.figures()));
        let figures: Vec<_> = live.iter().filter_map(figures).collect();
        type Figure = (&'static str, &'static str, fn(&PathFigures) -> u64);
        let gauges: [Figure; 2] = [
            (
                "cairn_transport_path_mtu_bytes",
                "Largest UDP payload that the path carries",
                |path| path.mtu_bytes,
            ),
            (
                "cairn_transport_path_round_trip_micros",
                "Smoothed round-trip time in microseconds",
                |path| u64::try_from(path.round_trip.as_micros()).unwrap_or(u64::MAX),
            ),
        ];
        for (name, help, value) in gauges {
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for (path, figures) in &figures {
                let value = i64::try_from(value(figures)).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(metric.encode_family(&path_labels(*path, figures))?)?;
            }
        }
        let counters: [Figure; 3] = [
            ("cairn_transport_path_sent_packets", "Packets sent", |path| {
                path.sent_packets
            }),
            (
                "cairn_transport_path_lost_packets",
                "Packets lost and sent again",
                |path| path.lost_packets,
            ),
            (
                "cairn_transport_path_congestion_events",
                "Times the congestion window was cut",
                |path| path.congestion_events,
            ),
        ];
        for (name, help, value) in counters {
            let kind = prometheus_client::metrics::MetricType::Counter;
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for (path, figures) in &figures {
                let counter = ConstCounter::new(value(figures));
                counter.encode(metric.encode_family(&path_labels(*path, figures))?)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Paths").field(&self.0.lock().paths.len()).finish()
    }
}

fn path_labels(path: u64, figures: &PathFigures) -> PathLabels {
    PathLabels {
        peer: figures.peer.value(),
        class: match figures.class {
            TrafficClass::Control => "control",
            TrafficClass::Bulk => "bulk",
        },
        side: figures.side,
        path,
    }
}

/// 32 µs to 16 s: from an answer out of memory on the same host to the longest deadlines.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_032, 2.0, 20))
}
