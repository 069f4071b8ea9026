//! One slot: an operation at a time, and patience after failures.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::phase::{Claim, Loop};
use super::workload::Worker;
use crate::failure::{NextStep, OpError};
use crate::limits::{FIRST_BACK_OFF, MAX_BACK_OFF, MAX_FAILURES_IN_A_ROW, SUPERVISION_TICK};
use crate::measure::{SlotTally, thread_cpu};

/// A thread's part of a phase.
pub(super) struct Slot<'a> {
    shared: &'a Loop<'a>,
    worker: Box<dyn Worker + 'a>,
    tally: SlotTally,
    failures_in_a_row: u32,
    /// CPU time of the thread when what is measured began.
    cpu_before: Option<Duration>,
}

impl<'a> Slot<'a> {
    pub(super) fn new(shared: &'a Loop<'a>, number: u32) -> Self {
        Self {
            shared,
            worker: shared.plan.workload.worker(number, &shared.halt),
            tally: SlotTally::default(),
            failures_in_a_row: 0,
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
                Ok(true) => self.failures_in_a_row = 0,
                Ok(false) => break,
                Err(error) => {
                    if !self.goes_on_after(&error) {
                        break;
                    }
                }
            }
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
    fn goes_on_after(&mut self, error: &OpError) -> bool {
        let next_step = error.next_step();
        if next_step == NextStep::Leave {
            return false;
        }
        self.tally.record_error(self.measured_time(), error);
        self.shared.errors.fetch_add(1, Ordering::Relaxed);
        match next_step {
            NextStep::GoOn => {}
            NextStep::BackOff => {
                self.failures_in_a_row += 1;
                if self.failures_in_a_row == MAX_FAILURES_IN_A_ROW {
                    self.tally.gave_up = 1;
                    return false;
                }
                self.back_off();
            }
            NextStep::EndPhase => self.shared.halt(),
            NextStep::Leave => return false,
        }
        true
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
        let pause_length = FIRST_BACK_OFF
            .saturating_mul(1 << (self.failures_in_a_row - 1).min(16))
            .min(MAX_BACK_OFF);
        let until = Instant::now() + pause_length;
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
