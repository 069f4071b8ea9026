//! How fast background work may go: so many bytes a second.
//!
//! Pure: the shell says what time it is and waits. Invariant: over any time longer than a second no more is done than the
//! rate allows, and what was not used is not saved up.

use std::time::Duration;

/// The pace of one kind of work.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// When the work done so far would be done at the rate.
    due: Duration,
}

impl Pace {
    /// At most `bytes_per_second`; 0 is as fast as it goes.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            due: Duration::ZERO,
        }
    }

    /// From now on so many.
    pub(crate) fn change(&mut self, bytes_per_second: u64) {
        self.bytes_per_second = bytes_per_second;
    }

    /// After `bytes` were done at `now`, a time since any fixed moment: how long to wait before more is done.
    pub(crate) fn handle_done(&mut self, bytes: u64, now: Duration) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        self.due = self.due.max(now) + cost;
        self.due - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_idle_time_is_not_saved_up() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.handle_done(500, Duration::ZERO), Duration::from_millis(500));
        assert_eq!(
            pace.handle_done(500, Duration::from_millis(250)),
            Duration::from_millis(750)
        );
        assert_eq!(
            pace.handle_done(100, Duration::from_secs(60)),
            Duration::from_millis(100)
        );
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        assert_eq!(Pace::new(0).handle_done(1 << 40, Duration::ZERO), Duration::ZERO);
    }
}
