//! What `cairn bench` does: one run, a suite of runs, or a comparison of results.

use std::io::Write;

use anyhow::{Context, Result, anyhow};

use crate::args::{BenchArgs, BenchCommand, RunArgs};
use crate::compare::compare_files;
use crate::native::NativeConnector;
use crate::report::{self, RunReport};
use crate::run::{Shell, run_once};
use crate::stop::Stop;
use crate::suite::run_suite;

/// Runs the benchmark and prints its results to standard output. An interrupt or termination signal ends the run
/// early, with results and cleanup; a second one ends the process. `native` opens what --native names.
///
/// # Errors
/// A target that cannot be used, any failed operation, any wrong byte, or an interrupt. Results come first.
pub fn run(args: BenchArgs, native: &dyn NativeConnector) -> Result<()> {
    let stop = Stop::default();
    let _signals = stop.watch_signals()?;
    let shell = Shell {
        stop: &stop,
        native: Some(native),
    };
    run_in(&args, shell, &mut report::standard_output())
}

/// Runs the benchmark, prints its results to `out`, and ends early where `stop` is requested. For callers without a native
/// client.
///
/// # Errors
/// As [`run`].
pub fn run_with(args: &BenchArgs, stop: &Stop, out: &mut dyn Write) -> Result<()> {
    run_in(args, Shell { stop, native: None }, out)
}

fn run_in(args: &BenchArgs, shell: Shell<'_>, out: &mut dyn Write) -> Result<()> {
    match &args.command {
        None => run_alone(&args.run, shell, out),
        Some(BenchCommand::Suite(suite)) => run_suite(suite, shell, out),
        Some(BenchCommand::Compare(compare)) => compare_files(compare, out),
    }
}

fn run_alone(args: &RunArgs, shell: Shell<'_>, out: &mut dyn Write) -> Result<()> {
    let outcome = run_once(args, shell, out);
    let written = match &outcome.report {
        Some(report) => write_files(args, report),
        None => Ok(()),
    };
    match (outcome.result, written) {
        (Err(error), Err(unwritten)) => Err(anyhow!("{error:#}; also, {unwritten:#}")),
        (result, written) => result.and(written),
    }
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
