//! What a load did, in lines `BENCH <name> <value> <unit>`.
//!
//! *Invariant*: numbers come from the history alone, so they are those that the checker judged.

use std::time::Duration;

use crate::history::{KeyCall, KeyReply, Operation, Outcome};

use super::availability::Outage;

/// Counts and latencies of a history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub acknowledged: usize,
    /// Of those, what a condition refused.
    pub refused: usize,
    pub failed: usize,
    pub unknown: usize,
    pub acknowledged_per_s: f64,
    /// Half of the acknowledged operations took at most this.
    pub median: Duration,
    /// Of a hundred acknowledged operations 99 took at most this.
    pub p99: Duration,
    pub longest: Duration,
}

impl Summary {
    /// The summary of a load that took `length`.
    #[must_use]
    pub fn of(history: &[Operation<KeyCall, KeyReply>], length: Duration) -> Self {
        let mut summary = Self::default();
        let mut latencies = Vec::new();
        for operation in history {
            match &operation.outcome {
                Outcome::Answered { reply, returned_ns } => {
                    latencies.push(returned_ns - operation.invoked_ns);
                    summary.refused += usize::from(matches!(reply, KeyReply::Mismatch | KeyReply::Absent));
                }
                Outcome::Failed { .. } => summary.failed += 1,
                Outcome::Unknown => summary.unknown += 1,
            }
        }
        latencies.sort_unstable();
        let at_most = |percent: usize| {
            let index = (latencies.len() * percent).div_ceil(100).saturating_sub(1);
            latencies
                .get(index)
                .map_or(Duration::ZERO, |ns| Duration::from_nanos(*ns))
        };
        summary.acknowledged = latencies.len();
        summary.acknowledged_per_s = latencies.len() as f64 / length.as_secs_f64();
        (summary.median, summary.p99, summary.longest) = (at_most(50), at_most(99), at_most(100));
        summary
    }

    /// The lines of a report; `name` stands before the name of each.
    #[must_use]
    pub fn lines(&self, name: &str, outages: &[Outage]) -> Vec<String> {
        let ms = |duration: Duration| format!("{:.2} ms", duration.as_secs_f64() * 1e3);
        let mut values = vec![
            ("acknowledged", format!("{} ops", self.acknowledged)),
            ("refused", format!("{} ops", self.refused)),
            ("failed", format!("{} ops", self.failed)),
            ("unknown", format!("{} ops", self.unknown)),
            ("throughput", format!("{:.1} ops/s", self.acknowledged_per_s)),
            ("p50", ms(self.median)),
            ("p99", ms(self.p99)),
            ("longest", ms(self.longest)),
            ("faults", format!("{} faults", outages.len())),
        ];
        let mut lengths: Vec<Duration> = outages.iter().map(|outage| outage.length).collect();
        lengths.sort_unstable();
        if let Some(longest) = lengths.last() {
            values.push(("outage_median", ms(lengths[(lengths.len() - 1) / 2])));
            values.push(("outage_longest", ms(*longest)));
        }
        let line = |(part, value): (&str, String)| format!("BENCH {name}_{part} {value}");
        values.into_iter().map(line).collect()
    }
}
