//! A bounded way to a device: so many operations at a time, so many waiting, then "busy".
//!
//! Invariant: a permit is held until its operation ends, also where the caller has gone, so that a hanging device never takes
//! more than its share of threads.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One way to a device.
pub(crate) struct Lane {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// Counts one waiter for as long as it waits, also where it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    /// A lane of `running_max` operations at a time and `waiting_max` behind them.
    pub(crate) fn new(running_max: usize, waiting_max: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(running_max)),
            waiting: AtomicUsize::new(0),
            waiting_max,
        }
    }

    /// Waits for a turn; `None` where too many wait already.
    pub(crate) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Some(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.waiting_max {
            return None;
        }
        Arc::clone(&self.running).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn beyond_the_queue_it_is_busy_and_who_left_counts_no_more() {
        let lane = Lane::new(1, 1);
        let running = lane.enter().await.expect("free");
        let mut waiting = Box::pin(lane.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(lane.enter().await.is_none());
        drop(waiting);
        assert!(
            lane.enter().now_or_never().is_none(),
            "it waits in the place that came free"
        );
        drop(running);
        assert!(lane.enter().await.is_some());
    }
}
