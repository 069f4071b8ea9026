//! One change at a time for each shard.
//!
//! Who changes a shard holds its lock until the index knows of it, so that a put, a delete and compaction never meet. Locks
//! are granted in the order in which they were asked for. Invariant: who holds one lock takes another only of a greater
//! shard, so that nobody waits in a circle.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::shard::ShardKey;

/// The locks of a device.
#[derive(Clone, Default)]
pub(crate) struct KeyLocks {
    table: Arc<Mutex<Table>>,
}

/// Who waits for each shard that is locked.
type Table = HashMap<ShardKey, VecDeque<oneshot::Sender<KeyLock>>>;

/// A held lock; dropping it passes it on.
pub(crate) struct KeyLock {
    /// Nothing where it was passed on already.
    table: Option<Arc<Mutex<Table>>>,
    key: ShardKey,
}

impl KeyLocks {
    /// Waits for the lock of a shard.
    pub(crate) async fn lock(&self, key: ShardKey) -> KeyLock {
        match self.try_lock(key) {
            Ok(lock) => lock,
            Err(waiting) => waiting.await.expect("a lock is passed on, never lost"),
        }
    }

    /// The same, from a thread that may wait.
    pub(crate) fn lock_blocking(&self, key: ShardKey) -> KeyLock {
        match self.try_lock(key) {
            Ok(lock) => lock,
            Err(waiting) => waiting.blocking_recv().expect("a lock is passed on, never lost"),
        }
    }

    fn try_lock(&self, key: ShardKey) -> Result<KeyLock, oneshot::Receiver<KeyLock>> {
        let mut table = self.table.lock();
        if let Some(waiters) = table.get_mut(&key) {
            let (sender, receiver) = oneshot::channel();
            waiters.push_back(sender);
            return Err(receiver);
        }
        table.insert(key, VecDeque::new());
        drop(table);
        Ok(KeyLock {
            table: Some(Arc::clone(&self.table)),
            key,
        })
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        let mut held = self.table.take();
        while let Some(table) = held.take() {
            let next = {
                let mut table = table.lock();
                let next = table.get_mut(&self.key).and_then(VecDeque::pop_front);
                if next.is_none() {
                    table.remove(&self.key);
                }
                next
            };
            let Some(next) = next else { return };
            let passed = Self {
                table: Some(table),
                key: self.key,
            };
            // Who has gone meanwhile gives it back, and it goes to the one behind.
            held = next.send(passed).err().and_then(|mut returned| returned.table.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::ids::{ChunkId, SessionId};
    use futures::FutureExt;

    use super::*;

    const KEY: ShardKey = ShardKey {
        chunk: ChunkId {
            session: SessionId::new(1),
            counter: 1,
        },
        index: 0,
    };

    #[tokio::test]
    async fn a_lock_is_passed_on_in_order_and_past_those_who_left() {
        let locks = KeyLocks::default();
        let held = locks.lock(KEY).await;
        let mut second = Box::pin(locks.lock(KEY));
        assert!(second.as_mut().now_or_never().is_none());
        let mut third = Box::pin(locks.lock(KEY));
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        drop(held);
        let third = third.now_or_never().expect("the one before has left");
        drop(third);
        assert!(locks.table.lock().is_empty());
    }

    #[tokio::test]
    async fn a_lock_that_was_passed_on_to_nobody_is_free_again() {
        let locks = KeyLocks::default();
        let held = locks.lock(KEY).await;
        let mut second = Box::pin(locks.lock(KEY));
        assert!(second.as_mut().now_or_never().is_none());
        drop(held);
        // It was sent to the second, which goes without taking it.
        drop(second);
        assert!(locks.lock(KEY).now_or_never().is_some());
    }
}
