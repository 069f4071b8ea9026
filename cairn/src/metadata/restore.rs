//! `cairn metadata restore`

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::ensure;
use cairn_common::ids::NodeId;
use cairn_metadata::maintenance::{read_info, restore};

use crate::{
    cli::RestoreArgs,
    cluster::ClusterDir,
    data_dir::{DataDir, device_paths, restore_settings, stored_settings},
    voters,
};

pub(super) fn run(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    // Before anything is made: what is no backup should leave no trace.
    let info = read_info(&args.file)?;
    let data = DataDir::open(&args.data.data)?;
    let settings = stored_settings(data.root())?;
    if let Some((_, cluster)) = &settings {
        ensure!(
            info.about.store.is_empty() || info.about.store == cluster.to_string(),
            "the backup is of store {}, and {} holds devices and settings of store {cluster}: restore into the right one",
            info.about.store,
            data.root().display()
        );
    } else if !info.about.settings.is_empty() {
        // First: with settings and without metadata a server refuses to start, and this can be done again.
        restore_settings(data.root(), &info.about.settings)?;
    }
    let cluster = ClusterDir::of(data.root());
    let server = match args.server {
        Some(server) => NodeId::new(server),
        None if cluster.exists() => cluster.identity()?.peer().node,
        None => NodeId::new(1),
    };
    ensure!(
        !data.metadata().exists(),
        "{} is there already: a restore makes it, and never replaces one. Move it away first",
        data.metadata().display()
    );
    // First: what is restored is a group of one, which those on other disks must never meet.
    let left = voters::forget(data.root(), &device_paths(data.root())?)?;
    let restored = restore(&args.file, &data.metadata(), server)?;
    cluster.is_restored()?;
    let mut out = io::stdout().lock();
    writeln!(out, "restored    {}", data.metadata().display())?;
    writeln!(out, "applied     entry {}", restored.backup.applied_index)?;
    writeln!(out, "hash        {} in the backup", restored.backup.chain)?;
    writeln!(out, "generation  {}", restored.generation)?;
    for directory in left {
        writeln!(out, "remove      {} (metadata from before)", directory.display())?;
    }
    writeln!(
        out,
        "note        no data is deleted until you have looked at the store and run `cairn metadata release-deletion`"
    )?;
    Ok(ExitCode::SUCCESS)
}
