//! What was done in each second of a phase.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_SERIES_SECONDS;

/// Seconds from the start of what is measured. Later ones than the bound are added to its last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<Second>);

/// One second: what ended in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Second {
    pub(crate) ops: u64,
    pub(crate) bytes: u64,
    pub(crate) errors: u64,
    /// Of the operations that succeeded.
    pub(crate) latency_mean_ms: f64,
    pub(crate) latency_max_ms: f64,
}

impl Series {
    pub(crate) fn record(&mut self, at: Duration, latency: Duration, bytes: u64) {
        let latency_ms = latency.as_secs_f64() * 1e3;
        let second = self.second(at);
        second.ops += 1;
        second.bytes += bytes;
        second.latency_mean_ms += (latency_ms - second.latency_mean_ms) / second.ops as f64;
        second.latency_max_ms = second.latency_max_ms.max(latency_ms);
    }

    pub(crate) fn record_error(&mut self, at: Duration) {
        self.second(at).errors += 1;
    }

    pub(crate) fn absorb(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), Second::default());
        }
        for (second, other) in self.0.iter_mut().zip(&other.0) {
            second.absorb(other);
        }
    }

    pub(crate) fn seconds(&self) -> &[Second] {
        &self.0
    }

    fn second(&mut self, at: Duration) -> &mut Second {
        let place = usize::try_from(at.as_secs()).map_or(MAX_SERIES_SECONDS - 1, |at| at.min(MAX_SERIES_SECONDS - 1));
        if self.0.len() <= place {
            self.0.resize(place + 1, Second::default());
        }
        &mut self.0[place]
    }
}

impl Second {
    fn absorb(&mut self, other: &Self) {
        let ops = self.ops + other.ops;
        if ops > 0 {
            let sum = self.latency_mean_ms * self.ops as f64 + other.latency_mean_ms * other.ops as f64;
            self.latency_mean_ms = sum / ops as f64;
        }
        self.ops = ops;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.latency_max_ms = self.latency_max_ms.max(other.latency_max_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_add_up() {
        let (mut one, mut two) = (Series::default(), Series::default());
        one.record(Duration::from_millis(500), Duration::from_millis(2), 10);
        two.record(Duration::from_millis(900), Duration::from_millis(4), 20);
        two.record(Duration::from_millis(2100), Duration::from_millis(6), 30);
        two.record_error(Duration::from_millis(1500));
        one.absorb(&two);
        let first = Second {
            ops: 2,
            bytes: 30,
            errors: 0,
            latency_mean_ms: 3.0,
            latency_max_ms: 4.0,
        };
        assert_eq!(one.seconds().len(), 3);
        assert_eq!(one.seconds()[0], first);
        assert_eq!((one.seconds()[1].errors, one.seconds()[2].bytes), (1, 30));
    }

    #[test]
    fn a_series_is_bounded() {
        let mut series = Series::default();
        series.record(Duration::MAX, Duration::ZERO, 1);
        assert_eq!(series.seconds().len(), MAX_SERIES_SECONDS);
    }
}
