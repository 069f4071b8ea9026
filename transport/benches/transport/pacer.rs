//! Holds a load to a given number of bytes per second.
//!
//! Owns: the schedule that all senders of one load share. It never lets a late load catch up in one burst: a pause of
//! the machine would otherwise turn into a load above the rate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How far behind the schedule may lie before the missed part is given up.
const MAX_LAG: Duration = Duration::from_millis(20);

/// Hands out send times, one after the other.
#[derive(Debug)]
pub(crate) struct Pacer {
    bytes_per_second: f64,
    next: Mutex<Instant>,
    granted_bytes: AtomicU64,
}

impl Pacer {
    pub(crate) fn new(bytes_per_second: f64) -> Self {
        Self {
            bytes_per_second,
            next: Mutex::new(Instant::now()),
            granted_bytes: AtomicU64::new(0),
        }
    }

    /// Waits for the turn of the next `bytes`.
    pub(crate) async fn turn(&self, bytes: usize) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = (*next).max(now.checked_sub(MAX_LAG).unwrap_or(now));
            *next = turn + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
            turn
        };
        sleep_until(turn).await;
        self.granted_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes whose turn has come so far.
    pub(crate) fn granted_bytes(&self) -> u64 {
        self.granted_bytes.load(Ordering::Relaxed)
    }
}
