//! How long a group of writes waits for more before it is synced.
//!
//! A sync costs the same for one record and for many. Writers that were answered together mostly come back together, a moment
//! later: so a group waits for as many as the one before had, for a part of what a sync takes. Pure. Invariant: who writes
//! alone never waits.

use std::time::Duration;

/// Longest wait, whatever the disk: an answer late by this much is noticed by nobody.
const WAIT_MAX: Duration = Duration::from_micros(500);

/// The part of a sync's time that is waited at most.
const SYNC_SHARE: u32 = 3;

/// Remembers the last groups of a device.
#[derive(Debug, Default)]
pub(crate) struct GroupWindow {
    expected: usize,
    sync: Duration,
}

impl GroupWindow {
    /// How long a group of `gathered` waits for more.
    pub(crate) fn wait(&self, gathered: usize) -> Duration {
        if gathered >= self.expected {
            return Duration::ZERO;
        }
        (self.sync / SYNC_SHARE).min(WAIT_MAX)
    }

    /// A group has this many members when it has waited enough.
    pub(crate) fn expected(&self) -> usize {
        self.expected
    }

    /// A group of `size` was synced within `sync`.
    pub(crate) fn handle_synced(&mut self, size: usize, sync: Duration) {
        // Down by halves: one small group is no sign that the others have gone.
        self.expected = size.max(self.expected / 2);
        self.sync = if self.sync.is_zero() {
            sync
        } else {
            (self.sync * 7 + sync) / 8
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_alone_never_waits() {
        let mut window = GroupWindow::default();
        for _ in 0..5 {
            assert_eq!(window.wait(1), Duration::ZERO);
            window.handle_synced(1, Duration::from_millis(1));
        }
    }

    #[test]
    fn a_group_waits_for_those_of_the_one_before_and_forgets_them_soon() {
        let mut window = GroupWindow::default();
        window.handle_synced(8, Duration::from_micros(300));
        assert_eq!(window.wait(3), Duration::from_micros(100));
        assert_eq!(window.wait(8), Duration::ZERO);
        for _ in 0..3 {
            window.handle_synced(1, Duration::from_micros(300));
        }
        assert_eq!(window.wait(1), Duration::ZERO);
    }

    #[test]
    fn a_slow_disk_does_not_make_a_long_wait() {
        let mut window = GroupWindow::default();
        window.handle_synced(8, Duration::from_secs(1));
        assert_eq!(window.wait(1), WAIT_MAX);
    }
}
