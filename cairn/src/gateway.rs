//! `cairn gateway`: the S3 endpoint of a cluster, served by a process of its own.
//!
//! Invariant: it keeps nothing but its session; any number of gateways serve the same buckets.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use cairn_client::Client;
use cairn_common::wire::role::Role;
use cairn_gateway::{Credentials, Gateway, GatewayConfig, GatewayLimits, GatewayMetrics};
use serde::Serialize;

use crate::{
    admin::{Admin, Observed},
    cli::GatewayArgs,
    cluster::{ClusterDir, ClusterNode, Contacts},
    config,
    credentials::{self, RootCredentials},
    data_dir::{self, DataDir},
    metrics::Metrics,
    running::Running,
    serving::{self, Serving},
    tls::{self, Tls},
};

/// How long the readiness check waits.
const READY_DEADLINE: Duration = Duration::from_secs(2);

/// How long requests under way may go on after a signal.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// What the admin address tells about.
struct Served {
    client: Client,
    endpoint: String,
    metrics: Metrics,
}

/// The state of a gateway.
#[derive(Serialize)]
struct GatewayStatus {
    version: &'static str,
    endpoint: String,
    /// Of the cluster map that it goes by.
    epoch: u64,
    buckets: u64,
    objects: u64,
}

pub(crate) fn run(args: &GatewayArgs) -> anyhow::Result<ExitCode> {
    config::check_environment(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
    let log = args.log.as_deref().unwrap_or(config::DEFAULT_LOG);
    serving::run(args.log_format.unwrap_or_default(), log, async |serving| {
        serve(args, serving).await
    })
}

async fn serve(args: &GatewayArgs, mut serving: Serving) -> anyhow::Result<ExitCode> {
    let data = DataDir::open(&std::path::absolute(&args.data).context("the node's directory")?)?;
    ensure!(
        data.store_id()?.is_none(),
        "{} is a store of its own, whose `cairn server` serves S3 too",
        data.root().display()
    );
    let root = credentials::load_or_make(&data_dir::credentials_file(data.root()))?;
    let mut config = gateway_config(args, &root);
    let names = tls::names(config.listen.ip(), &config.virtual_host_domains);
    let tls = Tls::open(&args.tls, data.root(), &names)?;
    let mut metrics = Metrics::new();
    tls.register(metrics.registry());
    config.tls = tls.certificate;
    let node = ClusterNode::open_as(data.root(), metrics.registry(), Role::Client).await?;
    let contacts = Contacts::of(&ClusterDir::of(data.root()))?;
    let datapath_metrics = cairn_datapath::Metrics::default();
    datapath_metrics.register(metrics.registry());
    let client = node
        .client(
            &contacts,
            config::memory_budget_bytes(args.memory_budget_mib)?,
            datapath_metrics,
            false,
        )
        .await?;
    let contacts = tokio::spawn(contacts.keep_fresh(node.transport(), node.addresses().clone())).abort_handle();
    let gateway_metrics = GatewayMetrics::new();
    gateway_metrics.register(metrics.registry());
    let region = config.region.clone();
    let gateway = Gateway::start(config, client.clone(), gateway_metrics).await?;
    let served = Arc::new(Served {
        client: client.clone(),
        endpoint: gateway.endpoint().to_owned(),
        metrics,
    });
    let admin = Admin::start(args.admin.unwrap_or(config::DEFAULT_ADMIN), Arc::clone(&served) as _).await?;
    let running = Running {
        pid: std::process::id(),
        endpoint: Some(served.endpoint.clone()),
        admin: format!("http://{}", admin.address),
        ca_bundle: tls.ca_bundle,
        region: Some(region),
        cluster: None,
    };
    running.save(data.root())?;
    announce(&node, &running, &root).context("writing to standard output")?;
    serving.ready(Box::new(|| None));

    serving.told_to_stop().await;
    contacts.abort();
    let stopping = async {
        gateway.shutdown(DRAIN_DEADLINE).await;
        if let Err(error) = client.close().await {
            tracing::warn!(%error, "the session was not ended; its lease will run out");
        }
        node.close().await;
        admin.stop();
    };
    tokio::select! {
        () = stopping => {}
        () = serving.interrupted() => {},
    }
    Ok(ExitCode::SUCCESS)
}

fn gateway_config(args: &GatewayArgs, root: &RootCredentials) -> GatewayConfig {
    let mut domains = args.virtual_host_domain.clone();
    if domains.is_empty() {
        domains.push(config::DEFAULT_DOMAIN.to_owned());
    }
    let listen: SocketAddr = args.listen.unwrap_or(config::DEFAULT_LISTEN);
    GatewayConfig {
        listen,
        region: args.region.clone().unwrap_or_else(|| config::DEFAULT_REGION.to_owned()),
        credentials: vec![Credentials {
            access_key: root.access_key.clone(),
            secret_key: root.secret_key.clone(),
        }],
        virtual_host_domains: domains,
        tls: None,
        limits: GatewayLimits::default(),
    }
}

fn announce(node: &ClusterNode, running: &Running, root: &RootCredentials) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "node        {}", node.peer().node)?;
    writeln!(out, "endpoint    {}", running.endpoint.as_deref().unwrap_or_default())?;
    if let Some(bundle) = &running.ca_bundle {
        writeln!(
            out,
            "certificate {} (clients trust it with AWS_CA_BUNDLE)",
            bundle.display()
        )?;
    }
    writeln!(out, "admin       {}", running.admin)?;
    writeln!(out, "access key  {}", root.access_key)?;
    writeln!(out, "secret key  {}", root.secret_key)?;
    writeln!(out, "ready")?;
    out.flush()
}

#[async_trait]
impl Observed for Served {
    fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.metrics.text()
    }

    async fn ready(&self) -> Result<(), String> {
        match tokio::time::timeout(READY_DEADLINE, self.client.summary()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the metadata service does not answer".to_owned()),
        }
    }

    async fn status(&self) -> anyhow::Result<Vec<u8>> {
        let summary = self.client.summary().await?;
        let status = GatewayStatus {
            version: env!("CARGO_PKG_VERSION"),
            endpoint: self.endpoint.clone(),
            epoch: self.client.cluster_map().epoch.value(),
            buckets: summary.buckets,
            objects: summary.objects,
        };
        Ok(serde_json::to_vec(&status)?)
    }
}
