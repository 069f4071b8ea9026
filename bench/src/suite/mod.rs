//! Suites: a list of workloads on several targets, run in turn, so that what changes on the machine meanwhile meets all alike.
//! Invariant: what was measured is written also where a run failed, and says so.

mod figures;
mod html;
mod plan;
mod report;
mod svg;
mod table;

use std::fs;
use std::io::Write;

use anyhow::{Context, Result, bail};

use crate::args::SuiteArgs;
use crate::report::{csv, significant};
use crate::run::{Shell, run_once};
use plan::{SuitePlan, Target, Workload};

pub(crate) use figures::{Figures, Metric};
pub(crate) use report::{SuiteReport, SuiteRun, load_results};

/// Runs the suite; prints a line for each run, and the table at the end.
///
/// # Errors
/// A file that is no suite; runs that failed or were interrupted, after the results were written.
pub(crate) fn run_suite(args: &SuiteArgs, shell: Shell<'_>, out: &mut dyn Write) -> Result<()> {
    let (plan, stop) = (SuitePlan::load(args)?, shell.stop);
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let mut report = SuiteReport::new(&plan.name, plan.rounds);
    let run = run_rounds(&plan, args, shell, &mut report, out);
    // Also where the rounds could not go on.
    write_results(args, &report)?;
    run?;
    let table = table::table(&report);
    write!(out, "{table}").context("cannot print the results")?;
    writeln!(out, "written to {}", args.out.display()).context("cannot print the results")?;
    let failed: Vec<_> = report.runs.iter().filter(|run| run.error.is_some()).collect();
    if let Some(first) = failed.first() {
        let error = first.error.as_deref().unwrap_or_default();
        bail!(
            "{} of {} runs failed; {}: {error}",
            failed.len(),
            report.runs.len(),
            first.workload
        );
    }
    if stop.is_requested() {
        bail!("interrupted; the results are of the runs before");
    }
    Ok(())
}

fn run_rounds(
    plan: &SuitePlan,
    args: &SuiteArgs,
    shell: Shell<'_>,
    report: &mut SuiteReport,
    out: &mut dyn Write,
) -> Result<()> {
    for round in 0..plan.rounds {
        for workload in &plan.workloads {
            for target in plan.targets_in_turn(round) {
                if shell.stop.is_requested() {
                    return Ok(());
                }
                if let Some(run) = run_one(round, workload, target, shell)? {
                    let printed = print_run(out, plan, &run);
                    report.runs.push(run);
                    printed?;
                }
            }
        }
        // Every round leaves what there is so far.
        write_results(args, report)?;
    }
    Ok(())
}

/// None where the workload is not one for the target.
fn run_one(round: u32, workload: &Workload, target: &Target, shell: Shell<'_>) -> Result<Option<SuiteRun>> {
    let args = plan::run_args(workload, target)?;
    if args.work.op.is_on_files() != args.target.mount.is_some() {
        return Ok(None);
    }
    let outcome = run_once(&args, shell, &mut std::io::sink());
    Ok(Some(SuiteRun {
        round,
        workload: workload.name.clone(),
        target: target.name.clone(),
        error: outcome.result.err().map(|error| format!("{error:#}")),
        report: outcome.report,
    }))
}

fn print_run(out: &mut dyn Write, plan: &SuitePlan, run: &SuiteRun) -> Result<()> {
    let (round, of) = (run.round + 1, plan.rounds);
    write!(out, "round {round} of {of}, {} on {}:", run.workload, run.target)?;
    let phases = run.report.iter().flat_map(|report| &report.phases);
    for phase in phases.filter(|phase| phase.is_measured()) {
        let [gb, ops] = [phase.all.gb_per_s, phase.all.ops_per_s].map(significant);
        let p99 = significant(phase.all.latency_ms.p99);
        write!(out, " {} {gb} GB/s, {ops} ops/s, p99 {p99} ms;", phase.phase)?;
    }
    if let Some(error) = &run.error {
        write!(out, " FAILED: {error}")?;
    }
    writeln!(out)?;
    out.flush().context("cannot print the results")
}

fn write_results(args: &SuiteArgs, report: &SuiteReport) -> Result<()> {
    let reports: Vec<_> = report.runs.iter().filter_map(|run| run.report.clone()).collect();
    let json = serde_json::to_string_pretty(report).context("cannot write the results as JSON")?;
    for (name, text) in [
        ("results.json", json + "\n"),
        ("results.csv", csv(&reports)),
        ("table.txt", table::table(report)),
        ("report.html", html::page(report)),
    ] {
        let path = args.out.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
