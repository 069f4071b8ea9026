//! `cairn mount`: a bucket as a directory of this machine, served by a process of its own.
//!
//! Invariant: it ends only after what can be stored of what programs wrote is stored.

mod options;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use cairn_client::Client;
use cairn_common::{limits, wire::role::Role};
use cairn_fuse_client::{Mount, MountSettings};

use self::options::MountOptions;
use crate::{
    cli::MountArgs,
    cluster::{ClusterDir, ClusterNode, Contacts},
    config,
    data_dir::DataDir,
    metrics::Metrics,
    serving::{self, Serving},
};

/// How long threads that talk to the kernel are waited for at the end.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(1);

/// Of the memory for data on its way, the part for bytes that programs wrote and that wait to be stored.
const DIRTY_PART: usize = 4;

pub(crate) fn run(args: &MountArgs) -> anyhow::Result<ExitCode> {
    config::check_environment(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
    let options = MountOptions::parse(&args.options)?;
    let log = args.log.as_deref().unwrap_or(config::DEFAULT_LOG);
    let runtime = serving::runtime(args.log_format.unwrap_or_default(), log)?;
    let ended = runtime.block_on(async { serve(args, options, Serving::begin()?).await });
    // What still waits for the kernel, which a mount that is in use may keep waiting for ever, is left behind.
    runtime.shutdown_timeout(LEFT_BEHIND_AFTER);
    ended
}

async fn serve(args: &MountArgs, options: MountOptions, mut serving: Serving) -> anyhow::Result<ExitCode> {
    let data = data_dir(args, &options)?;
    let directory = std::path::absolute(&args.directory).context("where to mount")?;
    ensure!(
        directory.is_dir(),
        "{} is no directory to mount on",
        directory.display()
    );
    let data = DataDir::open(&data)?;
    ensure!(
        data.store_id()?.is_none(),
        "{} is the directory of a store: a mount has one of its own, made by `cairn cluster join`",
        data.root().display()
    );
    let memory_bytes = memory_bytes(args)?;
    let (node, client) = connect(data.root(), memory_bytes - memory_bytes / DIRTY_PART).await?;
    let contacts = Contacts::of(&ClusterDir::of(data.root()))?;
    let contacts = tokio::spawn(contacts.keep_fresh(node.transport(), node.addresses().clone())).abort_handle();
    let mut mount = mount(&client, args, &options, &directory, memory_bytes / DIRTY_PART).await?;
    announce(&node, &args.source, &directory).context("writing to standard output")?;
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
    if let Err(error) = client.close().await {
        tracing::warn!(%error, "the session was not ended; its lease will run out");
    }
    node.close().await;
    ended.context("talking to the kernel")?;
    Ok(ExitCode::SUCCESS)
}

fn data_dir(args: &MountArgs, options: &MountOptions) -> anyhow::Result<PathBuf> {
    let data = options.data.as_ref().or(args.data.as_ref());
    let data = data.context("the directory of the node is missing: --data DIR, or -o data=DIR")?;
    std::path::absolute(data).context("the node's directory")
}

async fn connect(data: &Path, chunk_bytes: usize) -> anyhow::Result<(ClusterNode, Client)> {
    let mut metrics = Metrics::new();
    let node = ClusterNode::open_as(data, metrics.registry(), Role::Client).await?;
    let contacts = Contacts::of(&ClusterDir::of(data))?;
    let client = node
        .client(&contacts, chunk_bytes, cairn_datapath::Metrics::default(), true)
        .await?;
    Ok((node, client))
}

async fn mount(
    client: &Client,
    args: &MountArgs,
    options: &MountOptions,
    directory: &Path,
    dirty_bytes_max: usize,
) -> anyhow::Result<Mount> {
    let (bucket, path) = args.source.split_once('/').unwrap_or((&args.source, ""));
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
        source: args.source.clone(),
    };
    Ok(Mount::start(files, path, directory, settings).await?)
}

fn memory_bytes(args: &MountArgs) -> anyhow::Result<usize> {
    let mib = args.memory_budget_mib.unwrap_or(limits::CHUNK_BUDGET_BYTES >> 20);
    ensure!(
        mib >= config::MEMORY_BUDGET_MIB_MIN,
        "the memory budget is at least {} MiB",
        config::MEMORY_BUDGET_MIB_MIN
    );
    Ok(mib << 20)
}

fn announce(node: &ClusterNode, source: &str, directory: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "node        {}", node.peer().node)?;
    writeln!(out, "mounted     {source} on {}", directory.display())?;
    writeln!(out, "ready")?;
    out.flush()
}
