//! What the main thread does while the slots work: progress, samples of the servers' memory, and the user's stop.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::phase::{Loop, Watch};
use crate::limits::{SAMPLE_INTERVAL, SUPERVISION_TICK};
use crate::measure::{ServerUsage, process_cpu};
use crate::progress::Progress;

/// What the watched servers used during a phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerCost {
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
    /// Largest of the samples taken during the phase.
    pub(crate) rss_max_bytes: u64,
    /// Largest since the servers started, by the kernel's account; absent where that was not asked.
    pub(crate) rss_peak_bytes: Option<u64>,
}

/// The servers, from the start of what is measured.
pub(super) struct Supervised<'a> {
    watch: Watch<'a>,
    /// The error is that of a server that could not be looked at when what is measured began.
    before: Result<ServerUsage>,
    /// CPU time of this process.
    own_before: Duration,
    rss_max_bytes: u64,
}

impl<'a> Supervised<'a> {
    /// # Errors
    /// A process that cannot be looked at.
    pub(super) fn begin(watch: Watch<'a>) -> Result<Self> {
        let before = ServerUsage::of(watch.servers)?;
        Ok(Self::since(watch, Ok(before)))
    }

    /// The end of the warm-up: what was used until now does not count.
    fn begin_again(&mut self) {
        *self = Self::since(self.watch, ServerUsage::of(self.watch.servers));
    }

    fn since(watch: Watch<'a>, before: Result<ServerUsage>) -> Self {
        let rss_max_bytes = before.as_ref().map_or(0, |usage| usage.rss_bytes);
        Self {
            watch,
            before,
            own_before: process_cpu(),
            rss_max_bytes,
        }
    }

    /// CPU time of this process since.
    pub(super) fn own_cpu(&self) -> Duration {
        process_cpu().saturating_sub(self.own_before)
    }

    fn sample(&mut self) {
        // A server that died shows in the errors and at the end of the phase.
        if let Ok(usage) = ServerUsage::of(self.watch.servers) {
            self.rss_max_bytes = self.rss_max_bytes.max(usage.rss_bytes);
        }
    }

    /// # Errors
    /// A server that has ended or was started anew, so that nobody knows what it has used.
    pub(super) fn finish(self) -> Result<Option<ServerCost>> {
        if !self.watch.servers.are_watched() {
            return Ok(None);
        }
        let after = ServerUsage::of(self.watch.servers)?;
        Ok(Some(ServerCost {
            cpu: after.cpu_since(&self.before?)?,
            rss_bytes: after.rss_bytes,
            rss_max_bytes: self.rss_max_bytes.max(after.rss_bytes),
            rss_peak_bytes: after.rss_peak_bytes,
        }))
    }
}

/// Watches until all slots are done.
pub(super) fn supervise<'a>(shared: &Loop<'_>, supervised: Supervised<'a>, all_done: &Receiver<()>) -> Supervised<'a> {
    let mut supervised = supervised;
    let mut progress = Progress::new(shared.plan.label);
    let mut next_sample = shared.started + SAMPLE_INTERVAL;
    let mut warming_up = !shared.plan.warm_up.is_zero();
    while all_done.recv_timeout(SUPERVISION_TICK) == Err(RecvTimeoutError::Timeout) {
        if supervised.watch.stop.is_requested() {
            shared.halt();
        }
        if warming_up && shared.started.elapsed() >= shared.plan.warm_up {
            warming_up = false;
            supervised.begin_again();
        }
        if Instant::now() >= next_sample {
            next_sample += SAMPLE_INTERVAL;
            supervised.sample();
        }
        let counts = [&shared.ops, &shared.bytes, &shared.errors].map(|counter| counter.load(Ordering::Relaxed));
        progress.show(shared.started.elapsed(), counts);
    }
    progress.finish();
    supervised
}
