//! `cairn bench compare`: two sets of results, phase by phase.

use std::io::Write;

use anyhow::{Context, Result, ensure};

use crate::args::CompareArgs;
use crate::report::significant;
use crate::statistics::{Ratio, mean_and_spread};
use crate::suite::{Figures, Metric, SuiteReport, load_results};

/// Prints a line for each figure that both have.
///
/// # Errors
/// Files that cannot be read, or have nothing in common.
pub(crate) fn compare_files(args: &CompareArgs, out: &mut dyn Write) -> Result<()> {
    let (before, after) = (load_results(&args.before)?, load_results(&args.after)?);
    let lines = compare(&before, &after);
    ensure!(
        !lines.is_empty(),
        "the two have no workload in common: they are matched by name and target, or by name where each has one target"
    );
    for line in lines {
        writeln!(out, "{line}").context("cannot print the results")?;
    }
    Ok(())
}

fn compare(before: &SuiteReport, after: &SuiteReport) -> Vec<String> {
    let (before, after) = (Figures::of(before), Figures::of(after));
    let by_target = !(has_one_target(&before) && has_one_target(&after));
    let mut lines = Vec::new();
    for old in &before {
        let new = after
            .iter()
            .find(|new| new.phase == old.phase && (!by_target || new.target == old.target));
        let Some(new) = new else { continue };
        if by_target {
            lines.push(format!("{} on {}", old.phase, old.target));
        } else {
            lines.push(format!("{}, {} and {}", old.phase, old.target, new.target));
        }
        lines.extend(Metric::ALL.iter().filter_map(|metric| line(*metric, old, new)));
        if !(old.unsound.is_empty() && new.unsound.is_empty()) {
            lines.push(format!(
                "  of {} and {} runs, without those that failed or were interrupted; errors: {} and {}",
                old.shown_runs(),
                new.shown_runs(),
                old.errors(),
                new.errors()
            ));
        }
    }
    lines
}

fn has_one_target(figures: &[Figures<'_>]) -> bool {
    figures.windows(2).all(|pair| pair[0].target == pair[1].target)
}

fn line(metric: Metric, old: &Figures<'_>, new: &Figures<'_>) -> Option<String> {
    let (old, new) = (old.samples(metric), new.samples(metric));
    let ratio = Ratio::unpaired(&old, &new)?;
    let [(old_mean, _), (new_mean, _)] = [mean_and_spread(&old), mean_and_spread(&new)];
    let sure = match ratio.interval {
        None => ", of too few runs to say how sure".to_owned(),
        Some((low, high)) if ratio.differs() => format!(" ({low:.3} to {high:.3})"),
        Some((low, high)) => format!(" ({low:.3} to {high:.3}), which may be chance"),
    };
    Some(format!(
        "  {:<22} {} -> {}: ratio {:.3}{sure}",
        metric.label(),
        significant(old_mean),
        significant(new_mean),
        ratio.value
    ))
}
