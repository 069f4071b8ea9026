//! What is counted during a phase: per slot without sharing, then added up. No clock and no output here.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::error::{ErrorKind, RequestError};

/// Digits of a latency that are kept.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies are told apart down to a microsecond; longer ones than six hours, which the slowest allowed transfer of
/// the largest object does not take, count as that.
const LATENCY_RANGE_NANOSECONDS: (u64, u64) = (1_000, 6 * 3600 * 1_000_000_000);

/// What one slot, or a whole phase, has done.
pub(crate) struct Tally {
    /// Nanoseconds of each request that succeeded.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) ops: u64,
    pub(crate) bytes: u64,
    /// Indices of the objects that were written and acknowledged.
    pub(crate) stored: Vec<u64>,
    pub(crate) errors: Errors,
    pub(crate) cpu: Duration,
    /// Slots that stopped because nothing succeeded any more.
    pub(crate) gave_up: u32,
}

/// Errors by kind, with the first of each in words.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    by_kind: BTreeMap<ErrorKind, ErrorCount>,
}

/// How often one kind of error occurred.
#[derive(Debug, Clone)]
pub(crate) struct ErrorCount {
    pub(crate) count: u64,
    pub(crate) first: String,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let (least, most) = LATENCY_RANGE_NANOSECONDS;
        let latencies = Histogram::new_with_bounds(least, most, SIGNIFICANT_DIGITS);
        Self {
            latencies: latencies.expect("the bounds are in order and three digits are allowed"),
            ops: 0,
            bytes: 0,
            stored: Vec::new(),
            errors: Errors::default(),
            cpu: Duration::ZERO,
            gave_up: 0,
        }
    }

    pub(crate) fn record(&mut self, latency: Duration, bytes: u64) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanoseconds);
        self.ops += 1;
        self.bytes += bytes;
    }

    /// # Errors
    /// None in practice; a histogram that cannot grow.
    pub(crate) fn absorb(&mut self, other: Self) -> Result<()> {
        self.latencies
            .add(&other.latencies)
            .context("cannot add up the latencies")?;
        self.ops += other.ops;
        self.bytes += other.bytes;
        self.stored.extend(other.stored);
        self.errors.absorb(other.errors);
        self.cpu += other.cpu;
        self.gave_up += other.gave_up;
        Ok(())
    }

    /// Latency in milliseconds below which `quantile` (0 to 1) of the requests were.
    pub(crate) fn latency_ms(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e6
    }
}

impl Errors {
    pub(crate) fn record(&mut self, error: &RequestError) {
        let entry = self.by_kind.entry(error.kind()).or_insert_with(|| ErrorCount {
            count: 0,
            first: error.to_string(),
        });
        entry.count += 1;
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        for (kind, count) in other.by_kind {
            self.by_kind
                .entry(kind)
                .and_modify(|entry| entry.count += count.count)
                .or_insert(count);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.by_kind.values().map(|entry| entry.count).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ErrorKind, &ErrorCount)> {
        self.by_kind.iter().map(|(kind, count)| (*kind, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let (mut one, mut two) = (Tally::new(), Tally::new());
        one.record(Duration::from_millis(1), 10);
        two.record(Duration::from_millis(3), 20);
        two.errors.record(&RequestError::Closed { doing: "waiting" });
        two.errors.record(&RequestError::Closed { doing: "reading" });
        one.absorb(two).unwrap();
        assert_eq!((one.ops, one.bytes, one.errors.total()), (2, 30, 2));
        assert!((one.latency_ms(0.5) - 1.0).abs() < 0.01 && (one.latency_ms(1.0) - 3.0).abs() < 0.01);
        let (kind, count) = one.errors.iter().next().unwrap();
        assert_eq!((kind, count.count), (ErrorKind::Closed, 2));
        assert!(count.first.contains("waiting"), "{}", count.first);
    }
}
