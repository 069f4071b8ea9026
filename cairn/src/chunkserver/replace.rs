//! `cairn chunkserver replace-device`

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};

use super::device_list;
use crate::{
    cli::ReplaceDeviceArgs,
    cluster::ClusterDir,
    data_dir::{DataDir, stored_settings},
};

pub(super) fn run(args: &ReplaceDeviceArgs) -> anyhow::Result<ExitCode> {
    let root = std::path::absolute(&args.data).context("the node's directory")?;
    let (cluster, is_store) = (ClusterDir::of(&root), stored_settings(&root)?.is_some());
    ensure!(
        is_store || cluster.exists(),
        "{} is neither a store nor a node of a cluster: give the directory of `cairn server`, or that which `cairn cluster join` made",
        root.display()
    );
    // Locks the directory: no process serves it meanwhile.
    let data = DataDir::open(&root)?;
    let (device, life) = if is_store {
        data.replace_device(&args.device)?
    } else {
        let identity = cluster.identity()?;
        device_list::replace(&data, identity.cluster(), identity.peer().node, &args.device)?
    };
    let program = if is_store { "server" } else { "chunkserver" };
    let mut out = io::stdout().lock();
    writeln!(out, "device      {device} in life {life}, empty")?;
    writeln!(
        out,
        "next        start `cairn {program}`: what the device held is made again by itself"
    )?;
    Ok(ExitCode::SUCCESS)
}
