//! `cairn metadata`: one member of the metadata service, in a process of its own.
//!
//! Invariant: a member that once had its log never starts without it: it might vote against what it had promised.

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
use cairn_common::{ids::NodeId, limits, wire::role::Role};
use cairn_metadata::{
    CLIENT_KINDS, GROUP_KINDS, LEASE_KINDS, MetadataConfig, MetadataServer, Start, Surroundings, SystemClock,
};
use cairn_transport::{InProcess, LocalServer, NoAddresses, Services};

use super::GroupMetrics;
use crate::{
    admin::{Admin, Observed},
    bootstrap::{self, Bootstrap},
    cli::MetadataServerArgs,
    cluster::{ClusterDir, ClusterMetrics, ClusterNode, Contacts},
    config,
    data_dir::DataDir,
    metrics::Metrics,
    running::Running,
    serving::{self, Serving},
};

/// Requests of clients under way at once.
const CLIENT_REQUESTS_MAX: usize = 16_384;

/// Requests of other members and of operators under way at once: clients never take their places.
const GROUP_REQUESTS_MAX: usize = 256;

/// How long the readiness check waits.
const READY_DEADLINE: Duration = Duration::from_secs(2);

/// How long requests under way may go on after a signal.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// Megabytes of commands between two snapshots, where nothing else is said.
const DEFAULT_SNAPSHOT_MIB: u64 = 64;

/// What the process runs with.
struct Settings {
    data: PathBuf,
    listen: SocketAddr,
    address: String,
    admin: SocketAddr,
    memory_bytes: usize,
    snapshot_bytes: u64,
}

/// What the admin address tells about.
struct Member {
    server: MetadataServer,
    metrics: Metrics,
}

pub(super) fn run(args: &MetadataServerArgs) -> anyhow::Result<ExitCode> {
    let settings = settings(args)?;
    let log = args.log.as_deref().unwrap_or(config::DEFAULT_LOG);
    serving::run(args.log_format.unwrap_or_default(), log, async |serving| {
        serve(settings, serving).await
    })
}

fn settings(args: &MetadataServerArgs) -> anyhow::Result<Settings> {
    config::check_environment(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
    let data = args.data.clone();
    let data = data.context("--data DIR is missing: the node's directory, made by `cairn cluster init` or `join`")?;
    let listen = args.cluster_listen.unwrap_or(config::DEFAULT_CLUSTER_LISTEN);
    let address = match &args.cluster_address {
        Some(address) => address.clone(),
        None => {
            ensure!(
                !listen.ip().is_unspecified() && listen.port() != 0,
                "others cannot reach {listen}: give --cluster-address HOST:PORT as well"
            );
            listen.to_string()
        }
    };
    let memory_mib = args.memory_mib.unwrap_or(limits::METADATA_MEMORY_BYTES >> 20);
    Ok(Settings {
        data,
        listen,
        address,
        admin: args.admin.unwrap_or(config::DEFAULT_ADMIN),
        memory_bytes: memory_mib << 20,
        snapshot_bytes: args.snapshot_mib.unwrap_or(DEFAULT_SNAPSHOT_MIB).max(1) << 20,
    })
}

async fn serve(settings: Settings, mut serving: Serving) -> anyhow::Result<ExitCode> {
    let data = DataDir::open(&settings.data)?;
    ensure!(
        data.store_id()?.is_none(),
        "{} is a store of its own, whose `cairn server` runs the metadata service too",
        data.root().display()
    );
    let mut metrics = Metrics::new();
    let node = ClusterNode::open_as(data.root(), metrics.registry(), Role::Metadata).await?;
    let server = start_server(&settings, &data, &node).await?;
    server.metrics().register(metrics.registry());
    GroupMetrics::register(metrics.registry(), server.clone(), data.metadata());
    let looks = ClusterMetrics::start(metrics.registry(), Arc::new(server.clone()));
    let services = Services::new()
        .with(CLIENT_KINDS, Arc::new(server.clone()), CLIENT_REQUESTS_MAX)
        .with(LEASE_KINDS, Arc::new(server.clone()), limits::MOUNTS_MAX)
        .with(GROUP_KINDS, Arc::new(server.clone()), GROUP_REQUESTS_MAX);
    let operators = LocalServer::start(data.root(), node.peer().node, services.clone())
        .with_context(|| format!("listening for the operator in {}", data.root().display()))?;
    let listener = node.serve(settings.listen, services)?;
    let contacts = Contacts::keep_of_member(data.root(), &node, listener.address().to_string());
    let member = Arc::new(Member { server, metrics });
    let admin = Admin::start(settings.admin, Arc::clone(&member) as _).await?;
    let running = Running {
        pid: std::process::id(),
        endpoint: None,
        admin: format!("http://{}", admin.address),
        ca_bundle: None,
        region: None,
        cluster: Some(listener.address().to_string()),
    };
    running.save(data.root())?;
    announce(&node, &running).context("writing to standard output")?;
    let watched = member.server.clone();
    serving.ready(Box::new(move || watched.failed().map(str::to_owned)));

    serving.told_to_stop().await;
    let stopping = async {
        // First, so that leadership has moved before requests are refused.
        member
            .server
            .shutdown()
            .await
            .context("stopping the metadata service")?;
        contacts.abort();
        looks.abort();
        listener.shutdown(DRAIN_DEADLINE).await;
        node.close().await;
        drop(operators);
        admin.stop();
        anyhow::Ok(())
    };
    tokio::select! {
        stopped = stopping => stopped?,
        () = serving.interrupted() => {},
    }
    Ok(ExitCode::SUCCESS)
}

async fn start_server(settings: &Settings, data: &DataDir, node: &ClusterNode) -> anyhow::Result<MetadataServer> {
    let config = MetadataConfig {
        cluster: node.cluster(),
        address: settings.address.clone(),
        start: first_start(data)?,
        memory_bytes: settings.memory_bytes,
        snapshot_bytes: settings.snapshot_bytes,
        ..MetadataConfig::new(data.metadata(), node.peer().node)
    };
    let surroundings = Surroundings {
        transport: Arc::new(InProcess::new().with_others(node.transport())),
        addresses: Arc::new(node.addresses().clone()),
        clock: Arc::new(SystemClock),
    };
    let server = MetadataServer::start(config, surroundings).await;
    let server = server.context("starting the metadata service")?;
    if let [only] = server.status().members.as_slice() {
        // Nobody else has to understand what this program does.
        let only = NodeId::new(only.node);
        let itself = InProcess::new().with_service(only, CLIENT_KINDS, Arc::new(server.clone()), 1);
        let service = Bootstrap {
            transport: &itself,
            addresses: &NoAddresses,
            server: only,
        };
        bootstrap::ensure_feature_level(&service).await?;
    }
    Ok(server)
}

/// How a member begins where its log is empty: the first node makes the group, every other waits to be added.
fn first_start(data: &DataDir) -> anyhow::Result<Start> {
    let path = data.metadata();
    ensure!(
        path.exists() || Running::load(data.root()).is_err(),
        "{} is missing, though a member ran here before: it cannot come back without what it promised. Take it out of the \
         group (`cairn metadata remove`), join a new node and add that, or restore the directory",
        path.display()
    );
    let directory = ClusterDir::of(data.root());
    directory.check_restored()?;
    Ok(if directory.is_first()? {
        Start::Alone
    } else {
        Start::Join
    })
}

fn announce(node: &ClusterNode, running: &Running) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "node        {}", node.peer().node)?;
    writeln!(
        out,
        "cluster     {} (UDP)",
        running.cluster.as_deref().unwrap_or_default()
    )?;
    writeln!(out, "admin       {}", running.admin)?;
    writeln!(out, "ready")?;
    out.flush()
}

#[async_trait]
impl Observed for Member {
    fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.metrics.text()
    }

    async fn ready(&self) -> Result<(), String> {
        if let Some(reason) = self.server.failed() {
            return Err(reason.to_owned());
        }
        if self.server.ready(READY_DEADLINE).await {
            return Ok(());
        }
        Err("no leader is known, or the state is behind".to_owned())
    }

    async fn status(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec(&super::group::state(&self.server.status()))?)
    }
}
