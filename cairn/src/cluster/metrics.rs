//! The state of the cluster as metrics, told by the metadata server that leads: what `cairn cluster status` says, for a machine.
//!
//! Invariant: a server that does not lead, or could not look lately, tells nothing. Its cost is bounded: one look at a time, with a
//! pause between looks, however often somebody asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_common::ids::NodeId;
use cairn_metadata::{CLIENT_KINDS, MetadataServer};
use cairn_transport::InProcess;
use parking_lot::Mutex;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};
use tokio::task::AbortHandle;

use super::{
    Way,
    state::{ClusterState, DeviceRow, ServerRow, Waits, gather},
};
use crate::gauges::{Label, family, gauge, truth};

/// Pause between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Pause before it is looked again where nothing was seen: another may just begin to lead.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a look may take: a long queue is read page by page.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Pages of the repair queue that a look counts: what is behind 20,000 chunks is as urgent as the last of these, or less.
const PAGES_MAX: usize = 20;

/// How long what was seen is told.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// What was seen last; clones share it.
#[derive(Clone, Default)]
pub(crate) struct ClusterMetrics(Arc<Mutex<Option<(Instant, ClusterState)>>>);

impl ClusterMetrics {
    /// Looks, and tells in `registry`, as long as `server` leads.
    pub(crate) fn start(registry: &mut Registry, server: Arc<MetadataServer>) -> AbortHandle {
        let metrics = Self::default();
        registry.register_collector(Box::new(metrics.clone()));
        tokio::spawn(metrics.look(server)).abort_handle()
    }

    async fn look(self, server: Arc<MetadataServer>) {
        loop {
            let status = server.status();
            let own = status.own.as_ref().map(|own| own.node);
            let pause = match own.filter(|own| *own == status.leader) {
                Some(own) => self.look_once(&server, NodeId::new(own)).await,
                None => {
                    *self.0.lock() = None;
                    RETRY_INTERVAL
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks, as the leader `own`; how long to wait then.
    async fn look_once(&self, server: &Arc<MetadataServer>, own: NodeId) -> Duration {
        let transport = InProcess::new().with_service(own, CLIENT_KINDS, server.clone(), 1);
        let mut way = Way::within(Arc::new(transport), own);
        match tokio::time::timeout(LOOK_TIMEOUT, gather(&mut way, PAGES_MAX)).await {
            Ok(Ok(state)) => {
                *self.0.lock() = Some((Instant::now(), state));
                LOOK_INTERVAL
            }
            Ok(Err(error)) => {
                tracing::debug!(error = format!("{error:#}"), "no metrics of the cluster");
                RETRY_INTERVAL
            }
            Err(_) => {
                tracing::debug!("no metrics of the cluster within their time");
                LOOK_INTERVAL
            }
        }
    }
}

impl fmt::Debug for ClusterMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterMetrics").field(&self.0.lock().is_some()).finish()
    }
}

impl Collector for ClusterMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match self.0.lock().as_ref() {
            Some((at, state)) if at.elapsed() < TOLD_FOR => {
                encode_counts(&mut encoder, state)?;
                encode_waiting(&mut encoder, &state.repairs)?;
                encode_servers(&mut encoder, &state.servers)
            }
            _ => Ok(()),
        }
    }
}

fn encode_counts(encoder: &mut DescriptorEncoder<'_>, state: &ClusterState) -> fmt::Result {
    let gauges = [
        ("epoch", "Epoch of the cluster map", state.epoch as f64),
        ("failure_domains", "Failure domains of the map", state.domains as f64),
        ("buckets", "Buckets", state.buckets as f64),
        ("objects", "Objects of all buckets", state.objects as f64),
        (
            "object_bytes",
            "Bytes of objects, redundancy not counted",
            state.object_bytes as f64,
        ),
        (
            "moving_groups",
            "Placement groups that may have chunks on a former row",
            state.moving_groups as f64,
        ),
        (
            "unsurveyed_devices",
            "Devices that lost what they held, as long as it is not known what is missing",
            state.unsurveyed.len() as f64,
        ),
        (
            "recoding_buckets",
            "Buckets that may hold chunks of another redundancy than they want",
            state.recoding.len() as f64,
        ),
        (
            "moves_paused",
            "Whether an operator holds moves up",
            truth(state.moves_paused),
        ),
        (
            "deletion_held",
            "Whether all deletion of data is held, as after a restore",
            truth(state.deletion_held),
        ),
        (
            "authority_copied",
            "Whether the metadata service keeps a copy of the cluster's authority",
            truth(state.authority_holder.is_some()),
        ),
    ];
    for (name, help, value) in gauges {
        gauge(encoder, &format!("cairn_cluster_{name}"), help, value)?;
    }
    let Some(left) = state.tolerance_left else {
        return Ok(());
    };
    gauge(
        encoder,
        "cairn_cluster_tolerance_left",
        "Shards that any chunk may still lose, with the devices that are up now; negative where not all can be read",
        left as f64,
    )
}

fn encode_waiting(encoder: &mut DescriptorEncoder<'_>, repairs: &BTreeMap<Waits, u64>) -> fmt::Result {
    let count = |waits| repairs.get(&waits).copied().unwrap_or(0) as f64;
    // Both ends are always told: an alert must tell none from not known.
    let tolerances = (repairs.keys()).filter_map(|waits| match waits {
        Waits::Degraded(left) => Some(*left),
        Waits::Move | Waits::Placed | Waits::BeyondRepair => None,
    });
    let tolerances: BTreeSet<u32> = tolerances.chain([0, 1]).collect();
    let degraded = tolerances
        .into_iter()
        .map(|left| (vec![("tolerance", left.to_string())], count(Waits::Degraded(left))));
    family(
        encoder,
        "cairn_cluster_degraded_chunks",
        "Chunks with missing shards, by the number of shards that may still be lost",
        degraded,
    )?;
    let waiting = [
        ("move", Waits::Move),
        ("placed", Waits::Placed),
        ("beyond_repair", Waits::BeyondRepair),
    ];
    family(
        encoder,
        "cairn_cluster_waiting_chunks",
        "Chunks that wait to be moved, to be coded anew since their writers placed them, or for what they cannot be repaired without",
        waiting.map(|(reason, waits)| (vec![("reason", reason.to_owned())], count(waits))),
    )
}

fn encode_servers(encoder: &mut DescriptorEncoder<'_>, servers: &[ServerRow]) -> fmt::Result {
    // Not `host`, which operators give to what they scrape: here that would be the leader's.
    let server_labels = |server: &ServerRow| {
        vec![
            ("server", server.node.to_string()),
            ("server_host", server.host.clone()),
        ]
    };
    family(
        encoder,
        "cairn_cluster_server_up",
        "Whether a chunkserver gives signs of life",
        servers.iter().map(|server| (server_labels(server), truth(server.up))),
    )?;
    let devices = |value: fn(&DeviceRow) -> f64| {
        let of_server = move |server: &ServerRow| {
            let labels = |device: &DeviceRow| -> Vec<Label> {
                let mut labels = server_labels(server);
                labels.push(("device", device.id.to_string()));
                labels.push(("place", device.place.replace(' ', "_")));
                labels
            };
            let rows = server.devices.iter().map(|device| (labels(device), value(device)));
            rows.collect::<Vec<_>>()
        };
        servers.iter().flat_map(of_server).collect::<Vec<_>>()
    };
    family(
        encoder,
        "cairn_cluster_device_up",
        "Whether a device serves; place is in, out, given_up or new",
        devices(|device| truth(device.up)),
    )?;
    family(
        encoder,
        "cairn_cluster_device_used_bytes",
        "Bytes that a device holds, as it told last",
        devices(|device| device.used_bytes as f64),
    )?;
    family(
        encoder,
        "cairn_cluster_device_total_bytes",
        "Bytes of a device, as it told last",
        devices(|device| device.total_bytes as f64),
    )
}
