//! The thread that gives the database what has been gathered, so that whoever applies entries need not.
//!
//! It must never be relied on: what it could not give, for want of time or because the database failed, is given, or fails
//! again, where the state is read next.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

use parking_lot::Mutex;

use super::StoreError;

/// The thread's handle.
pub(super) struct Settler {
    wake: Mutex<Option<SyncSender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Settler {
    /// Starts the thread around `settle`.
    pub(super) fn start(settle: impl Fn() -> Result<(), StoreError> + Send + 'static) -> Result<Self, StoreError> {
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("cairn-settle".to_owned())
            .spawn(move || run(&woken, settle))
            .map_err(|error| StoreError::from_io("starting the thread that writes the state", &error))?;
        Ok(Self {
            wake: Mutex::new(Some(wake)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Has it settle soon.
    pub(super) fn request(&self) {
        if let Some(wake) = &*self.wake.lock() {
            // One request that waits stands for all.
            let _ = wake.try_send(());
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        drop(self.wake.lock().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the state has panicked");
        }
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        // The thread holds the database: left alone, it could close it while the process is already being torn down.
        self.stop();
    }
}

fn run(woken: &Receiver<()>, settle: impl Fn() -> Result<(), StoreError>) {
    while woken.recv().is_ok() {
        if let Err(error) = settle() {
            tracing::debug!(%error, "the state is not written");
        }
    }
}
