//! One phase: slots that put or get in a closed loop until time, count or the user ends it. Owns the threads; prints
//! only progress. Invariant: objects below `Setup::begun` may exist on the server, and none from there on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::args::BenchArgs;
use crate::client::Client;
use crate::content::Dataset;
use crate::endpoint::Endpoint;
use crate::error::{NextStep, RequestError};
use crate::limits::{
    FIRST_BACK_OFF, MAX_BACK_OFF, MAX_FAILURES_IN_A_ROW, SAMPLE_INTERVAL, SLOT_STACK_BYTES, SUPERVISION_TICK,
};
use crate::measure::Tally;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::usage::{ServerUsage, thread_cpu};

/// What all phases of a run share.
pub(crate) struct Setup<'a> {
    pub(crate) args: &'a BenchArgs,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) dataset: &'a Dataset,
    /// Set by the user to end the run.
    pub(crate) stop: &'a Stop,
    /// Objects `0..begun` may exist on the server, also after a phase that failed.
    pub(crate) begun: AtomicU64,
}

/// What the slots of a phase do.
#[derive(Clone, Copy)]
pub(crate) enum Work<'a> {
    /// Write objects 0, 1, 2, …
    Put,
    /// Read these objects in turn, again and again; never empty.
    Get(&'a [u64]),
}

/// When a phase ends by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    Time(Duration),
    Count(u64),
}

/// What a phase has done.
pub(crate) struct PhaseResult {
    pub(crate) tally: Tally,
    pub(crate) elapsed: Duration,
    /// Absent where no server process was named.
    pub(crate) server: Option<ServerCost>,
    /// Why the servers' cost is not known at the end, though they were named.
    pub(crate) server_error: Option<anyhow::Error>,
    pub(crate) interrupted: bool,
}

/// What the watched servers used during a phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerCost {
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
    /// Largest of the samples taken during the phase.
    pub(crate) rss_max_bytes: u64,
    /// Largest since the servers started, by the kernel's account.
    pub(crate) rss_peak_bytes: u64,
}

/// State the slots of a phase share.
struct Loop<'a> {
    setup: &'a Setup<'a>,
    work: Work<'a>,
    bound: Bound,
    started: Instant,
    next: AtomicU64,
    /// Ends every request in progress.
    halt: AtomicBool,
    ops: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
}

/// Runs one phase to its end; `label` names it in progress lines.
///
/// # Errors
/// A server process that is gone, or threads that cannot be had. Failed requests are in the result.
pub(crate) fn run_phase(setup: &Setup<'_>, label: &str, work: Work<'_>, bound: Bound) -> Result<PhaseResult> {
    let before = ServerUsage::of(&setup.args.server_pids)?;
    let shared = Loop::new(setup, work, bound);
    let outcome = thread::scope(|scope| run_slots(scope, &shared, label));
    let elapsed = shared.started.elapsed();
    if matches!(work, Work::Put) {
        setup.begun.store(shared.begun(), Ordering::Relaxed);
    }
    let (tally, rss_sampled_bytes) = outcome?;
    let (server, server_error) = match ServerUsage::of(&setup.args.server_pids) {
        Ok(_) if setup.args.server_pids.is_empty() => (None, None),
        Ok(after) => (Some(ServerCost::between(before, after, rss_sampled_bytes)), None),
        Err(error) => (None, Some(error)),
    };
    Ok(PhaseResult {
        tally,
        elapsed,
        server,
        server_error,
        interrupted: setup.stop.is_requested(),
    })
}

/// Runs all slots to their end; returns what they did, and the largest sample of the servers' memory.
fn run_slots<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    shared: &'scope Loop<'_>,
    label: &str,
) -> Result<(Tally, u64)> {
    let (alive, all_done) = mpsc::channel::<()>();
    let mut slots = Vec::new();
    for _ in 0..shared.setup.args.concurrency {
        let alive = alive.clone();
        let slot = thread::Builder::new()
            .stack_size(SLOT_STACK_BYTES)
            .spawn_scoped(scope, move || {
                // Dropped when the slot ends, also by a panic.
                let _alive = alive;
                shared.run_slot()
            });
        // Without the halt, the slots already running would hold the scope until the phase's own end.
        slots.push(
            slot.inspect_err(|_| shared.halt())
                .context("cannot start a thread for each slot")?,
        );
    }
    drop(alive);
    let rss_sampled_bytes = shared.supervise(label, &all_done);
    let mut tally = Tally::new();
    for slot in slots {
        tally.absorb(slot.join().map_err(|_| anyhow!("a slot panicked"))?)?;
    }
    Ok((tally, rss_sampled_bytes))
}

impl ServerCost {
    fn between(before: ServerUsage, after: ServerUsage, rss_sampled_bytes: u64) -> Self {
        Self {
            cpu: after.cpu.saturating_sub(before.cpu),
            rss_bytes: after.rss_bytes,
            rss_max_bytes: rss_sampled_bytes.max(before.rss_bytes).max(after.rss_bytes),
            rss_peak_bytes: after.rss_peak_bytes,
        }
    }
}

impl<'a> Loop<'a> {
    fn new(setup: &'a Setup<'a>, work: Work<'a>, bound: Bound) -> Self {
        Self {
            setup,
            work,
            bound,
            started: Instant::now(),
            next: AtomicU64::new(0),
            halt: AtomicBool::new(false),
            ops: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    fn halt(&self) {
        self.halt.store(true, Ordering::Relaxed);
    }

    /// Requests begun.
    fn begun(&self) -> u64 {
        let next = self.next.load(Ordering::Relaxed);
        match self.bound {
            Bound::Time(_) => next,
            Bound::Count(count) => next.min(count),
        }
    }

    /// The number of the next request, while there is to be one.
    fn claim(&self) -> Option<u64> {
        if self.halt.load(Ordering::Relaxed) {
            return None;
        }
        match self.bound {
            Bound::Time(limit) if self.started.elapsed() >= limit => None,
            Bound::Time(_) => Some(self.next.fetch_add(1, Ordering::Relaxed)),
            Bound::Count(count) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                (number < count).then_some(number)
            }
        }
    }

    fn run_slot(&self) -> Tally {
        let cpu_before = thread_cpu();
        let mut tally = Tally::new();
        let mut client = Client::new(self.setup.args, self.setup.endpoint, &self.halt);
        let mut failures_in_a_row = 0;
        while let Some(number) = self.claim() {
            let Err(error) = self.perform(number, &mut client, &mut tally) else {
                failures_in_a_row = 0;
                continue;
            };
            let next_step = error.next_step();
            if next_step == NextStep::Leave {
                break;
            }
            tally.errors.record(&error);
            self.errors.fetch_add(1, Ordering::Relaxed);
            match next_step {
                NextStep::GoOn => {}
                NextStep::BackOff => {
                    failures_in_a_row += 1;
                    if failures_in_a_row == MAX_FAILURES_IN_A_ROW {
                        tally.gave_up = 1;
                        break;
                    }
                    self.back_off(failures_in_a_row);
                }
                NextStep::EndPhase => self.halt(),
                NextStep::Leave => break,
            }
        }
        tally.cpu = thread_cpu().saturating_sub(cpu_before);
        tally
    }

    fn perform(&self, number: u64, client: &mut Client<'_>, tally: &mut Tally) -> Result<(), RequestError> {
        let dataset = self.setup.dataset;
        client.connect()?;
        let index = match self.work {
            Work::Put => number,
            Work::Get(stored) => stored[(number % stored.len() as u64) as usize],
        };
        let object = dataset.object(index);
        let begun = Instant::now();
        match self.work {
            Work::Put => client.put(dataset, &object)?,
            Work::Get(_) => client.get(dataset, &object)?,
        }
        tally.record(begun.elapsed(), object.size_bytes);
        if matches!(self.work, Work::Put) {
            tally.stored.push(index);
        }
        self.ops.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(object.size_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Pauses longer after each failure in a row, but not beyond the end of the phase.
    #[expect(
        clippy::disallowed_methods,
        reason = "a slot is a thread of its own, and patience is what is asked for"
    )]
    fn back_off(&self, failures_in_a_row: u32) {
        let pause = FIRST_BACK_OFF
            .saturating_mul(1 << (failures_in_a_row - 1).min(16))
            .min(MAX_BACK_OFF);
        let until = Instant::now() + pause;
        while !self.halt.load(Ordering::Relaxed) && !self.is_over() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(SUPERVISION_TICK));
        }
    }

    fn is_over(&self) -> bool {
        match self.bound {
            Bound::Time(limit) => self.started.elapsed() >= limit,
            Bound::Count(count) => self.next.load(Ordering::Relaxed) >= count,
        }
    }

    /// Shows progress, samples the server's memory and passes on the user's stop, until all slots are done. Returns
    /// the largest memory sample.
    fn supervise(&self, label: &str, all_done: &Receiver<()>) -> u64 {
        let mut progress = Progress::new(label);
        let (mut rss_max_bytes, mut next_sample) = (0, self.started + SAMPLE_INTERVAL);
        while all_done.recv_timeout(SUPERVISION_TICK) == Err(RecvTimeoutError::Timeout) {
            if self.setup.stop.is_requested() {
                self.halt();
            }
            if Instant::now() >= next_sample {
                next_sample += SAMPLE_INTERVAL;
                // A server that died shows in the errors and at the end of the phase.
                let sample = ServerUsage::of(&self.setup.args.server_pids).map_or(0, |usage| usage.rss_bytes);
                rss_max_bytes = rss_max_bytes.max(sample);
            }
            let counts = [&self.ops, &self.bytes, &self.errors].map(|counter| counter.load(Ordering::Relaxed));
            progress.show(self.started.elapsed(), counts);
        }
        rss_max_bytes
    }
}
