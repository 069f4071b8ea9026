//! `cairn server`: metadata, chunkserver, client and gateway in one process over the in-process carrier.
//!
//! Owns the order of start and stop. Invariant: the endpoint is announced only once it serves; at the end requests under way
//! are finished before the parts below them stop.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use cairn_chunkserver::{ChunkServer, ChunkServerConfig};
use cairn_client::{Client, ClientConfig};
use cairn_common::{cluster_map::ClusterMap, ids::ServerId, redundancy::Redundancy, wire::kind::RequestKind};
use cairn_datapath::ChunkBudget;
use cairn_gateway::{Credentials, Gateway, GatewayConfig, GatewayLimits, GatewayMetrics};
use cairn_metadata::{MetadataConfig, MetadataServer};
use cairn_transport::{InProcess, Transport};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    admin::Admin,
    bootstrap,
    cli::ServerArgs,
    config::{self, ServerConfig},
    credentials::{self, RootCredentials},
    data_dir::{self, DataDir},
    logging,
    metrics::Metrics,
    running::Running,
    status::{DeviceState, Health, Status},
};

/// All parts of a store in one process are one server to each other.
const SERVER: ServerId = ServerId::new(1);

/// Shard requests under way at once: more wait at their writers and readers.
const SHARD_REQUESTS_MAX: usize = 4096;

/// Metadata requests under way at once.
const METADATA_REQUESTS_MAX: usize = 16_384;

/// How long requests under way may go on after a signal.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// How long the readiness check waits.
const READY_DEADLINE: Duration = Duration::from_secs(2);

/// The parts that the admin address tells about.
pub(crate) struct Parts {
    client: Client,
    chunkserver: Arc<ChunkServer>,
    metadata: Arc<MetadataServer>,
    datapath_metrics: cairn_datapath::Metrics,
    redundancy: Redundancy,
    endpoint: String,
    pub(crate) metrics: Metrics,
}

pub(crate) fn run(args: ServerArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(args)?;
    logging::start(config.log_format, &config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: ServerConfig) -> anyhow::Result<ExitCode> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let data = DataDir::open(&config.data)?;
    let mut identity = data.identity(&config)?;
    let redundancy = identity.redundancy()?;
    let root = credentials::load_or_make(&data_dir::credentials_file(data.root()))?;
    let devices = data.devices(&identity)?;

    let chunkserver_config = ChunkServerConfig::new(SERVER, devices.clone());
    let chunkserver_metrics = chunkserver_config.metrics.clone();
    let chunkserver = Arc::new(ChunkServer::start(chunkserver_config).await);
    let shards = InProcess::new().with_service(SERVER, ChunkServer::KINDS, chunkserver.clone(), SHARD_REQUESTS_MAX);
    let metadata_config = MetadataConfig::new(data.metadata(), SERVER);
    let metadata = MetadataServer::start(metadata_config, Arc::new(shards.clone())).await;
    let metadata = Arc::new(metadata.context("starting the metadata service")?);
    let kinds = [RequestKind::MetadataWrite, RequestKind::MetadataRead];
    let all = shards.with_service(SERVER, &kinds, metadata.clone(), METADATA_REQUESTS_MAX);
    let transport: Arc<dyn Transport> = Arc::new(all);

    let map = bootstrap::ensure_map(transport.as_ref(), SERVER, &devices, redundancy).await?;
    data.finish_first_start(&mut identity)?;

    let datapath_metrics = cairn_datapath::Metrics::default();
    let client = Client::connect(ClientConfig {
        metadata: vec![SERVER],
        transport,
        default_redundancy: redundancy,
        budget: ChunkBudget::new(config.memory_budget_bytes),
        metrics: datapath_metrics.clone(),
    });
    let client = client.await.context("opening a session with the metadata service")?;
    let gateway_metrics = GatewayMetrics::new();
    let gateway = Gateway::start(gateway_config(&config, &root), client.clone(), gateway_metrics.clone()).await?;

    let mut metrics = Metrics::new();
    datapath_metrics.register(metrics.registry());
    chunkserver_metrics.register(metrics.registry());
    metadata.metrics().register(metrics.registry());
    gateway_metrics.register(metrics.registry());
    let endpoint = format!("http://{}", gateway.local_addr());
    let parts = Parts {
        client,
        chunkserver,
        metadata,
        datapath_metrics,
        redundancy,
        endpoint,
        metrics,
    };
    let parts = Arc::new(parts);
    let admin = Admin::start(config.admin, Arc::clone(&parts)).await?;
    let running = Running {
        pid: std::process::id(),
        endpoint: parts.endpoint.clone(),
        admin: format!("http://{}", admin.address),
        region: config.region.clone(),
    };
    running.save(data.root())?;
    announce(&running, &root, redundancy, &map).context("writing to standard output")?;

    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
    }
    let stopping = stop(gateway, &parts, &admin);
    tokio::select! {
        stopped = stopping => stopped?,
        _ = interrupt.recv() => tracing::warn!("stopping at once on a second SIGINT; unfinished requests are lost"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Finishes what is under way, top down.
async fn stop(gateway: Gateway, parts: &Parts, admin: &Admin) -> anyhow::Result<()> {
    gateway.shutdown(DRAIN_DEADLINE).await;
    if let Err(error) = parts.client.close().await {
        tracing::warn!(%error, "the session was not ended; its lease will run out");
    }
    admin.stop();
    parts
        .metadata
        .shutdown()
        .await
        .context("stopping the metadata service")?;
    tracing::info!("stopped");
    Ok(())
}

fn gateway_config(config: &ServerConfig, root: &RootCredentials) -> GatewayConfig {
    let credentials = Credentials {
        access_key: root.access_key.clone(),
        secret_key: root.secret_key.clone(),
    };
    GatewayConfig {
        listen: config.listen,
        region: config.region.clone(),
        credentials: vec![credentials],
        virtual_host_domains: config.virtual_host_domains.clone(),
        limits: GatewayLimits::default(),
    }
}

fn announce(running: &Running, root: &RootCredentials, redundancy: Redundancy, map: &ClusterMap) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "endpoint    {}", running.endpoint)?;
    writeln!(out, "admin       {}", running.admin)?;
    writeln!(out, "access key  {}", root.access_key)?;
    writeln!(out, "secret key  {}", root.secret_key)?;
    writeln!(out, "redundancy  {redundancy} over {} devices", map.devices.len())?;
    for remark in domain_remarks(redundancy, map) {
        writeln!(out, "note        {remark}")?;
    }
    writeln!(
        out,
        "try         AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} AWS_REGION={} aws --endpoint-url {} s3 mb s3://first",
        root.access_key, root.secret_key, running.region, running.endpoint
    )?;
    writeln!(out, "ready")?;
    out.flush()
}

/// What the user should know about how independent the devices are.
fn domain_remarks(redundancy: Redundancy, map: &ClusterMap) -> Vec<String> {
    let (devices, disks) = (map.devices.len(), map.disk_count());
    let mut remarks = Vec::new();
    if redundancy.tolerance() == 0 {
        remarks.push("one copy of everything: the loss of a device loses its data".to_owned());
    } else if disks == 1 {
        remarks.push(format!(
            "all {devices} device directories are on one disk and are one failure domain: {redundancy} protects from \
             damaged or deleted files, not from the loss of that disk"
        ));
    } else if disks < redundancy.width() {
        remarks.push(format!(
            "{devices} device directories are on {disks} disks: the loss of one disk can take several shards of {redundancy}"
        ));
    }
    remarks
}

impl Parts {
    /// Whether requests are served; if not, why.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        if let Some(reason) = self.metadata.failed() {
            return Err(reason.to_owned());
        }
        match tokio::time::timeout(READY_DEADLINE, self.client.summary()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the metadata service does not answer".to_owned()),
        }
    }

    pub(crate) async fn status(&self) -> anyhow::Result<Status> {
        let summary = self.client.summary().await?;
        let devices: Vec<DeviceState> = self.chunkserver.status().await.into_iter().map(device_state).collect();
        let map = self.client.cluster_map();
        let down = devices.iter().filter(|device| !device.up).count();
        let mut remarks = domain_remarks(self.redundancy, &map);
        if down > 0 {
            remarks.insert(0, format!("{down} of {} devices are down", devices.len()));
        }
        let health = match down {
            0 => Health::Good,
            down if down <= self.redundancy.tolerance() => Health::Degraded,
            _ => Health::Failed,
        };
        Ok(Status {
            health,
            remarks,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            endpoint: self.endpoint.clone(),
            redundancy: self.redundancy.to_string(),
            tolerance: self.redundancy.tolerance(),
            disks: map.disk_count(),
            buckets: summary.buckets,
            objects: summary.objects,
            object_bytes: summary.object_bytes,
            release_pending: summary.release_pending,
            corrupt_shards: self.datapath_metrics.corrupt_shards(),
            degraded_reads: self.datapath_metrics.degraded_reads(),
            devices,
        })
    }
}

fn device_state(device: cairn_common::wire::shard::DeviceStatus) -> DeviceState {
    DeviceState {
        id: device.device,
        path: device.path,
        up: device.up,
        reason: device.reason,
        total_bytes: device.total_bytes,
        free_bytes: device.free_bytes,
        used_bytes: device.used_bytes,
    }
}
