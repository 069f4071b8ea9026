//! The beginning and the end of a phase, and what the slots share meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::slot::Slot;
use super::supervise::{ServerCost, Supervised, supervise};
use super::workload::Workload;
use crate::limits::SLOT_STACK_BYTES;
use crate::load::{Bound, Pace};
use crate::measure::{Servers, SlotTally, Tally};
use crate::stop::Stop;

/// What is to be done.
#[derive(Clone, Copy)]
pub(crate) struct PhasePlan<'a> {
    /// Names it in progress lines.
    pub(crate) label: &'a str,
    pub(crate) workload: &'a dyn Workload,
    pub(crate) bound: Bound,
    pub(crate) pace: Pace,
    pub(crate) warm_up: Duration,
    pub(crate) concurrency: u32,
}

/// What is looked at meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    /// Set by the user to end the run.
    pub(crate) stop: &'a Stop,
    pub(crate) servers: Servers<'a>,
}

/// What a phase has done.
pub(crate) struct PhaseResult {
    pub(crate) slots: SlotTally,
    /// All kinds of operations together.
    pub(crate) total: Tally,
    /// Without the warm-up.
    pub(crate) elapsed: Duration,
    /// Operations of an open loop that were due within the phase and never begun; their wait is among the latencies.
    pub(crate) not_begun: u64,
    /// Absent where no server process was named.
    pub(crate) server: Option<ServerCost>,
    /// Why the servers' cost is not known at the end, though they were named.
    pub(crate) server_error: Option<anyhow::Error>,
    pub(crate) interrupted: bool,
}

impl PhaseResult {
    /// Operations that failed, during the warm-up too.
    pub(crate) fn failures(&self) -> u64 {
        self.slots.errors.total() + self.slots.warm_up_errors.total()
    }
}

/// State the slots of a phase share.
pub(super) struct Loop<'a> {
    pub(super) plan: PhasePlan<'a>,
    pub(super) started: Instant,
    /// Ends every operation in progress.
    pub(super) halt: AtomicBool,
    next: AtomicU64,
    /// Operations claimed after the warm-up of a closed loop.
    counted: AtomicU64,
    pub(super) begun: AtomicU64,
    pub(super) ops: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) errors: AtomicU64,
}

/// An operation that a slot is to do.
pub(super) struct Claim {
    pub(super) number: u64,
    /// In an open loop: when, from the start of the phase.
    pub(super) due: Option<Duration>,
    pub(super) is_measured: bool,
}

/// Runs one phase to its end.
///
/// # Errors
/// A server process that is gone, or threads that cannot be had. Failed operations are in the result.
pub(crate) fn run_phase(watch: Watch<'_>, plan: PhasePlan<'_>) -> Result<PhaseResult> {
    let shared = Loop::new(plan);
    let (slots, supervised) = thread::scope(|scope| run_slots(scope, &shared, watch))?;
    let elapsed = shared.started.elapsed().saturating_sub(plan.warm_up);
    let mut total = slots.total()?;
    let mut slots = slots;
    if plan.workload.works_in_background() {
        slots.cpu = supervised.own_cpu();
    }
    let not_begun = shared.count_not_begun(&mut slots, &mut total);
    let (server, server_error) = match supervised.finish() {
        Ok(cost) => (cost, None),
        Err(error) => (None, Some(error)),
    };
    Ok(PhaseResult {
        slots,
        total,
        elapsed,
        not_begun,
        server,
        server_error,
        interrupted: watch.stop.is_requested(),
    })
}

/// Runs all slots to their end.
fn run_slots<'scope, 'watch>(
    scope: &'scope thread::Scope<'scope, '_>,
    shared: &'scope Loop<'_>,
    watch: Watch<'watch>,
) -> Result<(SlotTally, Supervised<'watch>)> {
    let supervised = Supervised::begin(watch)?;
    let (alive, all_done) = mpsc::channel::<()>();
    let mut slots = Vec::new();
    for number in 0..shared.plan.concurrency {
        let alive = alive.clone();
        let slot = thread::Builder::new()
            .stack_size(SLOT_STACK_BYTES)
            .spawn_scoped(scope, move || {
                // Dropped when the slot ends, also by a panic.
                let _alive = alive;
                Slot::new(shared, number).run()
            });
        // Without the halt, the slots already running would hold the scope until the phase's own end.
        slots.push(
            slot.inspect_err(|_| shared.halt())
                .context("cannot start a thread for each slot")?,
        );
    }
    drop(alive);
    let supervised = supervise(shared, supervised, &all_done);
    let mut tally = SlotTally::default();
    for slot in slots {
        tally.absorb(slot.join().map_err(|_| anyhow!("a slot panicked"))?)?;
    }
    Ok((tally, supervised))
}

impl<'a> Loop<'a> {
    fn new(plan: PhasePlan<'a>) -> Self {
        Self {
            plan,
            started: Instant::now(),
            halt: AtomicBool::new(false),
            next: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            ops: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    pub(super) fn halt(&self) {
        self.halt.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halt.load(Ordering::Relaxed)
    }

    /// The next operation, while there is to be one.
    pub(super) fn claim(&self) -> Option<Claim> {
        if self.is_halted() || self.time_is_over() {
            return None;
        }
        let PhasePlan {
            pace, bound, warm_up, ..
        } = self.plan;
        if pace == Pace::Closed {
            let is_measured = self.started.elapsed() >= warm_up;
            if let (Bound::Count(count), true) = (bound, is_measured)
                && self.counted.fetch_add(1, Ordering::Relaxed) >= count
            {
                return None;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            return Some(Claim {
                number,
                due: None,
                is_measured,
            });
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = pace.due(number).unwrap_or_default();
        let is_over = match bound {
            Bound::Time(limit) => due >= warm_up + limit,
            Bound::Count(count) => number >= pace.due_within(warm_up).saturating_add(count),
        };
        (!is_over).then_some(Claim {
            number,
            due: Some(due),
            is_measured: due >= warm_up,
        })
    }

    pub(super) fn time_is_over(&self) -> bool {
        match self.plan.bound {
            Bound::Time(limit) => self.started.elapsed() >= self.plan.warm_up + limit,
            Bound::Count(_) => false,
        }
    }

    /// Nothing is left to be claimed.
    pub(super) fn is_over(&self) -> bool {
        match self.plan.bound {
            Bound::Time(_) => self.time_is_over(),
            Bound::Count(count) => self.counted.load(Ordering::Relaxed) >= count && self.plan.pace == Pace::Closed,
        }
    }

    /// What an open loop still owed when its time was over has waited until then, at least.
    fn count_not_begun(&self, slots: &mut SlotTally, total: &mut Tally) -> u64 {
        let PhasePlan {
            pace, bound, warm_up, ..
        } = self.plan;
        let Bound::Time(limit) = bound else { return 0 };
        // Where the user or a final error ended the phase, what was not begun was not owed.
        let end = (warm_up + limit).min(self.started.elapsed());
        let owed = pace.due_within(end);
        let begun = self.begun.load(Ordering::Relaxed);
        let single = slots.by_kind.len() == 1;
        for number in begun..owed {
            let due = pace.due(number).unwrap_or_default();
            if due < warm_up {
                continue;
            }
            total.record_wait(end.saturating_sub(due));
            if let Some(tally) = slots.by_kind.values_mut().next().filter(|_| single) {
                tally.record_wait(end.saturating_sub(due));
            }
        }
        owed.saturating_sub(begun)
    }
}
