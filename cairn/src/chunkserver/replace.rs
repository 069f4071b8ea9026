//! `cairn chunkserver replace-device`

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};

use super::device_list;
use crate::{cli::ReplaceDeviceArgs, cluster::ClusterDir, data_dir::DataDir};

pub(super) fn run(args: &ReplaceDeviceArgs) -> anyhow::Result<ExitCode> {
    let root = std::path::absolute(&args.data).context("the node's directory")?;
    ensure!(
        ClusterDir::of(&root).exists(),
        "{} is no node of a cluster: give the directory that `cairn cluster join` made",
        root.display()
    );
    // Locks the directory: no process serves it meanwhile.
    let data = DataDir::open(&root)?;
    let identity = ClusterDir::of(&root).identity()?;
    let peer = identity.peer();
    let (device, life) = device_list::replace(&data, identity.cluster(), peer.node, &args.device)?;
    let mut out = io::stdout().lock();
    writeln!(out, "device      {device} in life {life}, empty")?;
    writeln!(
        out,
        "next        start `cairn chunkserver`: what the device held is made again by itself"
    )?;
    Ok(ExitCode::SUCCESS)
}
