//! `cairn server`: metadata, chunkserver, client and gateway in one process over the in-process carrier.
//!
//! Owns the order of start and stop. Invariant: the endpoint is announced only once it serves; at the end requests under way
//! are finished before the parts below them stop.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use cairn_chunkserver::{ChunkServer, ChunkServerConfig, DeviceConfig};
use cairn_client::{Client, ClientConfig};
use cairn_common::{cluster_map::ClusterMap, ids::NodeId, limits, redundancy::Redundancy};
use cairn_datapath::ChunkBudget;
use cairn_gateway::{Credentials, Gateway, GatewayConfig, GatewayLimits, GatewayMetrics, ServerCertificate};
use cairn_metadata::{CLIENT_KINDS, GROUP_KINDS, LEASE_KINDS};
use cairn_transport::{Addresses, InProcess, LocalServer, NoAddresses, Services, Transport};
use prometheus_client::registry::Registry;
use tokio::task::AbortHandle;

use crate::{
    admin::Admin,
    bootstrap::{self, Bootstrap},
    cli::{LabelArgs, ServerArgs},
    cluster::{ClusterDir, ClusterListener, ClusterMetrics, ClusterNode, Contacts, ReportWay, Reports, whereabouts},
    config::{self, ServerConfig},
    credentials::{self, RootCredentials},
    data_dir::{self, DataDir},
    metadata::GroupMetrics,
    metrics::Metrics,
    parts::{Parts, domain_remarks},
    running::Running,
    serving::{self, Failed, Serving},
    tls::{self, Tls},
    voters::{self, Setup, Voters},
};

/// All parts of a store in one process are one server to each other.
const SERVER: NodeId = NodeId::new(1);

/// Shard requests under way at once: more wait at their writers and readers.
const SHARD_REQUESTS_MAX: usize = 4096;

/// Metadata requests under way at once.
const METADATA_REQUESTS_MAX: usize = 16_384;

/// Requests of other metadata servers and of operators under way at once.
const GROUP_REQUESTS_MAX: usize = 256;

/// How long requests under way may go on after a signal.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: ServerArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(args)?;
    let (format, log) = (config.log_format, config.log.clone());
    serving::run(format, &log, async |serving| serve(config, serving).await)
}

async fn serve(config: ServerConfig, mut serving: Serving) -> anyhow::Result<ExitCode> {
    let data = DataDir::open(&config.data)?;
    let cluster = ClusterDir::of(data.root()).serving_cluster()?;
    let comes_from_elsewhere = voters::comes_from_elsewhere(&data, &config.devices)?;
    let mut identity = data.identity(&config, cluster, comes_from_elsewhere)?;
    let redundancy = identity.redundancy()?;
    let root = credentials::load_or_make(&data_dir::credentials_file(data.root()))?;
    let devices = data.devices(&identity)?;
    let mut metrics = Metrics::new();
    let tls = open_tls(&config, &data, metrics.registry())?;
    let node = ClusterNode::open(data.root(), metrics.registry()).await?;

    let chunkserver = start_chunkserver(&config, &devices, &mut metrics).await;
    let shards = way_to_shards(&chunkserver, node.as_ref());
    let metadata = start_metadata(&config, &data, node.as_ref(), &chunkserver, &shards, redundancy).await?;
    let transport = way_to_all(shards, &metadata);
    let addresses = addresses(node.as_ref());
    let repair_metrics = cairn_datapath::Metrics::default();
    chunkserver.start_repairs(Arc::clone(&transport), Arc::clone(&addresses), repair_metrics);

    let outer = outer_services(&chunkserver, &metadata);
    let operators = answer_operators(&data, outer.clone())?;
    // Before the metadata service is asked anything: its other members may need this one to have a leader at all.
    let listener = (node.as_ref().map(|node| node.serve(config.cluster_listen, outer))).transpose()?;

    let map = prepare(&metadata, &transport, &addresses, &devices, redundancy).await?;
    data.finish_first_start(&mut identity)?;

    let datapath_metrics = cairn_datapath::Metrics::default();
    let learns = node.as_ref().map(|_| Arc::clone(&addresses));
    let client = connect(&config, &transport, learns, redundancy, &datapath_metrics).await?;
    let gateway_metrics = GatewayMetrics::new();
    let gateway_config = gateway_config(&config, &root, tls.certificate);
    let gateway = Gateway::start(gateway_config, client.clone(), gateway_metrics.clone()).await?;
    let counted = (&datapath_metrics, &gateway_metrics);
    let looks = register_metrics(metrics.registry(), &data, &metadata, counted)?;
    let contacts = (node.as_ref().zip(listener.as_ref())).map(|outward| keep_contacts(&data, outward));
    let reports = start_reports(&config.labels, listener.as_ref(), &chunkserver, transport, addresses)?;
    let parts = Arc::new(Parts {
        client,
        chunkserver,
        metadata,
        datapath_metrics,
        redundancy,
        endpoint: gateway.endpoint().to_owned(),
        metrics,
    });
    let admin = Admin::start(config.admin, Arc::clone(&parts) as _).await?;
    let running = running(&config, &parts, &admin, listener.as_ref(), tls.ca_bundle);
    running.save(data.root())?;
    announce(&running, &root, redundancy, &map).context("writing to standard output")?;
    serving.ready(watched(Arc::clone(&parts.metadata)));

    serving.told_to_stop().await;
    drop(operators);
    contacts.iter().chain([&looks]).for_each(AbortHandle::abort);
    tokio::select! {
        stopped = stop(gateway, node.zip(listener).zip(reports), &parts, &admin) => stopped?,
        () = serving.interrupted() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings the metadata to what this program and its settings need, and gives the map in force.
async fn prepare(
    metadata: &Voters,
    transport: &Arc<dyn Transport>,
    addresses: &Arc<dyn Addresses>,
    devices: &[DeviceConfig],
    redundancy: Redundancy,
) -> anyhow::Result<ClusterMap> {
    let service = Bootstrap {
        transport: transport.as_ref(),
        addresses: addresses.as_ref(),
        server: SERVER,
    };
    if metadata.are_all() {
        // Nobody else has to understand what this program does.
        bootstrap::ensure_feature_level(&service).await?;
    }
    bootstrap::ensure_map(&service, devices, redundancy).await
}

/// What a service manager is to know of the process: its metadata server is the one part that can fail for good.
fn watched(metadata: Arc<Voters>) -> Failed {
    Box::new(move || metadata.failed())
}

/// Has the parts tell what they count; the task that looks at the cluster.
fn register_metrics(
    registry: &mut Registry,
    data: &DataDir,
    metadata: &Voters,
    (datapath, gateway): (&cairn_datapath::Metrics, &GatewayMetrics),
) -> anyhow::Result<AbortHandle> {
    let shown = metadata.shown().context("no metadata server runs")?;
    datapath.register(registry);
    shown.metrics().register(registry);
    gateway.register(registry);
    GroupMetrics::register(registry, shown.clone(), data.metadata());
    Ok(ClusterMetrics::start(registry, Arc::new(shown)))
}

/// Keeps whom an operator's command can ask while this process does not run.
fn keep_contacts(data: &DataDir, (node, listener): (&ClusterNode, &ClusterListener)) -> AbortHandle {
    Contacts::keep_of_member(data.root(), node, listener.address().to_string())
}

/// What learns where other nodes are called.
fn addresses(node: Option<&ClusterNode>) -> Arc<dyn Addresses> {
    match node {
        Some(node) => Arc::new(node.addresses().clone()),
        None => Arc::new(NoAddresses),
    }
}

/// The way to the shards of this process, and to those of other nodes where it is one.
fn way_to_shards(chunkserver: &Arc<ChunkServer>, node: Option<&ClusterNode>) -> InProcess {
    let own = InProcess::new().with_service(SERVER, ChunkServer::KINDS, chunkserver.clone(), SHARD_REQUESTS_MAX);
    match node {
        Some(node) => own.with_others(node.transport()),
        None => own,
    }
}

fn way_to_all(shards: InProcess, metadata: &Arc<Voters>) -> Arc<dyn Transport> {
    let all = shards
        .with_service(SERVER, CLIENT_KINDS, metadata.clone(), METADATA_REQUESTS_MAX)
        .with_service(SERVER, GROUP_KINDS, metadata.clone(), GROUP_REQUESTS_MAX);
    Arc::new(all)
}

/// The devices are told of as those of any chunkserver: so the store can grow into a cluster of machines.
fn start_reports(
    labels: &LabelArgs,
    listener: Option<&ClusterListener>,
    chunkserver: &Arc<ChunkServer>,
    transport: Arc<dyn Transport>,
    addresses: Arc<dyn Addresses>,
) -> anyhow::Result<Option<Reports>> {
    let Some(listener) = listener else {
        return Ok(None);
    };
    let whereabouts = whereabouts(labels, listener.address().to_string());
    let way = ReportWay {
        transport,
        addresses,
        metadata: vec![SERVER],
        learnt: Box::new(|_| {}),
    };
    Reports::start(Arc::clone(chunkserver), whereabouts, way).map(Some)
}

async fn connect(
    config: &ServerConfig,
    transport: &Arc<dyn Transport>,
    addresses: Option<Arc<dyn Addresses>>,
    redundancy: Redundancy,
    metrics: &cairn_datapath::Metrics,
) -> anyhow::Result<Client> {
    let settings = ClientConfig {
        metadata: vec![SERVER],
        transport: Arc::clone(transport),
        addresses,
        default_redundancy: Some(redundancy),
        budget: ChunkBudget::new(config.memory_budget_bytes),
        metrics: metrics.clone(),
        mounts: false,
    };
    let client = Client::connect(settings).await;
    client.context("opening a session with the metadata service")
}

async fn start_chunkserver(config: &ServerConfig, devices: &[DeviceConfig], metrics: &mut Metrics) -> Arc<ChunkServer> {
    let mut chunkserver = ChunkServerConfig::new(SERVER, devices.to_vec());
    if let Some(bytes) = config.device_memory_bytes {
        chunkserver.settings.memory_bytes = bytes;
    }
    chunkserver.metrics.register(metrics.registry());
    Arc::new(ChunkServer::start(chunkserver).await)
}

/// What other programs on this machine are told.
fn running(
    config: &ServerConfig,
    parts: &Parts,
    admin: &Admin,
    listener: Option<&ClusterListener>,
    ca_bundle: Option<PathBuf>,
) -> Running {
    Running {
        pid: std::process::id(),
        endpoint: Some(parts.endpoint.clone()),
        admin: format!("http://{}", admin.address),
        ca_bundle,
        region: Some(config.region.clone()),
        cluster: listener.map(|listener| listener.address().to_string()),
    }
}

/// The metadata service of the process; as a node of a cluster it can be one of several members.
async fn start_metadata(
    config: &ServerConfig,
    data: &DataDir,
    node: Option<&ClusterNode>,
    chunkserver: &ChunkServer,
    shards: &InProcess,
    redundancy: Redundancy,
) -> anyhow::Result<Arc<Voters>> {
    let listen = config.cluster_listen;
    let is_called = node.is_some() && !listen.ip().is_unspecified() && listen.port() != 0;
    let setup = Setup {
        root: data.root(),
        metadata: data.metadata(),
        server: SERVER,
        cluster: node.map(|node| (node.cluster(), Arc::new(node.addresses().clone()) as _)),
        address: if is_called { listen.to_string() } else { String::new() },
        shards: shards.clone(),
        devices: &chunkserver.status().await,
        tolerance: redundancy.tolerance(),
    };
    Voters::start(setup).await
}

/// Answers the commands of whoever may read the directory.
fn answer_operators(data: &DataDir, services: Services) -> anyhow::Result<LocalServer> {
    let root = data.root();
    LocalServer::start(root, SERVER, services)
        .with_context(|| format!("listening for the operator in {}", root.display()))
}

/// What other nodes may ask of this one.
fn outer_services(chunkserver: &Arc<ChunkServer>, metadata: &Arc<Voters>) -> Services {
    Services::new()
        .with(ChunkServer::KINDS, chunkserver.clone(), SHARD_REQUESTS_MAX)
        .with(CLIENT_KINDS, metadata.clone(), METADATA_REQUESTS_MAX)
        .with(LEASE_KINDS, metadata.clone(), limits::MOUNTS_MAX)
        .with(GROUP_KINDS, metadata.clone(), GROUP_REQUESTS_MAX)
}

/// Finishes what is under way, top down.
async fn stop(
    gateway: Gateway,
    outward: Option<((ClusterNode, ClusterListener), Reports)>,
    parts: &Parts,
    admin: &Admin,
) -> anyhow::Result<()> {
    gateway.shutdown(DRAIN_DEADLINE).await;
    let mut own = None;
    if let Some(((node, listener), reports)) = outward {
        reports.stop().await;
        listener.shutdown(DRAIN_DEADLINE).await;
        own = Some(node);
    }
    if let Err(error) = parts.client.close().await {
        tracing::warn!(%error, "the session was not ended; its lease will run out");
    }
    admin.stop();
    parts.chunkserver.stop_repairs();
    parts
        .metadata
        .shutdown()
        .await
        .context("stopping the metadata service")?;
    if let Some(node) = own {
        node.close().await;
    }
    tracing::info!("stopped");
    Ok(())
}

fn open_tls(config: &ServerConfig, data: &DataDir, registry: &mut Registry) -> anyhow::Result<Tls> {
    let names = tls::names(config.listen.ip(), &config.virtual_host_domains);
    let tls = Tls::open(&config.tls, data.root(), &names)?;
    tls.register(registry);
    Ok(tls)
}

fn gateway_config(config: &ServerConfig, root: &RootCredentials, tls: Option<ServerCertificate>) -> GatewayConfig {
    let credentials = Credentials {
        access_key: root.access_key.clone(),
        secret_key: root.secret_key.clone(),
    };
    GatewayConfig {
        listen: config.listen,
        region: config.region.clone(),
        credentials: vec![credentials],
        virtual_host_domains: config.virtual_host_domains.clone(),
        tls,
        limits: GatewayLimits::default(),
    }
}

fn announce(running: &Running, root: &RootCredentials, redundancy: Redundancy, map: &ClusterMap) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (endpoint, region) = (
        running.endpoint.as_deref().unwrap_or_default(),
        running.region.as_deref().unwrap_or_default(),
    );
    writeln!(out, "endpoint    {endpoint}")?;
    let mut trust = String::new();
    if let Some(bundle) = &running.ca_bundle {
        writeln!(
            out,
            "certificate {} (clients trust it with AWS_CA_BUNDLE)",
            bundle.display()
        )?;
        trust = format!("AWS_CA_BUNDLE={} ", bundle.display());
    }
    writeln!(out, "admin       {}", running.admin)?;
    if let Some(cluster) = &running.cluster {
        writeln!(out, "cluster     {cluster} (UDP, for other nodes)")?;
    }
    writeln!(out, "access key  {}", root.access_key)?;
    writeln!(out, "secret key  {}", root.secret_key)?;
    writeln!(out, "redundancy  {redundancy} over {} devices", map.devices.len())?;
    for remark in domain_remarks(redundancy, map) {
        writeln!(out, "note        {remark}")?;
    }
    writeln!(
        out,
        "try         {trust}AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} AWS_REGION={} aws --endpoint-url {} s3 mb s3://first",
        root.access_key, root.secret_key, region, endpoint
    )?;
    writeln!(out, "ready")?;
    out.flush()
}
