//! When operations begin and when a phase ends. Closed loop: as soon as a slot is free. Open loop: at a rate, whatever the
//! server does, so that an operation which had to wait is charged for the wait (no coordinated omission).

use std::time::Duration;

/// When operations begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// As soon as a slot is free.
    Closed,
    /// So many a second, evenly.
    Open(f64),
}

/// When a phase ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Time(Duration),
    Count(u64),
}

impl Pace {
    /// When operation `number` is due, from the start of the phase; at once in a closed loop.
    pub(crate) fn due(self, number: u64) -> Option<Duration> {
        match self {
            Self::Closed => None,
            Self::Open(rate) => Some(Duration::from_secs_f64(number as f64 / rate)),
        }
    }

    /// How many operations are due within `time`.
    pub(crate) fn due_within(self, time: Duration) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Open(rate) => (time.as_secs_f64() * rate).ceil() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_is_even() {
        let pace = Pace::Open(4.0);
        assert_eq!(pace.due(0), Some(Duration::ZERO));
        assert_eq!(pace.due(6), Some(Duration::from_millis(1500)));
        assert_eq!(pace.due_within(Duration::from_secs(2)), 8);
        assert_eq!((Pace::Closed.due(9), Pace::Closed.due_within(Duration::MAX)), (None, 0));
    }
}
