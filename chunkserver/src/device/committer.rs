//! The thread that commits: it gathers what waits into groups, each written and synced together.
//!
//! While a group is synced the next one gathers, so that the busier the device, the more share a sync. Invariants: members are
//! committed in the order in which they came; each gets an answer; once closed, nothing that was taken is left out.

use std::{
    collections::VecDeque,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::key_locks::KeyLock;
use crate::{
    core::group_window::GroupWindow,
    engine::{Engine, Item},
    store::StoreError,
};

/// Members of a group.
const GROUP_MAX: usize = 512;

/// Bytes of payload in a group that are still to be written.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Members that wait; beyond it the device is busy.
const WAITING_MAX: usize = 4096;

/// Commits for one device.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    engine: Arc<Engine>,
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Member>,
    is_closed: bool,
}

/// One that waits to be committed. The lock of its shard goes with it.
struct Member {
    item: Item,
    bytes: usize,
    lock: Option<KeyLock>,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

impl Committer {
    /// Starts the thread.
    pub(crate) fn start(engine: Arc<Engine>) -> Result<Self, String> {
        let shared = Arc::new(Shared {
            engine,
            queue: Mutex::default(),
            more: Condvar::new(),
        });
        let name = format!("commit-{}", shared.engine.health.device());
        let running = Arc::clone(&shared);
        let thread = thread::Builder::new().name(name).spawn(move || running.run());
        Ok(Self {
            shared,
            thread: Some(thread.map_err(|error| format!("cannot start a thread: {error}"))?),
        })
    }

    /// Has `item` committed; the receiver hears how it went.
    pub(crate) fn commit(&self, item: Item, lock: Option<KeyLock>) -> oneshot::Receiver<Result<(), StoreError>> {
        let (answer, answered) = oneshot::channel();
        let bytes = match &item {
            Item::Write { payload, .. } => payload.iter().map(bytes::Bytes::len).sum(),
            Item::Written(_) => 0,
        };
        let member = Member {
            item,
            bytes,
            lock,
            answer,
        };
        let mut queue = self.shared.queue.lock();
        let refused = match member.item {
            _ if queue.is_closed => Some(StoreError::Down("the device is being closed".to_owned())),
            Item::Write { moved: None, .. } if queue.waiting.len() >= WAITING_MAX => Some(StoreError::Busy),
            // What was written, or is moved in bounded groups, must not be refused.
            Item::Write { .. } | Item::Written(_) => None,
        };
        match refused {
            Some(error) => {
                if let Item::Written(claimed) = &member.item {
                    self.shared.engine.give_up(claimed);
                }
                _ = member.answer.send(Err(error));
            }
            None => {
                self.shared.engine.metrics.waiting.commits.inc();
                queue.waiting.push_back(member);
                self.shared.more.notify_one();
            }
        }
        answered
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.queue.lock().is_closed = true;
        self.shared.more.notify_one();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut window = GroupWindow::default();
        while let Some(group) = self.gather(&window) {
            let size = group.len();
            let metrics = &self.engine.metrics;
            metrics.waiting.commits.dec_by(i64::try_from(size).unwrap_or(i64::MAX));
            metrics.group_members.observe(size as f64);
            let mut items = Vec::with_capacity(size);
            let mut answers = Vec::with_capacity(size);
            for member in group {
                items.push(member.item);
                answers.push((member.answer, member.lock));
            }
            let started = Instant::now();
            let outcomes = self.engine.commit(items);
            window.handle_synced(size, started.elapsed());
            for ((answer, lock), outcome) in answers.into_iter().zip(outcomes) {
                // Free before its writer hears, who may come back at once.
                drop(lock);
                _ = answer.send(outcome);
            }
        }
    }

    /// Waits for the next group; `None` at the end.
    fn gather(&self, window: &GroupWindow) -> Option<Vec<Member>> {
        let mut queue = self.queue.lock();
        while queue.waiting.is_empty() {
            if queue.is_closed {
                return None;
            }
            self.more.wait(&mut queue);
        }
        let deadline = Instant::now() + window.wait(queue.waiting.len());
        while queue.waiting.len() < window.expected() && !queue.is_closed {
            if self.more.wait_until(&mut queue, deadline).timed_out() {
                break;
            }
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.len() < GROUP_MAX {
            let Some(next) = queue.waiting.front() else { break };
            bytes += next.bytes;
            if bytes > GROUP_BYTES_MAX && !group.is_empty() {
                break;
            }
            group.extend(queue.waiting.pop_front());
        }
        Some(group)
    }
}
