//! `cairn chunkserver`: devices served by a process of their own, and what an operator does with a device that no process uses.
//!
//! Invariant: no command opens a device that a process serves: each takes the device's lock first.

mod device_list;
mod inspect;
mod process;
mod rebuild;
mod replace;
mod verify;

use std::process::ExitCode;

use crate::cli::{ChunkserverArgs, ChunkserverCommand};

pub(crate) fn run(args: ChunkserverArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        None => process::run(&args.server),
        Some(ChunkserverCommand::Inspect(args)) => inspect::run(&args),
        Some(ChunkserverCommand::Verify(args)) => verify::run(&args),
        Some(ChunkserverCommand::RebuildIndex(args)) => rebuild::run(&args),
        Some(ChunkserverCommand::ReplaceDevice(args)) => replace::run(&args),
    }
}
