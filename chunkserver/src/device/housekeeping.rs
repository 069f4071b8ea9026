//! The thread that keeps house: it brings the index to the disk, compacts and scrubs, each at its pace.
//!
//! Invariants: compaction that room is short for waits for nothing; the others wait between their steps for as long as their
//! pace asks, and end within a moment when the device is closed.

use std::{
    cell::RefCell,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Condvar, Mutex};

use super::{
    DeviceSettings, answered,
    committer::Committer,
    key_locks::{KeyLock, KeyLocks},
    room::Room,
};
use crate::{
    core::pace::Pace,
    engine::{Compacted, Engine, Item, Scrubbed, Work},
    shard::ShardKey,
    store::StoreError,
};

/// How often it looks for work.
const PERIOD: Duration = Duration::from_millis(500);

/// Bytes of the log after which the index is brought to the disk: they are read again at a start.
const FLUSH_BYTES: u64 = 256 << 20;

/// Time after which it is brought there where anything was written.
const FLUSH_PERIOD: Duration = Duration::from_secs(30);

/// Steps of the scrub between two looks at everything else.
const SCRUB_STEP_BYTES: u64 = 64 << 20;

/// Keeps house for one device until it is dropped.
pub(crate) struct Housekeeper {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    asked: Mutex<Asked>,
    change: Condvar,
}

#[derive(Default)]
struct Asked {
    to_stop: bool,
    /// For room, by writes that wait for it.
    for_room: bool,
}

struct House {
    engine: Arc<Engine>,
    committer: Arc<Committer>,
    locks: KeyLocks,
    room: Room,
    settings: DeviceSettings,
    stop: Arc<Stop>,
    started: Instant,
    compaction: RefCell<Pace>,
    scrub: RefCell<Pace>,
}

impl Housekeeper {
    /// Starts the thread.
    pub(crate) fn start(
        engine: Arc<Engine>,
        committer: Arc<Committer>,
        locks: KeyLocks,
        room: Room,
        settings: DeviceSettings,
    ) -> Result<Self, String> {
        let stop = Arc::new(Stop::default());
        let name = format!("house-{}", engine.health.device());
        let house = House {
            engine,
            committer,
            locks,
            room,
            settings,
            stop: Arc::clone(&stop),
            started: Instant::now(),
            compaction: RefCell::new(Pace::new(settings.compaction_bytes_per_second)),
            scrub: RefCell::new(Pace::new(settings.scrub_bytes_per_second)),
        };
        let thread = thread::Builder::new().name(name).spawn(move || house.run());
        Ok(Self {
            stop,
            thread: Some(thread.map_err(|error| format!("cannot start a thread: {error}"))?),
        })
    }
}

impl Housekeeper {
    /// Has it look for room at once.
    pub(crate) fn ask_for_room(&self) {
        self.stop.asked.lock().for_room = true;
        self.stop.change.notify_all();
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.stop.asked.lock().to_stop = true;
        self.stop.change.notify_all();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

impl Stop {
    /// Waits, no longer where room is asked for; says whether to go on.
    fn wait(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut asked = self.asked.lock();
        while !asked.to_stop && !asked.for_room && !self.change.wait_until(&mut asked, deadline).timed_out() {}
        !asked.to_stop
    }

    fn is_asked(&self) -> bool {
        self.asked.lock().to_stop
    }

    /// Takes a request for room for done.
    fn answer_room(&self) {
        self.asked.lock().for_room = false;
    }
}

impl House {
    fn run(&self) {
        let mut flushed_bytes = self.engine.claimed_bytes();
        let mut flushed_at = Instant::now();
        while self.stop.wait(PERIOD) {
            if self.engine.health.down().is_some() {
                continue;
            }
            let claimed = self.engine.claimed_bytes();
            let is_due = claimed > flushed_bytes && flushed_at.elapsed() >= FLUSH_PERIOD;
            if claimed - flushed_bytes >= FLUSH_BYTES || is_due {
                self.note(self.engine.flush_index());
                (flushed_bytes, flushed_at) = (claimed, Instant::now());
            }
            self.stop.answer_room();
            while matches!(self.note(self.engine.compact(self)), Some(Compacted::Removed { .. })) {
                self.room.handle_freed();
            }
            self.scrub_step();
            self.engine.metrics.background.note(&self.engine.holdings());
        }
        // A start has less to read again.
        if self.engine.health.down().is_none() {
            self.note(self.engine.flush_index());
        }
    }

    /// Errors are the device's, which has noted them; want of room and of turns passes.
    fn note<T>(&self, outcome: Result<T, StoreError>) -> Option<T> {
        outcome
            .inspect_err(|error| tracing::debug!(device = %self.engine.health.device(), %error, "housekeeping"))
            .ok()
    }

    fn scrub_step(&self) {
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
        let period_ms = u64::try_from(self.settings.scrub_period.as_millis()).unwrap_or(u64::MAX);
        let read = RefCell::new(0);
        let progress = |bytes| {
            *read.borrow_mut() += bytes;
            self.engine.metrics.background.scrubbed_bytes.inc_by(bytes);
            let goes_on = self.wait(&self.scrub, bytes);
            goes_on && *read.borrow() < SCRUB_STEP_BYTES
        };
        loop {
            match self.note(self.engine.scrub(now_ms, period_ms, progress)) {
                Some(Scrubbed::Segment) => {}
                Some(Scrubbed::Idle | Scrubbed::Interrupted | Scrubbed::Pass) | None => return,
            }
        }
    }

    /// Waits as a pace asks; says whether to go on.
    fn wait(&self, pace: &RefCell<Pace>, bytes: u64) -> bool {
        let wait = pace.borrow_mut().handle_done(bytes, self.started.elapsed());
        // The sum of many short waits comes to the same.
        if wait < Duration::from_millis(5) {
            !self.stop.is_asked()
        } else {
            self.stop.wait(wait)
        }
    }
}

impl Work for House {
    type Locks = Vec<KeyLock>;

    fn lock(&self, keys: &[ShardKey]) -> Vec<KeyLock> {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        // A tombstone and a shard of one name may come together.
        keys.dedup();
        keys.into_iter().map(|key| self.locks.lock_blocking(key)).collect()
    }

    fn commit(&self, items: Vec<Item>, locks: Vec<KeyLock>) -> Vec<Result<(), StoreError>> {
        let answers: Vec<_> = items
            .into_iter()
            .map(|item| self.committer.commit(item, None))
            .collect();
        let outcomes = answers.into_iter().map(answered_blocking).collect();
        drop(locks);
        outcomes
    }

    fn handle_progress(&self, bytes: u64) -> bool {
        if self.engine.is_short_of_room() {
            return !self.stop.is_asked();
        }
        self.wait(&self.compaction, bytes)
    }
}

fn answered_blocking(answer: tokio::sync::oneshot::Receiver<Result<(), StoreError>>) -> Result<(), StoreError> {
    answered(answer.blocking_recv())
}
