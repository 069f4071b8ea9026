//! The thread that syncs the log: one sync covers everything that was written before it began.
//!
//! It must never sync again after a sync has failed: the kernel may have dropped the pages, and a second sync that succeeds
//! would prove nothing. Invariant: a callback hears `Ok` only after a sync that began after its request was made.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::StoreError;

/// Requests that wait for a sync at most. The proposer keeps a handful of entries in flight; this is room for elections.
const WAITING_MAX: usize = 1024;

/// Hears how a sync went.
pub(crate) type Callback = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Hears how long each sync took.
pub(crate) type SyncObserver = Box<dyn Fn(Duration) + Send>;

/// The thread's handle.
pub(super) struct Syncer {
    requests: Mutex<Option<SyncSender<Callback>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Syncer {
    /// Starts the thread around `sync`.
    pub(super) fn start(
        sync: impl Fn() -> Result<(), StoreError> + Send + 'static,
        observe: SyncObserver,
    ) -> Result<Self, StoreError> {
        let (requests, waiting) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("cairn-log-sync".to_owned())
            .spawn(move || run(&waiting, sync, &observe))
            .map_err(|error| StoreError::from_io("starting the log's sync thread", &error))?;
        Ok(Self {
            requests: Mutex::new(Some(requests)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Calls `callback` once all that has been written until now is synced.
    pub(super) fn request(&self, callback: Callback) {
        let requests = self.requests.lock().clone();
        let Some(requests) = requests else {
            return callback(Err(StoreError::Closed));
        };
        if let Err(refused) = requests.send(callback) {
            (refused.0)(Err(StoreError::Closed));
        }
    }

    /// Answers what still waits, then ends the thread.
    pub(super) fn stop(&self) {
        drop(self.requests.lock().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the log's sync thread has panicked");
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        // The thread holds the database: left alone, it could close it while the process is already being torn down.
        self.stop();
    }
}

fn run(waiting: &Receiver<Callback>, sync: impl Fn() -> Result<(), StoreError>, observe: &SyncObserver) {
    let mut failed: Option<StoreError> = None;
    while let Ok(first) = waiting.recv() {
        let callbacks: Vec<Callback> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let outcome = match &failed {
            Some(error) => Err(error.clone()),
            None => {
                let started = Instant::now();
                let outcome = sync();
                observe(started.elapsed());
                failed = outcome.clone().err();
                outcome
            }
        };
        for callback in callbacks {
            callback(outcome.clone());
        }
    }
}

/// A callback for a caller that waits on its own thread.
pub(super) fn blocking_callback() -> (Callback, Receiver<Result<(), StoreError>>) {
    let (done, wait) = sync_channel(1);
    let done = Arc::new(done);
    let callback = move |outcome| {
        // A waiter that has gone needs no answer.
        let _ = done.send(outcome);
    };
    (Box::new(callback), wait)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn waiting_requests_share_a_sync() {
        let syncs = Arc::new(AtomicUsize::new(0));
        let (release, gate) = sync_channel::<()>(2);
        let counted = Arc::clone(&syncs);
        let gate = Mutex::new(gate);
        let syncer = Syncer::start(
            move || {
                gate.lock().recv().expect("the test releases each sync");
                counted.fetch_add(1, Ordering::SeqCst);
                Ok(())
            },
            Box::new(|_| {}),
        )
        .expect("a thread");
        let waits: Vec<_> = (0..10)
            .map(|_| {
                let (callback, wait) = blocking_callback();
                syncer.request(callback);
                wait
            })
            .collect();
        // The first sync serves one request or more; the second all the others. A third would wait for ever.
        release.send(()).expect("room for two");
        release.send(()).expect("room for two");
        for wait in waits {
            assert_eq!(wait.recv(), Ok(Ok(())));
        }
        assert!(syncs.load(Ordering::SeqCst) <= 2);
        drop(release);
        syncer.stop();
    }

    #[test]
    fn after_a_failed_sync_none_is_tried_again() {
        let syncs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&syncs);
        let failure = StoreError::Io {
            what: "the sync",
            detail: "bad sector".to_owned(),
        };
        let answer = failure.clone();
        let sync = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Err(answer.clone())
        };
        let syncer = Syncer::start(sync, Box::new(|_| {})).expect("a thread");
        for _ in 0..3 {
            let (callback, wait) = blocking_callback();
            syncer.request(callback);
            assert_eq!(wait.recv(), Ok(Err(failure.clone())));
        }
        assert_eq!(syncs.load(Ordering::SeqCst), 1);
        syncer.stop();
        let (callback, wait) = blocking_callback();
        syncer.request(callback);
        assert_eq!(wait.recv(), Ok(Err(StoreError::Closed)));
    }
}
