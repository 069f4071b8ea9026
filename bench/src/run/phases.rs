//! The phases of a run, one after the other: each is printed as soon as it is measured.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Outcome;
use crate::args::RunArgs;
use crate::engine::{PhasePlan, PhaseResult, Watch, Workload, run_phase};
use crate::load::{Bound, Pace};
use crate::measure::Servers;
use crate::report::{self, LoadReport, PhaseReport, RunReport};
use crate::stop::Stop;
use crate::target::Facts;

/// A run in progress.
pub(super) struct Phases<'a> {
    pub(super) args: &'a RunArgs,
    pub(super) seed: u64,
    pub(super) stop: &'a Stop,
    facts: Facts,
    out: &'a mut dyn Write,
    /// How many objects or files the load was given to work on.
    objects: Option<u64>,
    reports: Vec<PhaseReport>,
    failed: u64,
    interrupted: bool,
}

impl<'a> Phases<'a> {
    pub(super) fn new(args: &'a RunArgs, seed: u64, stop: &'a Stop, facts: Facts, out: &'a mut dyn Write) -> Self {
        Self {
            args,
            seed,
            stop,
            facts,
            out,
            objects: None,
            reports: Vec::new(),
            failed: 0,
            interrupted: false,
        }
    }

    /// # Errors
    /// Standard output that is gone.
    pub(super) fn print_facts(&mut self) -> Result<()> {
        report::print_facts(self.out, &self.facts).context("cannot print the results")
    }

    /// A phase of the load that was asked for.
    pub(super) fn measure(&mut self, label: &str, workload: &dyn Workload) -> Result<PhaseResult> {
        let load = &self.args.load;
        let plan = PhasePlan {
            label,
            workload,
            bound: load.bound(),
            pace: load.rate.map_or(Pace::Closed, Pace::Open),
            warm_up: Duration::from_secs(load.warm_up),
            concurrency: load.concurrency,
        };
        self.figures(plan)
    }

    /// A phase that goes once over what there is.
    pub(super) fn once(&mut self, label: &str, workload: &dyn Workload, count: u64) -> Result<PhaseResult> {
        let load = &self.args.load;
        let plan = PhasePlan {
            label,
            workload,
            bound: Bound::Count(count),
            pace: load.rate.map_or(Pace::Closed, Pace::Open),
            warm_up: Duration::ZERO,
            concurrency: load.concurrency,
        };
        self.figures(plan)
    }

    /// A phase that writes the objects or files that the load works on.
    pub(super) fn prepare(&mut self, workload: &dyn Workload, count: u64) -> Result<PhaseResult> {
        let prepared = self.aside("prepare", workload, count)?;
        self.note_objects(prepared.total.ops);
        Ok(prepared)
    }

    /// How many objects or files the load works on.
    pub(super) fn note_objects(&mut self, count: u64) {
        self.objects = Some(count);
    }

    /// A phase that is not among the figures: as fast as it goes, so many operations.
    pub(super) fn aside(&mut self, label: &str, workload: &dyn Workload, count: u64) -> Result<PhaseResult> {
        let plan = PhasePlan {
            label,
            workload,
            bound: Bound::Count(count),
            pace: Pace::Closed,
            warm_up: Duration::ZERO,
            concurrency: self.args.load.concurrency,
        };
        self.phase(plan)
    }

    /// A phase whose figures were asked for, so that there must be some.
    fn figures(&mut self, plan: PhasePlan<'_>) -> Result<PhaseResult> {
        let result = self.phase(plan)?;
        ensure!(
            result.total.ops > 0 || result.interrupted || result.failures() > 0,
            "{}: no operation ended in the time that was measured; give it more",
            plan.label
        );
        Ok(result)
    }

    fn phase(&mut self, plan: PhasePlan<'_>) -> Result<PhaseResult> {
        let watch = Watch {
            stop: self.stop,
            servers: Servers {
                pids: &self.args.target.server_pids,
                admin: self.args.target.admin.as_deref(),
            },
        };
        let mut result = run_phase(watch, plan)?;
        self.failed += result.failures();
        self.interrupted |= result.interrupted;
        let report = PhaseReport::new(self.args, plan.label, &result);
        report::print_phase(self.out, &report).context("cannot print the results")?;
        self.reports.push(report);
        match result.server_error.take() {
            Some(error) => Err(error),
            None => Ok(result),
        }
    }

    pub(super) fn has_failures(&self) -> bool {
        self.failed > 0
    }

    /// The report of what was measured, and what the run has come to.
    pub(super) fn conclude(self, measured: Result<()>, cleaned: Result<()>) -> Outcome {
        let ended = measured.and_then(|()| {
            if self.failed > 0 {
                let first = self
                    .reports
                    .iter()
                    .find_map(PhaseReport::worst_error)
                    .unwrap_or_default();
                bail!("{} operations failed; {first}", self.failed);
            }
            ensure!(!self.interrupted, "interrupted; the results are of the time before");
            Ok(())
        });
        let report = RunReport::new(
            LoadReport::new(self.args, self.seed, self.objects),
            self.facts,
            self.reports,
            self.interrupted,
        );
        let result = match (ended, cleaned) {
            (Err(error), Err(left_over)) => Err(anyhow::anyhow!("{error:#}; also, {left_over:#}")),
            (ended, cleaned) => ended.and(cleaned),
        };
        Outcome {
            report: Some(report),
            result,
        }
    }
}
