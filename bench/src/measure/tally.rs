//! Counts, bytes, latencies and errors.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use super::series::Series;
use crate::failure::{ErrorKind, OpError};

/// Digits of a latency that are kept.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies are told apart down to a microsecond; longer ones than six hours, which the slowest allowed transfer of
/// the largest PUT does not take, count as that.
const LATENCY_RANGE_NANOSECONDS: (u64, u64) = (1_000, 6 * 3600 * 1_000_000_000);

/// Operations of one kind, or of all.
#[derive(Clone)]
pub(crate) struct Tally {
    /// Nanoseconds of each operation that succeeded.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) ops: u64,
    pub(crate) bytes: u64,
}

/// What one slot, or a whole phase, has done.
#[derive(Default)]
pub(crate) struct SlotTally {
    pub(crate) by_kind: BTreeMap<&'static str, Tally>,
    pub(crate) errors: Errors,
    /// Those before what is measured.
    pub(crate) warm_up_errors: Errors,
    pub(crate) series: Series,
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
        }
    }

    pub(crate) fn record(&mut self, latency: Duration, bytes: u64) {
        self.record_wait(latency);
        self.ops += 1;
        self.bytes += bytes;
    }

    /// An operation that was due and never begun has waited at least so long.
    pub(crate) fn record_wait(&mut self, waited: Duration) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanoseconds);
    }

    /// # Errors
    /// None in practice; a histogram that cannot grow.
    pub(crate) fn absorb(&mut self, other: &Self) -> Result<()> {
        self.latencies
            .add(&other.latencies)
            .context("cannot add up the latencies")?;
        self.ops += other.ops;
        self.bytes += other.bytes;
        Ok(())
    }

    /// Latency in milliseconds below which `quantile` (0 to 1) of the operations were.
    pub(crate) fn latency_ms(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e6
    }
}

impl SlotTally {
    /// `ended` counts from the start of what is measured.
    pub(crate) fn record(&mut self, kind: &'static str, ended: Duration, latency: Duration, bytes: u64) {
        let tally = self.by_kind.entry(kind).or_insert_with(Tally::new);
        tally.record(latency, bytes);
        self.series.record(ended, latency, bytes);
    }

    pub(crate) fn record_error(&mut self, ended: Duration, error: &OpError) {
        self.errors.record(error);
        self.series.record_error(ended);
    }

    /// # Errors
    /// As [`Tally::absorb`].
    pub(crate) fn absorb(&mut self, other: Self) -> Result<()> {
        for (kind, tally) in other.by_kind {
            match self.by_kind.get_mut(&kind) {
                Some(own) => own.absorb(&tally)?,
                None => {
                    self.by_kind.insert(kind, tally);
                }
            }
        }
        self.errors.absorb(other.errors);
        self.warm_up_errors.absorb(other.warm_up_errors);
        self.series.absorb(&other.series);
        self.cpu += other.cpu;
        self.gave_up += other.gave_up;
        Ok(())
    }

    /// All kinds together.
    ///
    /// # Errors
    /// As [`Tally::absorb`].
    pub(crate) fn total(&self) -> Result<Tally> {
        let mut total = Tally::new();
        for tally in self.by_kind.values() {
            total.absorb(tally)?;
        }
        Ok(total)
    }
}

impl Errors {
    pub(crate) fn record(&mut self, error: &OpError) {
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
        let (mut one, mut two) = (SlotTally::default(), SlotTally::default());
        let at = Duration::from_secs(1);
        one.record("put", at, Duration::from_millis(1), 10);
        two.record("put", at, Duration::from_millis(3), 20);
        two.record("get", at, Duration::from_millis(9), 5);
        two.record_error(at, &OpError::Closed { doing: "waiting" });
        two.record_error(at, &OpError::Closed { doing: "reading" });
        one.absorb(two).unwrap();
        let put = &one.by_kind["put"];
        assert_eq!((put.ops, put.bytes, one.errors.total()), (2, 30, 2));
        assert!((put.latency_ms(0.5) - 1.0).abs() < 0.01 && (put.latency_ms(1.0) - 3.0).abs() < 0.01);
        let total = one.total().unwrap();
        assert_eq!((total.ops, total.bytes), (3, 35));
        let (kind, count) = one.errors.iter().next().unwrap();
        assert_eq!((kind, count.count), (ErrorKind::Closed, 2));
        assert!(count.first.contains("waiting"), "{}", count.first);
    }
}
