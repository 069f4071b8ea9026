//! The wall clock, which only stamps records, and whether the leader's is one to stamp with.
//!
//! Invariant: nothing that decides an outcome reads it: leases and deadlines count monotonic time.

use std::time::{SystemTime, UNIX_EPOCH};

use cairn_common::limits::CLOCK_SKEW_MAX_MS;

/// A wall clock.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// The system's wall clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// How far the median of the voters' clocks is from the leader's, where that is too far to stamp records; none where it is
/// not, or where too few voters answered to tell. `others` are the differences of those that answered, the leader's own left
/// out; of two medians the nearer counts, since one voter against one proves nothing.
pub(super) fn too_far_off(others: &[i64], voters: usize) -> Option<i64> {
    let mut skews: Vec<i64> = others.to_vec();
    skews.push(0);
    if skews.len() * 2 <= voters {
        return None;
    }
    skews.sort_unstable();
    let (low, high) = (skews[(skews.len() - 1) / 2], skews[skews.len() / 2]);
    let median = if low.unsigned_abs() <= high.unsigned_abs() {
        low
    } else {
        high
    };
    (median.unsigned_abs() > CLOCK_SKEW_MAX_MS).then_some(median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_majority_proves_a_clock_wrong() {
        let far = 31_000;
        let cases: [(&[i64], usize, Option<i64>); 8] = [
            (&[], 1, None),
            (&[far], 2, None),
            (&[far, far], 3, Some(far)),
            (&[-far, -far - 5], 3, Some(-far)),
            (&[far, -far], 3, None),
            (&[far, 10], 3, None),
            (&[far, far], 5, Some(far)),
            (&[far], 5, None),
        ];
        for (others, voters, expected) in cases {
            assert_eq!(too_far_off(others, voters), expected, "{others:?} of {voters}");
        }
        assert_eq!(too_far_off(&[29_000, 29_000], 3), None);
    }
}
