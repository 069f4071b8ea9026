//! One directory sync for all writers that wait for it.
//!
//! A writer that has renamed a file takes a number; a sync that starts after the number was taken covers it, since the rename
//! came before. One writer at a time syncs, for all numbers taken until then; the others wait for it. Invariant: a writer
//! returns `Ok` only after a sync that started after its call; after one failed sync no call returns `Ok` again, because
//! the kernel reports a lost write only once.

use parking_lot::{Condvar, Mutex};

/// The waiters of one directory.
#[derive(Default)]
pub(crate) struct DirectorySync {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
struct State {
    asked: u64,
    synced: u64,
    running: bool,
    failed: bool,
}

/// A sync of this directory failed, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyncFailed;

impl DirectorySync {
    /// Returns once a call of `sync`, by this or another thread, that started after this call has succeeded.
    pub(crate) fn wait<E>(&self, sync: impl FnOnce() -> Result<(), E>) -> Result<(), Result<SyncFailed, E>> {
        let mut state = self.state.lock();
        state.asked += 1;
        let own = state.asked;
        while state.running && state.synced < own && !state.failed {
            self.done.wait(&mut state);
        }
        if state.failed {
            return Err(Ok(SyncFailed));
        }
        if state.synced >= own {
            return Ok(());
        }
        let covered = state.asked;
        state.running = true;
        drop(state);
        let outcome = sync();
        let mut state = self.state.lock();
        state.running = false;
        match &outcome {
            Ok(()) => state.synced = covered,
            Err(_) => state.failed = true,
        }
        self.done.notify_all();
        outcome.map_err(Err)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc, Barrier,
            atomic::{AtomicU64, Ordering},
        },
        thread,
    };

    use super::*;

    #[test]
    fn a_sync_that_started_before_the_call_does_not_count() {
        let directory = Arc::new(DirectorySync::default());
        let (inside, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let first = {
            let (directory, inside, leave) = (Arc::clone(&directory), Arc::clone(&inside), Arc::clone(&leave));
            thread::spawn(move || {
                directory.wait::<()>(|| {
                    inside.wait();
                    leave.wait();
                    Ok(())
                })
            })
        };
        inside.wait();
        let own = Arc::new(AtomicU64::new(0));
        let second = {
            let (directory, own) = (Arc::clone(&directory), Arc::clone(&own));
            thread::spawn(move || {
                directory.wait::<()>(|| {
                    own.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                })
            })
        };
        while directory.state.lock().asked < 2 {
            thread::yield_now();
        }
        assert_eq!(own.load(Ordering::SeqCst), 0);
        leave.wait();
        assert!(first.join().expect("no panic").is_ok() && second.join().expect("no panic").is_ok());
        assert_eq!(own.load(Ordering::SeqCst), 1, "the second caller synced for itself");
    }

    #[test]
    fn many_callers_share_syncs_and_each_sees_its_own_rename() {
        let directory = Arc::new(DirectorySync::default());
        let (renamed, synced, syncs) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicU64::new(0)),
        );
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let (directory, renamed) = (Arc::clone(&directory), Arc::clone(&renamed));
                let (synced, syncs) = (Arc::clone(&synced), Arc::clone(&syncs));
                thread::spawn(move || {
                    for _ in 0..500 {
                        let own = renamed.fetch_add(1, Ordering::SeqCst) + 1;
                        let sync = || {
                            syncs.fetch_add(1, Ordering::SeqCst);
                            let seen = renamed.load(Ordering::SeqCst);
                            thread::yield_now();
                            synced.fetch_max(seen, Ordering::SeqCst);
                            Ok::<_, ()>(())
                        };
                        directory.wait(sync).expect("no sync fails");
                        assert!(synced.load(Ordering::SeqCst) >= own);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        assert!(syncs.load(Ordering::SeqCst) <= 4000);
    }

    #[test]
    fn after_a_failure_nobody_is_told_that_it_went_well() {
        let directory = DirectorySync::default();
        assert_eq!(directory.wait(|| Err("lost")), Err(Err("lost")));
        assert_eq!(directory.wait(|| Ok::<_, &str>(())), Err(Ok(SyncFailed)));
    }
}
