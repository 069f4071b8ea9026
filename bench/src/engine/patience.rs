//! How long a slot puts up with failures that may pass: a server that is overloaded, restarts, or is gone. Reads no clock.

use std::time::{Duration, Instant};

use crate::limits::{FIRST_BACK_OFF, MAX_BACK_OFF, MAX_FAILURES_IN_A_ROW, MAX_STALLS_IN_A_ROW, MIN_PACED_FAILING_TIME};

/// Failures since the last success.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
    /// Those among them that were a silence for as long as may be waited.
    stalls: u32,
    since: Option<Instant>,
}

impl Patience {
    pub(super) fn note_failure(&mut self, is_silence: bool, now: Instant) {
        self.failures += 1;
        self.stalls += u32::from(is_silence);
        self.since.get_or_insert(now);
    }

    /// Whether nothing is to be hoped for. `is_paced`: operations come at a rate and not after pauses, so that many may fail
    /// within a moment.
    pub(super) fn is_at_its_end(&self, is_paced: bool, now: Instant) -> bool {
        let lasted = self
            .since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.stalls >= MAX_STALLS_IN_A_ROW
            || (self.failures >= MAX_FAILURES_IN_A_ROW && (!is_paced || lasted >= MIN_PACED_FAILING_TIME))
    }

    /// The pause before the next try: longer after each failure.
    pub(super) fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        FIRST_BACK_OFF.saturating_mul(1 << doublings).min(MAX_BACK_OFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_many_or_stalls_a_few() {
        let now = Instant::now();
        let mut patience = Patience::default();
        for _ in 1..MAX_FAILURES_IN_A_ROW {
            patience.note_failure(false, now);
        }
        assert!(!patience.is_at_its_end(false, now));
        patience.note_failure(false, now);
        assert!(patience.is_at_its_end(false, now));
        let mut patience = Patience::default();
        (0..MAX_STALLS_IN_A_ROW).for_each(|_| patience.note_failure(true, now));
        assert!(patience.is_at_its_end(true, now));
    }

    #[test]
    fn at_a_rate_failures_must_last() {
        let now = Instant::now();
        let mut patience = Patience::default();
        (0..1000).for_each(|_| patience.note_failure(false, now));
        assert!(!patience.is_at_its_end(true, now));
        assert!(patience.is_at_its_end(true, now + MIN_PACED_FAILING_TIME));
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut patience = Patience::default();
        let pauses: Vec<_> = (0..30)
            .map(|_| {
                patience.note_failure(false, Instant::now());
                patience.pause()
            })
            .collect();
        assert!(pauses[0] == FIRST_BACK_OFF && pauses[1] == 2 * FIRST_BACK_OFF && pauses[29] == MAX_BACK_OFF);
    }
}
