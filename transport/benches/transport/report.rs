//! What the benchmark prints.
//!
//! Owns: medians, percentiles and the form of the lines. Results go to standard output as `BENCH <name> <value> <unit>`
//! and nothing else does; progress goes to standard error.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;

/// Samples by name and unit, one for each round.
#[derive(Debug, Default)]
pub(crate) struct Report {
    samples: BTreeMap<String, (&'static str, Vec<f64>)>,
}

impl Report {
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.samples
            .entry(name.into())
            .or_insert_with(|| (unit, Vec::new()))
            .1
            .push(value);
    }

    /// Median over the rounds so far.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.samples.get(name).and_then(|(_, values)| median(values))
    }

    /// Prints all medians, then for each name of `ours` its ratio to the same name of `reference`.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn print(&self, ours: &str, reference: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for (name, (unit, values)) in &self.samples {
            if let Some(value) = median(values) {
                writeln!(out, "BENCH {name} {value:.3} {unit}")?;
            }
        }
        for (name, (_, values)) in &self.samples {
            let Some(stem) = name.strip_suffix(ours) else { continue };
            let other = self.median(&format!("{stem}{reference}"));
            if let (Some(value), Some(other)) = (median(values), other) {
                writeln!(out, "BENCH {stem}{ours}_to_{reference} {:.3} ratio", value / other)?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// The value that `share` (0 to 1) of the samples do not exceed, in microseconds.
pub(crate) fn percentile_us(latencies: &mut [Duration], share: f64) -> f64 {
    if latencies.is_empty() {
        return f64::NAN;
    }
    latencies.sort_unstable();
    let index = ((latencies.len() - 1) as f64 * share).round() as usize;
    latencies[index].as_secs_f64() * 1e6
}

/// Says how far the benchmark has come.
pub(crate) fn progress(text: &str) {
    // Nobody may be listening, and that must not stop the measurement.
    let _ = writeln!(std::io::stderr(), "transport bench: {text}");
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
