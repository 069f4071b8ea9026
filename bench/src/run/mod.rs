//! One run: prepare, phases, results, cleanup, and whether it counts as a success. Invariant: what was measured is
//! printed, and what was written is deleted (unless kept), on every way out but a second interrupt.

mod facts;
mod files;
mod objects;
mod phases;

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::args::RunArgs;
use crate::native::NativeConnector;
use crate::report::RunReport;
use crate::stop::Stop;

/// What a run has come to: what was measured is told also where it failed.
pub(crate) struct Outcome {
    pub(crate) report: Option<RunReport>,
    pub(crate) result: Result<()>,
}

/// What a run is given by whoever runs the tool.
#[derive(Clone, Copy)]
pub(crate) struct Shell<'a> {
    pub(crate) stop: &'a Stop,
    /// The way to the native client, where the program has one.
    pub(crate) native: Option<&'a dyn NativeConnector>,
}

/// One run on one target.
pub(crate) fn run_once(args: &RunArgs, shell: Shell<'_>, out: &mut dyn Write) -> Outcome {
    let stop = shell.stop;
    let begun = match (&args.target.mount, &args.target.native) {
        (Some(mount), _) => files::run_on_mount(args, mount, stop, out),
        (None, Some(node)) => objects::run_on_native(args, node, shell.native, stop, out),
        (None, None) => objects::run_on_s3(args, stop, out),
    };
    begun.unwrap_or_else(|error| Outcome {
        report: None,
        result: Err(error),
    })
}

fn fresh_seed() -> u64 {
    // Only has to differ from the runs before.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_nanos() as u64)
        ^ u64::from(std::process::id())
}
