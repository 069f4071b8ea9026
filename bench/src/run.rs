//! One run: bucket, phases, results, cleanup, and whether it counts as a success. Invariant: what was measured is
//! printed, and what was written is deleted (unless kept), on every way out but a second interrupt.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::args::{BenchArgs, Operation};
use crate::cleanup::delete_objects;
use crate::client::Client;
use crate::content::Dataset;
use crate::endpoint::Endpoint;
use crate::error::{ErrorKind, RequestError};
use crate::limits::{MAX_PREPARED_BYTES, MAX_PREPARED_OBJECTS, PREPARED_BYTES};
use crate::phase::{Bound, PhaseResult, Setup, Work, run_phase};
use crate::report::{self, PhaseReport, RunReport};
use crate::stop::Stop;

/// Length of a phase where neither time nor count is given.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// Runs the benchmark and prints its results to standard output. An interrupt or termination signal ends the run
/// early, with results and cleanup; a second one ends the process.
///
/// # Errors
/// An endpoint that cannot be used, any failed request, any wrong byte, or an interrupt. Results come first.
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
    ensure!(!args.bucket.is_empty(), "the bucket has no name");
    let endpoint = Endpoint::resolve(&args.endpoint)?;
    let dataset = Dataset::new(&args.prefix, args.seed.unwrap_or_else(fresh_seed), args.size.0);
    let setup = Setup {
        args,
        endpoint: &endpoint,
        dataset: &dataset,
        stop,
        begun: AtomicU64::new(0),
    };
    ensure_bucket(&setup)?;
    let mut run = Run {
        setup: &setup,
        out,
        reports: Vec::new(),
        failed: 0,
        interrupted: false,
    };
    let measured = run.measure();
    let cleaned = if args.keep {
        Ok(())
    } else {
        delete_objects(&setup, setup.begun.load(Ordering::Relaxed))
    };
    match (measured.and_then(|()| run.conclude()), cleaned) {
        (Err(error), Err(left_over)) => Err(anyhow!("{error:#}; also, {left_over:#}")),
        (measured, cleaned) => measured.and(cleaned),
    }
}

/// A run in progress.
struct Run<'a> {
    setup: &'a Setup<'a>,
    out: &'a mut dyn Write,
    reports: Vec<PhaseReport>,
    failed: u64,
    interrupted: bool,
}

impl Run<'_> {
    fn measure(&mut self) -> Result<()> {
        let args = self.setup.args;
        let bound = match (args.count, args.duration) {
            (Some(count), _) => Bound::Count(count),
            (None, Some(seconds)) => Bound::Time(Duration::from_secs(seconds)),
            (None, None) => Bound::Time(DEFAULT_DURATION),
        };
        let put_bound = if args.op == Operation::Get {
            Bound::Count(self.prepared_objects())
        } else {
            bound
        };
        let put_label = if args.op == Operation::Get { "prepare" } else { "put" };
        let put = self.phase(put_label, Work::Put, put_bound)?;
        if args.op == Operation::Put || put.interrupted {
            return Ok(());
        }
        let mut stored = put.tally.stored;
        // Slots finish out of order; reading in the order of writing is what a user of the results expects.
        stored.sort_unstable();
        if stored.is_empty() {
            ensure!(
                self.failed > 0,
                "no object was written in the time given, so none can be read"
            );
            return Ok(());
        }
        self.phase("get", Work::Get(&stored), bound)?;
        Ok(())
    }

    fn phase(&mut self, label: &'static str, work: Work<'_>, bound: Bound) -> Result<PhaseResult> {
        let mut result = run_phase(self.setup, label, work, bound)?;
        self.failed += result.tally.errors.total();
        self.interrupted |= result.interrupted;
        let report = PhaseReport::new(self.setup.args, label, &result);
        report::print_phase(self.out, &report).context("cannot print the results")?;
        self.reports.push(report);
        match result.server_error.take() {
            Some(error) => Err(error),
            None => Ok(result),
        }
    }

    /// How many objects a get run reads in turn.
    fn prepared_objects(&self) -> u64 {
        let args = self.setup.args;
        let size = args.size.0.max(1);
        let usual = (PREPARED_BYTES / size)
            .min(MAX_PREPARED_OBJECTS)
            .max(u64::from(args.concurrency));
        let affordable = (MAX_PREPARED_BYTES / size).max(1);
        args.objects.unwrap_or_else(|| usual.min(affordable))
    }

    fn conclude(self) -> Result<()> {
        let args = self.setup.args;
        if let Some(path) = &args.json {
            let report = RunReport::new(args, &self.reports, self.interrupted);
            let text = serde_json::to_string_pretty(&report).context("cannot write the results as JSON")?;
            fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.failed > 0 {
            let first = self
                .reports
                .iter()
                .find_map(PhaseReport::worst_error)
                .unwrap_or_default();
            bail!("{} requests failed; {first}", self.failed);
        }
        ensure!(!self.interrupted, "interrupted; the results are of the time before");
        Ok(())
    }
}

fn ensure_bucket(setup: &Setup<'_>) -> Result<()> {
    let args = setup.args;
    let mut client = Client::new(args, setup.endpoint, setup.stop.flag());
    let found = match client.head_bucket() {
        // HEAD has no body that would name the error, so PUT is asked as well.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
            client.create_bucket(&args.region)
        }
        result => result,
    };
    match found {
        Ok(()) | Err(RequestError::Status { status: 409, .. }) => Ok(()),
        Err(error) => Err(anyhow!(error)).with_context(|| format!("cannot use the bucket {}", args.bucket)),
    }
}

fn fresh_seed() -> u64 {
    // Only has to differ from the runs before.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_nanos() as u64)
        ^ u64::from(std::process::id())
}
