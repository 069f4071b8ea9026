//! How long a node that could not be reached is left alone.
//!
//! Pure: the caller passes the time and a random number.

use std::time::Duration;

/// Pause after the first failure; doubled with each further one.
const FIRST: Duration = Duration::from_millis(50);
/// Longest pause: a node that comes back is found within it.
const LONGEST: Duration = Duration::from_secs(5);

/// The pause after `failures` failures in a row, spread by `random` over its upper half so that nodes do not all come back at
/// once.
pub(super) fn pause(failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let half = whole / 2;
    half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_spread_over_their_upper_half() {
        for (failures, whole_ms) in [(1, 50), (2, 100), (3, 200), (7, 3_200), (8, 5_000), (u32::MAX, 5_000)] {
            let whole = Duration::from_millis(whole_ms);
            assert_eq!(pause(failures, 0), whole / 2, "{failures}");
            let most = pause(failures, u64::MAX);
            assert!(most > whole.mul_f64(0.99) && most <= whole, "{failures}: {most:?}");
        }
    }
}
