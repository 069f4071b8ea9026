//! `cairn metadata`: the metadata service as a process of its own, and what an operator does about it: who its members are,
//! looking into a store, verifying it, backing it up and restoring it.
//!
//! Invariant: no command opens a store that a server has open; of a running server a checkpoint is asked for, through the
//! socket in its directory.

mod backup;
mod group;
mod group_metrics;
mod inspect;
mod level;
mod process;
mod release;
mod restore;
mod verify;

use std::process::ExitCode;

pub(crate) use group_metrics::GroupMetrics;

use crate::cli::{MetadataArgs, MetadataCommand};

pub(crate) fn run(args: MetadataArgs) -> anyhow::Result<ExitCode> {
    let Some(command) = args.command else {
        return process::run(&args.server);
    };
    match command {
        MetadataCommand::Status(args) => group::status(&args)?,
        MetadataCommand::Add(args) => group::add(&args)?,
        MetadataCommand::Promote(args) => group::promote(&args)?,
        MetadataCommand::Remove(args) => group::remove(&args)?,
        MetadataCommand::Replace(args) => group::replace(&args)?,
        MetadataCommand::Transfer(args) => group::transfer(&args)?,
        MetadataCommand::FeatureLevel(args) => level::run(&args)?,
        MetadataCommand::Inspect(args) => return inspect::run(&args),
        MetadataCommand::Verify(args) => return verify::run(&args),
        MetadataCommand::Backup(args) => return backup::run(&args),
        MetadataCommand::Restore(args) => return restore::run(&args),
        MetadataCommand::ReleaseDeletion(args) => return release::run(&args),
    }
    Ok(ExitCode::SUCCESS)
}
