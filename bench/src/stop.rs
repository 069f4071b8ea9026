//! Ending a run early: by a signal, or by whoever started it. Only this module touches signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

/// Exit status of a process that a second interrupt ends, as shells number it.
const INTERRUPTED_STATUS: i32 = 130;

/// A wish to end a run; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    /// The run has noticed, so a further signal means "at once". Not the request itself: shells and `timeout` may send
    /// the same signal twice in one go.
    noticed: Arc<AtomicBool>,
}

/// Signal handlers that request a stop; removed when dropped.
pub(crate) struct SignalWatch(Vec<SigId>);

impl Stop {
    /// Ends the run soon, with results and cleanup.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_requested(&self) -> bool {
        let requested = self.requested.load(Ordering::Relaxed);
        if requested {
            self.noticed.store(true, Ordering::Relaxed);
        }
        requested
    }

    /// For those who only look, in their innermost loop.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.requested
    }

    /// Lets an interrupt or a termination signal request the stop, and a further one end the process.
    pub(crate) fn watch_signals(&self) -> Result<SignalWatch> {
        let mut watch = SignalWatch(Vec::new());
        for signal in [SIGINT, SIGTERM] {
            let ends = flag::register_conditional_shutdown(signal, INTERRUPTED_STATUS, Arc::clone(&self.noticed));
            watch.0.push(ends.context("cannot watch for interrupts")?);
            let requests = flag::register(signal, Arc::clone(&self.requested));
            watch.0.push(requests.context("cannot watch for interrupts")?);
        }
        Ok(watch)
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            low_level::unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second signal before the first was noticed would end this process, and fail the test.
    #[test]
    fn one_signal_that_comes_twice_is_one_request() {
        let stop = Stop::default();
        let _watch = stop.watch_signals().unwrap();
        assert!(!stop.is_requested());
        low_level::raise(SIGTERM).unwrap();
        low_level::raise(SIGTERM).unwrap();
        assert!(stop.is_requested());
    }
}
