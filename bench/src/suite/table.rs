//! The table of a suite: a line for each phase and target, with the ratio to the first target.

use std::fmt::Write as _;

use super::figures::{Figures, Metric};
use super::report::SuiteReport;
use crate::report::significant;
use crate::statistics::{Ratio, mean_and_spread};

/// Columns of figures.
const COLUMNS: [Metric; 6] = [
    Metric::Throughput,
    Metric::Ops,
    Metric::P50,
    Metric::P99,
    Metric::ClientCpu,
    Metric::ServerCpu,
];

/// As text, its columns below each other.
pub(super) fn table(report: &SuiteReport) -> String {
    let mut rows = vec![header()];
    let all = Figures::of(report);
    for figures in &all {
        let first = all.iter().find(|other| other.phase == figures.phase);
        rows.push(row(figures, first.filter(|first| first.target != figures.target)));
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Names to the left, figures to the right.
            let _ = if place < 2 {
                write!(text, "{cell:<width$}  ")
            } else {
                write!(text, "{cell:>width$}  ")
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn header() -> Vec<String> {
    let mut header = vec!["workload".to_owned(), "target".to_owned()];
    header.extend(COLUMNS.map(|metric| metric.label().to_owned()));
    header.extend(["runs", "errors", "ops ratio to first"].map(str::to_owned));
    header
}

fn row(figures: &Figures<'_>, first: Option<&Figures<'_>>) -> Vec<String> {
    let mut row = vec![figures.phase.to_owned(), figures.target.to_owned()];
    row.extend(COLUMNS.map(|metric| mean(figures, metric)));
    row.push(figures.shown_runs());
    row.push(figures.errors().to_string());
    let ratio = first.and_then(|first| Ratio::paired(&first.pairs(figures, Metric::Ops)));
    row.push(ratio.map_or_else(|| "–".to_owned(), |ratio| shown(&ratio)));
    row
}

/// The mean of the runs, and half of its interval where there are several.
pub(super) fn mean(figures: &Figures<'_>, metric: Metric) -> String {
    let samples = figures.samples(metric);
    if samples.is_empty() {
        return "–".to_owned();
    }
    match mean_and_spread(&samples) {
        (mean, None) => significant(mean),
        (mean, Some(spread)) => format!("{} ±{}", significant(mean), significant(spread)),
    }
}

/// `1.10 (1.07 to 1.13)`.
pub(super) fn shown(ratio: &Ratio) -> String {
    match ratio.interval {
        None => format!("{:.2}", ratio.value),
        Some((low, high)) => format!("{:.2} ({low:.2} to {high:.2})", ratio.value),
    }
}
