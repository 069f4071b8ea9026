//! The results of a suite, as JSON has them; and how results are read again, of a suite or of one run.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::limits::MAX_RESULTS_BYTES;
use crate::report::{FORMAT, RunReport};

/// All runs of a suite.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SuiteReport {
    format: u32,
    pub(crate) suite: String,
    pub(crate) rounds: u32,
    pub(crate) runs: Vec<SuiteRun>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SuiteRun {
    pub(crate) round: u32,
    pub(crate) workload: String,
    pub(crate) target: String,
    pub(crate) error: Option<String>,
    pub(crate) report: Option<RunReport>,
}

impl SuiteRun {
    /// Whether its figures mean what they say: of a run that failed or was interrupted they are told, and compared with none.
    pub(crate) fn is_sound(&self) -> bool {
        let is_sound =
            |report: &RunReport| !report.interrupted && report.phases.iter().all(|phase| phase.error_count() == 0);
        self.error.is_none() && self.report.as_ref().is_some_and(is_sound)
    }
}

impl SuiteReport {
    pub(crate) fn new(suite: &str, rounds: u32) -> Self {
        Self {
            format: FORMAT,
            suite: suite.to_owned(),
            rounds,
            runs: Vec::new(),
        }
    }

    /// One run as a suite of its own.
    fn of_run(report: RunReport) -> Self {
        Self {
            format: report.format,
            suite: String::new(),
            rounds: 1,
            runs: vec![SuiteRun {
                round: 0,
                workload: String::new(),
                target: report.target.address.clone(),
                error: None,
                report: Some(report),
            }],
        }
    }
}

/// # Errors
/// A file that cannot be read, or is neither a suite's results nor a run's.
pub(crate) fn load_results(path: &Path) -> Result<SuiteReport> {
    let shown = path.display();
    let length = std::fs::metadata(path)
        .with_context(|| format!("cannot read {shown}"))?
        .len();
    ensure!(length <= MAX_RESULTS_BYTES, "{shown} is longer than any results");
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let value: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("{shown} is not JSON"))?;
    let is_suite = value.get("suite").is_some();
    let report = if is_suite {
        serde_json::from_value(value)
    } else {
        serde_json::from_value(value).map(SuiteReport::of_run)
    };
    let report = report.with_context(|| format!("{shown} holds no results of `cairn bench`"))?;
    ensure!(
        report.format == FORMAT,
        "{shown} has format {}; this tool reads {FORMAT}",
        report.format
    );
    Ok(report)
}
