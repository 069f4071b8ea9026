//! `cairn metadata`: looking into a metadata store, verifying it, backing it up and restoring it.
//!
//! Invariant: nothing here opens a store that a server has open; of a running server a checkpoint is asked for, through the
//! socket in its directory.

mod backup;
mod inspect;
mod release;
mod restore;
mod source;
mod verify;

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::cli::{MetadataArgs, MetadataCommand};

pub(crate) fn run(args: MetadataArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(MetadataCommand::Inspect(args)) => inspect::run(&args),
        Some(MetadataCommand::Verify(args)) => verify::run(&args),
        Some(MetadataCommand::Backup(args)) => backup::run(&args),
        Some(MetadataCommand::Restore(args)) => restore::run(&args),
        Some(MetadataCommand::ReleaseDeletion(args)) => release::run(&args),
        None => bail!("say what is to be done: see `cairn metadata --help`"),
    }
}

/// Runs the work of one command.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(work)
}
