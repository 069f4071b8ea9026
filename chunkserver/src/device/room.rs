//! Waiting for room: a device that is full of garbage is not full, only behind.
//!
//! A write that finds no room wakes compaction and tries again once a segment was given back. Invariant: no write waits
//! longer than [`WAIT_MAX`], nor where compaction has nothing to give.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, futures::Notified},
    time::{Instant, timeout_at},
};

use super::{DeviceStore, StoreError};

/// How long a write waits in all: a writer that is told sooner sends elsewhere.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Room as it comes back.
#[derive(Clone, Default)]
pub(crate) struct Room {
    freed: Arc<Notify>,
}

/// One write's wait for room, over all its tries.
pub(crate) struct RoomWait<'a> {
    store: &'a DeviceStore,
    deadline: Instant,
    freed: Notified<'a>,
}

impl Room {
    /// A segment was given back.
    pub(crate) fn handle_freed(&self) {
        self.freed.notify_waiters();
    }
}

impl<'a> RoomWait<'a> {
    /// Before the first try, so that nothing that is freed meanwhile is missed.
    pub(crate) fn new(store: &'a DeviceStore) -> Self {
        Self {
            store,
            deadline: Instant::now() + WAIT_MAX,
            freed: store.room.freed.notified(),
        }
    }

    /// After a try that found no room: waits for some. Full where compaction has none to give, or takes too long.
    pub(crate) async fn wait(self) -> Result<Self, StoreError> {
        let Self { store, deadline, freed } = self;
        if !store.engine.has_garbage() {
            return Err(StoreError::Full);
        }
        store.housekeeper.ask_for_room();
        timeout_at(deadline, freed).await.map_err(|_| StoreError::Full)?;
        Ok(Self {
            store,
            deadline,
            freed: store.room.freed.notified(),
        })
    }
}
