//! `cairn mount`: a bucket as a directory of this machine, served by a process of its own.
//!
//! Invariant: it ends only after what can be stored of what programs wrote is stored.

mod background;
pub(crate) mod fstab;
mod observed;
mod options;
mod table;

use std::{
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use cairn_client::Client;
use cairn_common::wire::role::Role;
use cairn_fuse_client::{Mount, MountSettings};

use self::{observed::Observed, options::MountOptions};
use crate::{
    admin::Admin,
    cli::{MountArgs, MountCommand, MountSettingsArgs, MountStatusArgs},
    cluster::{ClusterDir, ClusterNode, Contacts},
    config,
    data_dir::DataDir,
    metrics::Metrics,
    running::Running,
    serving::{self, Serving},
    status,
};

/// How long threads that talk to the kernel are waited for at the end.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(1);

/// Where it tells of itself where nothing else is said: a machine may have many mounts.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Of the memory for data on its way, the part for bytes that programs wrote and that wait to be stored.
const DIRTY_PART: usize = 4;

pub(crate) fn run(args: &MountArgs) -> anyhow::Result<ExitCode> {
    let settings = &args.settings;
    match (&args.command, &args.source, &args.directory) {
        (Some(MountCommand::Status(args)), ..) => status(args),
        (None, Some(source), Some(directory)) => run_mount(&What { source, directory }, settings),
        // The command line asks for both.
        _ => bail!("say what to mount, and where"),
    }
}

/// What is mounted, and where.
struct What<'a> {
    source: &'a str,
    directory: &'a Path,
}

fn status(args: &MountStatusArgs) -> anyhow::Result<ExitCode> {
    match &args.data {
        Some(data) => status::show(data, args.json),
        None => table::show(args.json),
    }
}

fn run_mount(what: &What<'_>, args: &MountSettingsArgs) -> anyhow::Result<ExitCode> {
    config::check_environment(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
    let options = MountOptions::parse(&args.options)?;
    if args.background {
        return background::run(&data_dir(args, &options)?);
    }
    let log = args.log.as_deref().unwrap_or(config::DEFAULT_LOG);
    let runtime = serving::runtime(args.log_format.unwrap_or_default(), log)?;
    let ended = runtime.block_on(async { serve(what, args, options, Serving::begin()?).await });
    // What still waits for the kernel, which a mount that is in use may keep waiting for ever, is left behind.
    runtime.shutdown_timeout(LEFT_BEHIND_AFTER);
    ended
}

async fn serve(
    what: &What<'_>,
    args: &MountSettingsArgs,
    options: MountOptions,
    mut serving: Serving,
) -> anyhow::Result<ExitCode> {
    let data = data_dir(args, &options)?;
    let directory = std::path::absolute(what.directory).context("where to mount")?;
    if args.detached {
        background::detach()?;
    }
    let data = open(&data, &directory)?;
    let memory_bytes = config::memory_budget_bytes(args.memory_budget_mib)?;
    let mut metrics = Metrics::new();
    let (node, client) = connect(data.root(), memory_bytes - memory_bytes / DIRTY_PART, &mut metrics).await?;
    let contacts = Contacts::of(&ClusterDir::of(data.root()))?;
    let contacts = tokio::spawn(contacts.keep_fresh(node.transport(), node.addresses().clone())).abort_handle();
    let counters = cairn_fuse_client::Metrics::default();
    counters.register(metrics.registry());
    let what = What {
        directory: &directory,
        ..*what
    };
    let mut mount = mount(&client, &what, &options, memory_bytes / DIRTY_PART, counters).await?;
    let listen = args.admin.or(options.admin).unwrap_or(ADMIN);
    let observed = Observed::new(metrics, &mount, what.source, &directory);
    let admin = Admin::start(listen, Arc::new(observed)).await?;
    running(&admin).save(data.root())?;
    announce(&node, what.source, &directory).context("writing to standard output")?;
    serving.ready(Box::new(|| None));

    let unmounted = tokio::select! {
        ended = mount.ended() => Some(ended),
        () = serving.told_to_stop() => None,
    };
    let stopping = async {
        match unmounted {
            Some(ended) => {
                tracing::info!("stopping, since it was unmounted");
                mount.finish().await;
                ended
            }
            None => {
                mount.stop().await;
                Ok(())
            }
        }
    };
    let ended = tokio::select! {
        ended = stopping => ended,
        () = serving.interrupted() => Ok(()),
    };
    contacts.abort();
    admin.stop();
    if let Err(error) = client.close().await {
        tracing::warn!(%error, "the session was not ended; its lease will run out");
    }
    node.close().await;
    ended.context("talking to the kernel")?;
    Ok(ExitCode::SUCCESS)
}

/// The node's directory, where one can mount on `directory`.
fn open(data: &Path, directory: &Path) -> anyhow::Result<DataDir> {
    ensure!(
        directory.is_dir(),
        "{} is no directory to mount on",
        directory.display()
    );
    let data = DataDir::open(data)?;
    ensure!(
        data.store_id()?.is_none(),
        "{} is the directory of a store: a mount has one of its own, made by `cairn cluster join`",
        data.root().display()
    );
    Ok(data)
}

fn data_dir(args: &MountSettingsArgs, options: &MountOptions) -> anyhow::Result<PathBuf> {
    let data = options.data.as_ref().or(args.data.as_ref());
    let data = data.context("the directory of the node is missing: --data DIR, or -o data=DIR")?;
    std::path::absolute(data).context("the node's directory")
}

async fn connect(data: &Path, chunk_bytes: usize, metrics: &mut Metrics) -> anyhow::Result<(ClusterNode, Client)> {
    let node = ClusterNode::open_as(data, metrics.registry(), Role::Client).await?;
    let contacts = Contacts::of(&ClusterDir::of(data))?;
    let counters = cairn_datapath::Metrics::default();
    counters.register(metrics.registry());
    let client = node.client(&contacts, chunk_bytes, counters, true).await?;
    Ok((node, client))
}

async fn mount(
    client: &Client,
    what: &What<'_>,
    options: &MountOptions,
    dirty_bytes_max: usize,
    metrics: cairn_fuse_client::Metrics,
) -> anyhow::Result<Mount> {
    let (bucket, path) = what.source.split_once('/').unwrap_or((what.source, ""));
    let files = client.files(bucket, options.patience).await;
    let files = files.with_context(|| format!("the bucket {bucket:?}"))?;
    let settings = MountSettings {
        dirty_bytes_max,
        kernel_cache: options.kernel_cache,
        read_only: options.read_only,
        allow_other: options.allow_other,
        suid: options.suid,
        devices: options.devices,
        exec: options.exec,
        owners: options.owners.clone(),
        source: what.source.to_owned(),
        metrics,
    };
    Ok(Mount::start(files, path, what.directory, settings).await?)
}

fn running(admin: &Admin) -> Running {
    Running {
        pid: std::process::id(),
        endpoint: None,
        admin: format!("http://{}", admin.address),
        ca_bundle: None,
        region: None,
        cluster: None,
    }
}

fn announce(node: &ClusterNode, source: &str, directory: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "node        {}", node.peer().node)?;
    writeln!(out, "mounted     {source} on {}", directory.display())?;
    writeln!(out, "ready")?;
    out.flush()
}
