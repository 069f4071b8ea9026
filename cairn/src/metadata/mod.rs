//! `cairn metadata`: the metadata service as a process of its own, and what an operator does about it.
//!
//! Invariant: one file for each thing that can be done; what is shared between them lies in the metadata crate.

mod args;
mod group;
mod process;

use std::process::ExitCode;

pub(crate) use args::MetadataArgs;
use args::MetadataCommand;

pub(crate) fn run(args: &MetadataArgs) -> anyhow::Result<ExitCode> {
    let Some(command) = &args.command else {
        return process::run(&args.server);
    };
    match command {
        MetadataCommand::Status(args) => group::status(args)?,
        MetadataCommand::Add(args) => group::add(args)?,
        MetadataCommand::Promote(args) => group::promote(args)?,
        MetadataCommand::Remove(args) => group::remove(args)?,
        MetadataCommand::Replace(args) => group::replace(args)?,
        MetadataCommand::Transfer(args) => group::transfer(args)?,
    }
    Ok(ExitCode::SUCCESS)
}
