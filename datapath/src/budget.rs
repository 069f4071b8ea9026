//! The budget of chunk buffers: one bound for the process, and the pool of memory behind it.
//!
//! A buffer grows in three steps (64 KiB, 1 MiB, the whole chunk), so that a small body pins little. Growing while holding
//! can deadlock where all share one pot, so each step has a pot of its own (1/8, 1/8 and 3/4 of the budget) and a buffer
//! gives its lower step back once it has the higher one. A holder of the last step waits for nothing here, only for its
//! bytes and its devices, both under deadlines; a holder of step n waits only for holders of steps above n. The order has
//! no circle, so some buffer can always go on. The price is that small uploads leave up to a quarter of the budget unused.
//! Clients that send slowly can still make others wait, so every step has a deadline too ([`crate::SlowDown`]).
//!
//! Memory comes from a pool: an 8 MiB buffer mapped and zeroed anew for each chunk costs more than hashing it. It is
//! page-aligned, so that shards of whole pages can go to a disk without another copy. Invariant:
//! memory in use and memory kept idle are together at most the budget, unless the budget is smaller than one buffer, in
//! which case buffers are handed out one at a time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cairn_common::{
    aligned::AlignedBytes,
    limits::{BUFFER_FIRST_STEP_BYTES, BUFFER_SECOND_STEP_BYTES},
    redundancy::Redundancy,
};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The process-wide budget of chunk buffers, in bytes.
#[derive(Clone)]
pub struct ChunkBudget {
    inner: Arc<Inner>,
}

struct Inner {
    pots: [Pot; 3],
    in_use_bytes: AtomicUsize,
    pool: Mutex<Pool>,
}

struct Pot {
    size_bytes: usize,
    left: Arc<Semaphore>,
}

/// The steps of a buffer, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    First,
    Second,
    Whole,
}

/// Memory of a buffer. Dropping it gives memory and budget back.
pub(crate) struct Memory {
    bytes: AlignedBytes,
    charged_bytes: usize,
    budget: ChunkBudget,
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Pool {
    limit_bytes: usize,
    /// Memory in use and idle.
    allocated_bytes: usize,
    /// Idle memory by its size.
    idle: BTreeMap<usize, Vec<AlignedBytes>>,
}

impl ChunkBudget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        let pot = |size_bytes: usize| {
            let size_bytes = size_bytes.clamp(1, u32::MAX as usize);
            Pot {
                size_bytes,
                left: Arc::new(Semaphore::new(size_bytes)),
            }
        };
        let pots = [pot(bytes / 8), pot(bytes / 8), pot(bytes / 4 * 3)];
        let pool = Mutex::new(Pool {
            limit_bytes: bytes,
            ..Pool::default()
        });
        Self {
            inner: Arc::new(Inner {
                pots,
                in_use_bytes: AtomicUsize::new(0),
                pool,
            }),
        }
    }

    /// Bytes of the budget that buffers hold now, shards still being sent included.
    pub fn in_use_bytes(&self) -> usize {
        self.inner.in_use_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the whole budget.
    pub(crate) fn total_bytes(&self) -> usize {
        self.inner.pots.iter().map(|pot| pot.size_bytes).sum()
    }

    pub(crate) async fn take(&self, step: Step, len: usize) -> Memory {
        let pot = &self.inner.pots[step as usize];
        let charged_bytes = len.min(pot.size_bytes);
        let permits = u32::try_from(charged_bytes).expect("a pot is at most u32::MAX bytes");
        let permit = Arc::clone(&pot.left).acquire_many_owned(permits).await;
        let permit = permit.expect("the semaphore is never closed");
        self.inner.in_use_bytes.fetch_add(charged_bytes, Ordering::Relaxed);
        let idle = self.inner.pool.lock().take(len);
        // Outside of the lock: the first touch of new memory is left to who fills it.
        let bytes = idle.unwrap_or_else(|| AlignedBytes::zeroed(len));
        Memory {
            bytes,
            charged_bytes,
            budget: self.clone(),
            _permit: permit,
        }
    }
}

impl Step {
    /// The lowest step that holds `wanted` bytes of a chunk of at most `capacity`.
    pub(crate) fn holding(wanted: usize, capacity: usize) -> Self {
        let steps = [Self::First, Self::Second];
        steps
            .into_iter()
            .find(|step| wanted <= step.room(capacity))
            .unwrap_or(Self::Whole)
    }

    /// Chunk bytes that a buffer of this step has room for.
    pub(crate) fn room(self, capacity: usize) -> usize {
        match self {
            Self::First => capacity.min(BUFFER_FIRST_STEP_BYTES),
            Self::Second => capacity.min(BUFFER_SECOND_STEP_BYTES),
            Self::Whole => capacity,
        }
    }
}

/// Bytes of memory for `room` chunk bytes with padding and parity, rounded up so that few sizes are in the pool.
pub(crate) fn memory_len(room: usize, redundancy: Redundancy) -> usize {
    if room <= BUFFER_FIRST_STEP_BYTES {
        // So small a chunk is stored as replicas: every shard is the chunk itself.
        return BUFFER_FIRST_STEP_BYTES;
    }
    let encoded = if redundancy.is_replicated() {
        room
    } else {
        redundancy.shard_len(room).saturating_mul(redundancy.width())
    };
    let unit = if encoded <= 2 * BUFFER_SECOND_STEP_BYTES {
        BUFFER_SECOND_STEP_BYTES / 4
    } else {
        BUFFER_SECOND_STEP_BYTES
    };
    encoded.next_multiple_of(unit)
}

impl Memory {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Before the permit goes, so that whoever it wakes finds the memory.
        self.budget.inner.pool.lock().put_back(std::mem::take(&mut self.bytes));
        self.budget
            .inner
            .in_use_bytes
            .fetch_sub(self.charged_bytes, Ordering::Relaxed);
    }
}

impl Pool {
    /// Idle memory of `len` bytes; where there is none, room is made for it and the caller allocates.
    fn take(&mut self, len: usize) -> Option<AlignedBytes> {
        if let Some(bytes) = self.idle.get_mut(&len).and_then(Vec::pop) {
            return Some(bytes);
        }
        while self.allocated_bytes + len > self.limit_bytes && self.drop_largest_idle() {}
        self.allocated_bytes += len;
        None
    }

    fn put_back(&mut self, bytes: AlignedBytes) {
        if self.allocated_bytes > self.limit_bytes {
            self.allocated_bytes -= bytes.len();
        } else {
            self.idle.entry(bytes.len()).or_default().push(bytes);
        }
    }

    fn drop_largest_idle(&mut self) -> bool {
        let Some(mut entry) = self.idle.last_entry() else {
            return false;
        };
        if let Some(bytes) = entry.get_mut().pop() {
            self.allocated_bytes -= bytes.len();
        }
        if entry.get().is_empty() {
            entry.remove();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheme(text: &str) -> Redundancy {
        text.parse().expect("a valid scheme")
    }

    #[tokio::test]
    async fn memory_comes_back_and_is_used_again() {
        let budget = ChunkBudget::new(64 << 20);
        let first = budget.take(Step::Whole, 8 << 20).await;
        let address = first.bytes().as_ptr();
        assert_eq!(budget.in_use_bytes(), 8 << 20);
        drop(first);
        assert_eq!(budget.in_use_bytes(), 0);
        assert_eq!(budget.take(Step::Whole, 8 << 20).await.bytes().as_ptr(), address);
    }

    #[tokio::test]
    async fn idle_memory_gives_way_to_other_sizes() {
        let budget = ChunkBudget::new(32 << 20);
        drop((
            budget.take(Step::Whole, 12 << 20).await,
            budget.take(Step::Whole, 12 << 20).await,
        ));
        let _other = (
            budget.take(Step::Whole, 8 << 20).await,
            budget.take(Step::Whole, 9 << 20).await,
        );
        let pool = budget.inner.pool.lock();
        assert!(
            pool.allocated_bytes <= 32 << 20,
            "{} bytes are allocated",
            pool.allocated_bytes
        );
    }

    #[tokio::test]
    async fn a_budget_below_one_buffer_serves_one_at_a_time() {
        let budget = ChunkBudget::new(1 << 20);
        let first = budget.take(Step::Whole, 8 << 20).await;
        assert!(futures::FutureExt::now_or_never(budget.take(Step::Whole, 8 << 20)).is_none());
        drop(first);
        assert_eq!(budget.take(Step::Whole, 8 << 20).await.bytes().len(), 8 << 20);
    }

    #[test]
    fn memory_holds_the_encoded_chunk() {
        for text in ["1", "3", "2+1", "4+2", "8+3", "2+30"] {
            for room in [1, 65_536, 65_537, 1 << 20, 8 << 20] {
                let scheme = scheme(text);
                let small = room <= cairn_common::limits::SMALL_CHUNK_SIZE_BYTES;
                let codec = cairn_common::erasure::Codec::new(if small { scheme.as_replicas() } else { scheme });
                assert!(memory_len(room, scheme) >= codec.encoded_len(room), "{text} {room}");
            }
        }
    }
}
