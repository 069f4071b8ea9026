//! How often a reader may ask more devices than it needs, because one is late.
//!
//! One late device is no reason to wait; where all of them are late, asking more makes it worse. Invariant: over any time, what is
//! asked beyond need is at most a burst, so much for each second, and a share of what was answered.

use parking_lot::Mutex;
use tokio::time::Instant;

/// Requests beyond need that may be sent at once, where none were lately.
const BURST: u64 = 64;
/// Such requests for each second: enough to get around a device that fell silent until it is avoided.
const PER_SECOND: u64 = 16;
/// Answered requests for which there may be one more.
const ANSWERED_FOR_ONE: u64 = 10;
/// Units of one request.
const UNIT: u64 = 1_000;

/// The budget of a process.
pub(crate) struct Hedges(Mutex<Left>);

struct Left {
    units: u64,
    at: Instant,
}

impl Hedges {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Left {
            units: BURST * UNIT,
            at: now,
        }))
    }

    /// A request was answered.
    pub(crate) fn handle_answer(&self) {
        let mut left = self.0.lock();
        left.units = (left.units + UNIT / ANSWERED_FOR_ONE).min(BURST * UNIT);
    }

    /// Whether so many requests beyond need may be sent now; they count as sent then.
    pub(crate) fn take(&self, requests: usize, now: Instant) -> bool {
        let mut left = self.0.lock();
        let passed_ms = u64::try_from(now.duration_since(left.at).as_millis()).unwrap_or(u64::MAX);
        let earned = passed_ms.saturating_mul(PER_SECOND * UNIT / 1_000);
        *left = Left {
            units: left.units.saturating_add(earned).min(BURST * UNIT),
            at: now,
        };
        let cost = (requests as u64).min(BURST) * UNIT;
        let is_enough = left.units >= cost;
        if is_enough {
            left.units -= cost;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_a_share_of_what_is_answered_and_so_much_for_each_second() {
        let start = Instant::now();
        let hedges = Hedges::new(start);
        let taken = |now| (0..1_000).filter(|_| hedges.take(1, now)).count() as u64;
        assert_eq!(taken(start), BURST);
        let later = start + Duration::from_secs(2);
        assert_eq!(taken(later), 2 * PER_SECOND);
        (0..5 * ANSWERED_FOR_ONE).for_each(|_| hedges.handle_answer());
        assert_eq!(taken(later), 5);
        assert!(!hedges.take(1, later) && hedges.take(0, later));
        let much_later = later + Duration::from_secs(3_600);
        assert!(
            hedges.take(1_000, much_later),
            "what is more than a burst may wait for a whole one"
        );
        assert_eq!(taken(much_later), 0);
    }
}
