//! Memory for what was read and is not taken yet: one bound for the process.
//!
//! A client that stops in the middle of a download keeps what was read for it. Invariant: nobody waits for what clients keep, so that
//! one who keeps it holds up nobody: a reader that gets none goes on with a block at a time. Reading ahead gets only half
//! of it, so that many readers share the other half.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// The process-wide memory of readers.
pub(crate) struct ReadMemory {
    left: Arc<Semaphore>,
    /// As much again for what is being decoded. That waits for devices alone, which have deadlines, so it may be waited for.
    decoding: Semaphore,
    total_bytes: usize,
}

/// Memory for bytes that are being read, given back when it is dropped.
pub struct ReadShare {
    _permit: OwnedSemaphorePermit,
}

/// Bytes that hold their share for as long as anybody has them.
struct Held {
    bytes: Bytes,
    _share: Arc<ReadShare>,
}

impl ReadMemory {
    pub(crate) fn new(total_bytes: usize) -> Self {
        let total_bytes = total_bytes.clamp(1, u32::MAX as usize);
        Self {
            left: Arc::new(Semaphore::new(total_bytes)),
            decoding: Semaphore::new(total_bytes),
            total_bytes,
        }
    }

    /// A share for `bytes` that leaves `reserve_bytes` to others.
    fn take(&self, bytes: usize, reserve_bytes: usize) -> Option<ReadShare> {
        let wanted = u32::try_from(bytes).ok()?;
        // Between this look and the taking others may take some of the reserve: it is a hint.
        if self.left.available_permits() < bytes.saturating_add(reserve_bytes) {
            return None;
        }
        let permit = Arc::clone(&self.left).try_acquire_many_owned(wanted).ok()?;
        Some(ReadShare { _permit: permit })
    }

    /// Waits until there is room for `bytes` that are gathered and decoded; what is larger than all takes all.
    pub(crate) async fn room_to_decode(&self, bytes: usize) -> SemaphorePermit<'_> {
        let wanted = u32::try_from(bytes.min(self.total_bytes)).unwrap_or(u32::MAX);
        self.decoding.acquire_many(wanted).await.expect("it is never closed")
    }

    pub(crate) fn take_to_read(&self, bytes: usize) -> Option<ReadShare> {
        self.take(bytes, 0)
    }

    pub(crate) fn take_to_read_ahead(&self, bytes: usize) -> Option<ReadShare> {
        self.take(bytes, self.total_bytes / 2)
    }
}

impl ReadShare {
    /// Ties the share to `pieces`.
    pub fn hold(self, pieces: Vec<Bytes>) -> Vec<Bytes> {
        let share = Arc::new(self);
        let held = |bytes| {
            Bytes::from_owner(Held {
                bytes,
                _share: Arc::clone(&share),
            })
        };
        pieces.into_iter().map(held).collect()
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_comes_back_with_the_last_of_its_bytes() {
        let memory = ReadMemory::new(10);
        let share = memory.take_to_read(6).expect("there is room");
        assert!(memory.take_to_read(5).is_none());
        let pieces = share.hold(vec![Bytes::from_static(b"some"), Bytes::from_static(b"more")]);
        let part = pieces[1].slice(1..2);
        drop(pieces);
        assert!(memory.take_to_read(5).is_none());
        drop(part);
        assert!(memory.take_to_read(10).is_some());
    }

    #[test]
    fn reading_ahead_leaves_half_to_others() {
        let memory = ReadMemory::new(10);
        let _ahead = memory.take_to_read_ahead(5).expect("half is for it");
        assert!(memory.take_to_read_ahead(1).is_none());
        assert!(memory.take_to_read(5).is_some());
    }
}
