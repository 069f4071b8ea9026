//! When what failed for a chunk is tried again. Pure: it is told the time.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use cairn_common::ids::ChunkId;

/// Chunks that wait for another try at most; more simply stay in the state until these are done.
const RETRIES_MAX: usize = 4096;
/// First and longest wait before a chunk is tried again.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Chunks that wait for another try.
#[derive(Debug, Default)]
pub(super) struct Retries {
    waiting: HashMap<ChunkId, Retry>,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    wait: Duration,
    due: Duration,
}

impl Retries {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_due(&self, id: ChunkId, now: Duration) -> bool {
        self.waiting.get(&id).is_none_or(|retry| retry.due <= now)
    }

    pub(super) fn handle_failure(&mut self, id: ChunkId, now: Duration) {
        if self.waiting.len() >= RETRIES_MAX && !self.waiting.contains_key(&id) {
            return;
        }
        let wait = self
            .waiting
            .get(&id)
            .map_or(RETRY_WAIT.0, |retry| (retry.wait * 2).min(RETRY_WAIT.1));
        self.waiting.insert(id, Retry { wait, due: now + wait });
    }

    /// Forgets one that is done.
    pub(super) fn forget(&mut self, done: ChunkId) {
        self.waiting.remove(&done);
    }

    /// Forgets all but these.
    pub(super) fn keep_only(&mut self, present: &HashSet<ChunkId>) {
        self.waiting.retain(|id, _| present.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::ids::SessionId;

    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_bound() {
        let id = ChunkId {
            session: SessionId::new(1),
            counter: 1,
        };
        let mut retries = Retries::default();
        let mut now = Duration::ZERO;
        assert!(retries.is_due(id, now));
        let mut waits = Vec::new();
        for _ in 0..12 {
            retries.handle_failure(id, now);
            let wait = retries.waiting[&id].wait;
            assert!(!retries.is_due(id, now + wait - Duration::from_millis(1)));
            now += wait;
            assert!(retries.is_due(id, now));
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        retries.keep_only(&HashSet::new());
        assert!(retries.waiting.is_empty());
    }
}
