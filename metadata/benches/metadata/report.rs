//! What the benchmark prints.
//!
//! Owns: medians and the form of the lines. Results go to standard output as `BENCH <name> <value> <unit>` and nothing
//! else does; progress goes to standard error.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;

use crate::turn::Figures;

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

    /// The figures of one turn under one name.
    pub(crate) fn add_figures(&mut self, name: &str, figures: &Figures) {
        self.add(format!("{name}_rate"), figures.rate(), "ops/s");
        self.add(format!("{name}_p50"), figures.p50.as_secs_f64() * 1e6, "us");
        self.add(format!("{name}_p99"), figures.p99.as_secs_f64() * 1e6, "us");
        self.add(
            format!("{name}_driver_cpu"),
            figures.per_1000(figures.driver_cpu),
            "CPU-s/1000",
        );
        self.add(
            format!("{name}_server_cpu"),
            figures.per_1000(figures.server_cpu),
            "CPU-s/1000",
        );
    }

    /// Median over the rounds so far.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.samples.get(name).and_then(|(_, values)| median(values))
    }

    /// Adds what `ours` is to `reference`, of the medians under those names.
    pub(crate) fn add_ratio(&mut self, name: &str, ours: &str, reference: &str) {
        if let (Some(ours), Some(reference)) = (self.median(ours), self.median(reference)) {
            self.add(name, ours / reference, "ratio");
        }
    }

    /// Prints all medians.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for (name, (unit, values)) in &self.samples {
            if let Some(value) = median(values) {
                writeln!(out, "BENCH {name} {value:.3} {unit}")?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// Says how far the benchmark has come.
pub(crate) fn progress(text: &str) {
    // Nobody may be listening, and that must not stop the measurement.
    let _ = writeln!(std::io::stderr(), "metadata bench: {text}");
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
