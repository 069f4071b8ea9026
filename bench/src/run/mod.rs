//! One run: prepare, phases, results, cleanup, and whether it counts as a success. Invariant: what was measured is
//! printed, and what was written is deleted (unless kept), on every way out but a second interrupt.

mod facts;
mod objects;
mod phases;

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::args::{BenchArgs, RunArgs};
use crate::report::{self, RunReport};
use crate::stop::Stop;

/// What a run has come to: what was measured is told also where it failed.
pub(crate) struct Outcome {
    pub(crate) report: Option<RunReport>,
    pub(crate) result: Result<()>,
}

/// Runs the benchmark and prints its results to standard output. An interrupt or termination signal ends the run
/// early, with results and cleanup; a second one ends the process.
///
/// # Errors
/// A target that cannot be used, any failed operation, any wrong byte, or an interrupt. Results come first.
pub fn run(args: BenchArgs) -> Result<()> {
    let stop = Stop::default();
    let _signals = stop.watch_signals()?;
    run_with(&args, &stop, &mut report::standard_output())
}

/// Runs the benchmark, prints its results to `out`, and ends early where `stop` is requested.
///
/// # Errors
/// As [`run`].
pub fn run_with(args: &BenchArgs, stop: &Stop, out: &mut dyn Write) -> Result<()> {
    let outcome = run_once(&args.run, stop, out);
    let written = match &outcome.report {
        Some(report) => write_files(&args.run, report),
        None => Ok(()),
    };
    outcome.result.and(written)
}

/// One run on one target.
pub(crate) fn run_once(args: &RunArgs, stop: &Stop, out: &mut dyn Write) -> Outcome {
    objects::run_on_s3(args, stop, out).unwrap_or_else(|error| Outcome {
        report: None,
        result: Err(error),
    })
}

fn write_files(args: &RunArgs, report: &RunReport) -> Result<()> {
    if let Some(path) = &args.output.json {
        let text = serde_json::to_string_pretty(report).context("cannot write the results as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.output.csv {
        let text = report::csv(std::slice::from_ref(report));
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn fresh_seed() -> u64 {
    // Only has to differ from the runs before.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_nanos() as u64)
        ^ u64::from(std::process::id())
}
