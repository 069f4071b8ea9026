//! One slot: an operation at a time, and patience after failures.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::patience::Patience;
use super::phase::{Claim, Loop};
use super::workload::Worker;
use crate::failure::{NextStep, OpError};
use crate::limits::SUPERVISION_TICK;
use crate::load::Pace;
use crate::measure::{SlotTally, thread_cpu};

/// A thread's part of a phase.
pub(super) struct Slot<'a> {
    shared: &'a Loop<'a>,
    worker: Box<dyn Worker + 'a>,
    tally: SlotTally,
    patience: Patience,
    /// CPU time of the thread when what is measured began.
    cpu_before: Option<Duration>,
}

impl<'a> Slot<'a> {
    pub(super) fn new(shared: &'a Loop<'a>, number: u32) -> Self {
        Self {
            shared,
            worker: shared.plan.workload.worker(number, &shared.halt),
            tally: SlotTally::default(),
            patience: Patience::default(),
            cpu_before: None,
        }
    }

    pub(super) fn run(mut self) -> SlotTally {
        while let Some(claim) = self.shared.claim() {
            if !self.wait_until_due(&claim) {
                break;
            }
            if claim.is_measured && self.cpu_before.is_none() {
                self.cpu_before = Some(thread_cpu());
            }
            self.shared.begun.fetch_add(1, Ordering::Relaxed);
            match self.perform(&claim) {
                Ok(true) => self.patience = Patience::default(),
                Ok(false) => break,
                Err(error) => {
                    if !self.goes_on_after(&error, claim.is_measured) {
                        break;
                    }
                }
            }
        }
        if let Err(error) = self.worker.finish() {
            self.count(&error, true);
        }
        if let Some(before) = self.cpu_before {
            self.tally.cpu = thread_cpu().saturating_sub(before);
        }
        self.tally
    }

    /// False where the workload has nothing left to do.
    fn perform(&mut self, claim: &Claim) -> Result<bool, OpError> {
        let Some(kind) = self.worker.plan(claim.number) else {
            return Ok(false);
        };
        self.worker.connect()?;
        let begun = match claim.due {
            Some(due) => self.shared.started + due,
            None => Instant::now(),
        };
        let bytes = self.worker.perform()?;
        if claim.is_measured {
            self.tally.record(kind, self.measured_time(), begun.elapsed(), bytes);
        }
        self.shared.ops.fetch_add(1, Ordering::Relaxed);
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(true)
    }

    /// Counts a failure, pauses where that may help, and says whether the slot goes on.
    fn goes_on_after(&mut self, error: &OpError, is_measured: bool) -> bool {
        self.count(error, is_measured);
        match error.next_step() {
            NextStep::GoOn => true,
            NextStep::BackOff => {
                // What is due at a rate does not wait for a server that fails.
                let is_paced = self.shared.plan.pace != Pace::Closed;
                self.patience.note_failure(error.is_silence(), Instant::now());
                if self.patience.is_at_its_end(is_paced, Instant::now()) {
                    self.tally.gave_up = 1;
                    return false;
                }
                if !is_paced {
                    self.back_off();
                }
                true
            }
            NextStep::EndPhase => {
                self.shared.halt();
                true
            }
            NextStep::Leave => false,
        }
    }

    fn count(&mut self, error: &OpError, is_measured: bool) {
        if error.next_step() == NextStep::Leave {
            return;
        }
        if is_measured {
            self.tally.record_error(self.measured_time(), error);
        } else {
            self.tally.warm_up_errors.record(error);
        }
        self.shared.errors.fetch_add(1, Ordering::Relaxed);
    }

    fn measured_time(&self) -> Duration {
        self.shared.started.elapsed().saturating_sub(self.shared.plan.warm_up)
    }

    /// False where the phase ends before.
    fn wait_until_due(&self, claim: &Claim) -> bool {
        let Some(due) = claim.due else { return true };
        let due = self.shared.started + due;
        while !self.shared.is_halted() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return !self.shared.time_is_over();
            }
            pause(left.min(SUPERVISION_TICK));
        }
        false
    }

    /// Pauses longer after each failure in a row, but not beyond the end of the phase.
    fn back_off(&self) {
        let until = Instant::now() + self.patience.pause();
        while !self.shared.is_halted() && !self.shared.is_over() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            pause(left.min(SUPERVISION_TICK));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a slot is a thread of its own, and waiting is what is asked for"
)]
fn pause(length: Duration) {
    thread::sleep(length);
}
