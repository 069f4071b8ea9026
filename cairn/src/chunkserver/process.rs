//! `cairn chunkserver`: the devices of one node, served to the others by a process of their own.
//!
//! Invariant: a device that cannot serve keeps neither the process nor its other devices from serving.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use cairn_chunkserver::{ChunkServer, ChunkServerConfig, DeviceSettings, Whereabouts};
use cairn_common::{ids::NodeId, wire::role::Role};
use cairn_transport::{LocalServer, Services};

use super::device_list;
use crate::{
    admin::{Admin, Observed},
    cli::ChunkserverServerArgs,
    cluster::{ClusterDir, ClusterNode, Contacts, ReportWay, Reports, whereabouts},
    config,
    data_dir::DataDir,
    metrics::Metrics,
    running::Running,
    serving::{self, Serving},
    status::{ChunkserverStatus, DeviceState, device_state},
};

/// Requests under way at once: more wait at their writers and readers.
const REQUESTS_MAX: usize = 4096;

/// How long requests under way may go on after a signal.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// What the process runs with.
struct Settings {
    data: PathBuf,
    devices: Vec<PathBuf>,
    listen: SocketAddr,
    admin: SocketAddr,
    device: DeviceSettings,
    /// What it says of where it is; no address where others reach it at `listen`.
    whereabouts: Whereabouts,
}

/// What the admin address tells about.
struct Served {
    node: NodeId,
    chunkserver: Arc<ChunkServer>,
    metrics: Metrics,
}

pub(super) fn run(args: &ChunkserverServerArgs) -> anyhow::Result<ExitCode> {
    let settings = settings(args)?;
    let log = args.log.as_deref().unwrap_or(config::DEFAULT_LOG);
    serving::run(args.log_format.unwrap_or_default(), log, async |serving| {
        serve(settings, serving).await
    })
}

fn settings(args: &ChunkserverServerArgs) -> anyhow::Result<Settings> {
    config::check_environment(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
    let data = args.data.clone();
    let data = data.context("--data DIR is missing: the node's directory, made by `cairn cluster init` or `join`")?;
    let mut device = DeviceSettings::default();
    if let Some(mib) = args.device_memory_mib {
        device.memory_bytes = mib << 20;
    }
    if let Some(mib) = args.reserve_mib {
        device.reserve_bytes = mib << 20;
    }
    device.segment_bytes = args.segment_mib.map(|mib| mib << 20);
    let listen = args.cluster_listen.unwrap_or(config::DEFAULT_CLUSTER_LISTEN);
    ensure!(
        args.cluster_address.is_some() || !listen.ip().is_unspecified(),
        "others cannot reach {listen}: give --cluster-address HOST:PORT as well"
    );
    Ok(Settings {
        whereabouts: whereabouts(&args.labels, args.cluster_address.clone().unwrap_or_default()),
        data: std::path::absolute(data).context("the node's directory")?,
        devices: args.device.clone(),
        listen,
        admin: args.admin.unwrap_or(config::DEFAULT_ADMIN),
        device,
    })
}

async fn serve(settings: Settings, mut serving: Serving) -> anyhow::Result<ExitCode> {
    let data = DataDir::open(&settings.data)?;
    ensure!(
        data.store_id()?.is_none(),
        "{} is a store of its own, whose `cairn server` serves its devices too",
        data.root().display()
    );
    let mut metrics = Metrics::new();
    let node = ClusterNode::open_as(data.root(), metrics.registry(), Role::Chunkserver).await?;
    let number = node.peer().node;
    let devices = device_list::open(&data, node.cluster(), number, &settings.devices)?;
    let mut chunkserver = ChunkServerConfig::new(number, devices);
    chunkserver.settings = settings.device;
    chunkserver.metrics.register(metrics.registry());
    let chunkserver = Arc::new(ChunkServer::start(chunkserver).await);
    let repair_metrics = cairn_datapath::Metrics::default();
    repair_metrics.register(metrics.registry());
    let addresses = Arc::new(node.addresses().clone());
    chunkserver.start_repairs(node.transport(), addresses, repair_metrics);

    let services = Services::new().with(ChunkServer::KINDS, chunkserver.clone(), REQUESTS_MAX);
    let operators = LocalServer::start(data.root(), number, services.clone())
        .with_context(|| format!("listening for the operator in {}", data.root().display()))?;
    let listener = node.serve(settings.listen, services)?;
    let reporter = start_reporter(&settings, &data, &node, &chunkserver, listener.address())?;
    let served = Arc::new(Served {
        node: number,
        chunkserver,
        metrics,
    });
    let admin = Admin::start(settings.admin, Arc::clone(&served) as _).await?;
    let running = Running {
        pid: std::process::id(),
        endpoint: None,
        admin: format!("http://{}", admin.address),
        ca_bundle: None,
        region: None,
        cluster: Some(listener.address().to_string()),
    };
    running.save(data.root())?;
    announce(&served, &running)
        .await
        .context("writing to standard output")?;
    // A device that has failed is told of elsewhere; the others go on.
    serving.ready(Box::new(|| None));

    serving.told_to_stop().await;
    let stopping = async {
        reporter.stop().await;
        listener.shutdown(DRAIN_DEADLINE).await;
        node.close().await;
        drop(operators);
        admin.stop();
        close(served).await;
    };
    tokio::select! {
        () = stopping => {}
        () = serving.interrupted() => {},
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells the metadata servers of this one.
fn start_reporter(
    settings: &Settings,
    data: &DataDir,
    node: &ClusterNode,
    chunkserver: &Arc<ChunkServer>,
    listens: SocketAddr,
) -> anyhow::Result<Reports> {
    let contacts = Contacts::of(&ClusterDir::of(data.root()))?;
    let mut whereabouts = settings.whereabouts.clone();
    if whereabouts.address.is_empty() {
        whereabouts.address = listens.to_string();
    }
    let way = ReportWay {
        transport: node.transport(),
        addresses: Arc::new(node.addresses().clone()),
        metadata: contacts.announce(node.addresses()),
        learnt: Box::new(move |group| contacts.learn(group)),
    };
    Reports::start(Arc::clone(chunkserver), whereabouts, way)
}

/// Closes the devices, so that the next start has less to read again.
async fn close(served: Arc<Served>) {
    // Whoever still holds a part of it ends with the process, and the next start reads a little more.
    if tokio::task::spawn_blocking(move || drop(served)).await.is_err() {
        tracing::error!("closing the devices has panicked");
    }
}

async fn announce(served: &Served, running: &Running) -> io::Result<()> {
    let devices = served.devices().await;
    let mut out = io::stdout().lock();
    writeln!(out, "node        {}", served.node)?;
    writeln!(
        out,
        "cluster     {} (UDP)",
        running.cluster.as_deref().unwrap_or_default()
    )?;
    writeln!(out, "admin       {}", running.admin)?;
    for device in devices {
        let state = if device.up {
            "up".to_owned()
        } else {
            format!("DOWN: {}", device.reason)
        };
        writeln!(out, "device      {} {} {state}", device.id, device.path)?;
    }
    writeln!(out, "ready")?;
    out.flush()
}

impl Served {
    async fn devices(&self) -> Vec<DeviceState> {
        self.chunkserver.status().await.into_iter().map(device_state).collect()
    }
}

#[async_trait]
impl Observed for Served {
    fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.metrics.text()
    }

    async fn ready(&self) -> Result<(), String> {
        let devices = self.devices().await;
        if devices.iter().any(|device| device.up) {
            return Ok(());
        }
        Err(format!("none of {} devices is up: /status tells why", devices.len()))
    }

    async fn status(&self) -> anyhow::Result<Vec<u8>> {
        let status = ChunkserverStatus::new(self.node.value(), self.devices().await);
        Ok(serde_json::to_vec(&status)?)
    }
}
