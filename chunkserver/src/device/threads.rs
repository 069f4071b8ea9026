//! Threads of a device for one kind of work, with a bounded queue.
//!
//! They are started when there is work for them, up to a bound, and end with the device. Invariant: a device whose disk hangs
//! takes no threads but its own, and beyond its queue it is busy.

use std::{
    collections::VecDeque,
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use crate::store::StoreError;

type Job = Box<dyn FnOnce() + Send>;

/// Threads for one kind of work.
pub(crate) struct Threads {
    inner: Arc<Inner>,
    name: String,
    threads_max: usize,
    queue_max: usize,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

struct Inner {
    state: Mutex<State>,
    work: Condvar,
    /// Jobs that wait.
    depth: Gauge,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    idle: usize,
    threads: usize,
    is_closed: bool,
}

impl Threads {
    /// Up to `threads_max` threads called `name`, and `queue_max` jobs that wait for one.
    pub(crate) fn new(name: String, threads_max: usize, queue_max: usize, depth: Gauge) -> Self {
        Self {
            inner: Arc::new(Inner {
                state: Mutex::default(),
                work: Condvar::new(),
                depth,
            }),
            name,
            threads_max,
            queue_max,
            handles: Mutex::default(),
        }
    }

    /// Runs `job` on a thread and waits for its result. Where nobody waits any more it does not begin, and once begun it ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let died = || StoreError::Down("an operation on the device panicked".to_owned());
        let (sender, receiver) = oneshot::channel();
        self.enter(Box::new(move || {
            if !sender.is_closed() {
                _ = sender.send(job());
            }
        }))?;
        receiver.await.unwrap_or_else(|_| Err(died()))
    }

    /// Starts `job` on a thread, whoever waits for it; the receiver gets its result.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.enter(Box::new(move || {
            // Who asked may have gone.
            _ = sender.send(job());
        }))?;
        Ok(receiver)
    }

    fn enter(&self, job: Job) -> Result<(), StoreError> {
        let mut state = self.inner.state.lock();
        if state.is_closed || state.queue.len() >= self.queue_max {
            return Err(StoreError::Busy);
        }
        state.queue.push_back(job);
        self.inner.depth.inc();
        if state.idle < state.queue.len() && state.threads < self.threads_max {
            state.threads += 1;
            drop(state);
            self.start_thread()?;
        } else {
            drop(state);
            self.inner.work.notify_one();
        }
        Ok(())
    }

    fn start_thread(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let started = thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || inner.work_until_closed());
        match started {
            Ok(handle) => {
                self.handles.lock().push(handle);
                Ok(())
            }
            Err(_) => {
                let mut state = self.inner.state.lock();
                state.threads -= 1;
                // Another thread takes the job, where there is one.
                if state.threads > 0 {
                    Ok(())
                } else {
                    Err(StoreError::Busy)
                }
            }
        }
    }
}

impl Inner {
    fn work_until_closed(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                self.depth.dec();
                // A job that panics answers nobody, which its caller hears; the thread goes on.
                _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                state = self.state.lock();
            } else if state.is_closed {
                return;
            } else {
                state.idle += 1;
                self.work.wait(&mut state);
                state.idle -= 1;
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.inner.state.lock().is_closed = true;
        self.inner.work.notify_all();
        for handle in self.handles.lock().drain(..) {
            // The last owner may be one of the threads itself.
            if handle.thread().id() != thread::current().id() {
                _ = handle.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn beyond_the_queue_it_is_busy_and_all_that_was_taken_is_done() {
        let threads = Threads::new("test".to_owned(), 2, 3, Gauge::default());
        let (held, done) = (Arc::new(Barrier::new(3)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..2 {
            let held = Arc::clone(&held);
            threads.start(move || _ = held.wait()).expect("a thread for each");
            while !threads.inner.state.lock().queue.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        for _ in 0..3 {
            let done = Arc::clone(&done);
            threads
                .start(move || done.fetch_add(1, Ordering::SeqCst))
                .expect("it waits");
        }
        assert_eq!(threads.start(|| ()).err(), Some(StoreError::Busy));
        held.wait();
        drop(threads);
        assert_eq!(done.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_does_not_begin() {
        let threads = Threads::new("test".to_owned(), 1, 3, Gauge::default());
        let (held, begun) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
        let first = Arc::clone(&held);
        threads.start(move || _ = first.wait()).expect("a thread");
        let counted = Arc::clone(&begun);
        let given_up = threads.run(move || Ok(counted.fetch_add(1, Ordering::SeqCst)));
        assert!(futures::FutureExt::now_or_never(given_up).is_none());
        held.wait();
        assert_eq!(threads.run(|| Ok(7)).await, Ok(7));
        assert_eq!(begun.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_costs_no_thread() {
        let threads = Threads::new("test".to_owned(), 1, 3, Gauge::default());
        let panicked: Result<(), _> = threads.run(|| panic!("as the test wants")).await;
        assert!(matches!(panicked, Err(StoreError::Down(_))));
        assert_eq!(threads.run(|| Ok(7)).await, Ok(7));
    }
}
