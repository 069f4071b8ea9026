//! A chunk buffer: bytes on their way into one chunk, with room for the parity that follows them.
//!
//! It is filled once, encoded in place and then frozen into `Bytes` whose slices are the shards; the memory goes back to the
//! pool when the last slice is dropped. It must never hand out a byte that was not written since it was taken: memory is
//! reused without being cleared.

use std::time::Duration;

use bytes::Bytes;
use cairn_common::{erasure::Codec, limits::BUFFER_STEP_DEADLINE_MS, redundancy::Redundancy};

use crate::budget::{ChunkBudget, Memory, Step, memory_len};

/// No room for a buffer, or for its next step, in time: too many uploads at once. The upload fails and is tried again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all chunk buffers are taken: slow down")]
pub struct SlowDown;

/// Bytes that become one chunk.
pub struct ChunkBuffer {
    budget: ChunkBudget,
    memory: Memory,
    redundancy: Redundancy,
    capacity: usize,
    /// Chunk bytes that `memory` has room for.
    room: usize,
    len: usize,
}

impl ChunkBudget {
    /// A buffer for up to `capacity` chunk bytes and what `redundancy` adds to them; waits until the budget has room for
    /// its first step, at most [`BUFFER_STEP_DEADLINE_MS`]. Where the length of what comes is known, `capacity` should say so.
    pub async fn acquire(&self, capacity: usize, redundancy: Redundancy) -> Result<ChunkBuffer, SlowDown> {
        let room = Step::First.room(capacity);
        let memory = take(self, Step::First, memory_len(room, redundancy)).await?;
        Ok(ChunkBuffer {
            budget: self.clone(),
            memory,
            redundancy,
            capacity,
            room,
            len: 0,
        })
    }
}

async fn take(budget: &ChunkBudget, step: Step, len: usize) -> Result<Memory, SlowDown> {
    let deadline = Duration::from_millis(BUFFER_STEP_DEADLINE_MS);
    tokio::time::timeout(deadline, budget.take(step, len))
        .await
        .map_err(|_| SlowDown)
}

impl ChunkBuffer {
    /// Bytes written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes until the chunk is full.
    pub fn remaining(&self) -> usize {
        self.capacity - self.len
    }

    /// The bytes written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.memory.bytes()[..self.len]
    }

    /// Appends `bytes`; waits for the budget where they take the buffer to its next step. What was appended before stays,
    /// whatever the outcome.
    ///
    /// # Panics
    /// Where `bytes` are more than [`ChunkBuffer::remaining`]: the chunk is full, and dropping the rest would lose data.
    pub async fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), SlowDown> {
        let end = self.len + bytes.len();
        assert!(
            end <= self.capacity,
            "{end} bytes exceed the chunk of {}",
            self.capacity
        );
        if end > self.room {
            self.grow(end).await?;
        }
        self.memory.bytes_mut()[self.len..end].copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    async fn grow(&mut self, wanted: usize) -> Result<(), SlowDown> {
        let step = Step::holding(wanted, self.capacity);
        let room = step.room(self.capacity);
        let mut larger = take(&self.budget, step, memory_len(room, self.redundancy)).await?;
        larger.bytes_mut()[..self.len].copy_from_slice(self.as_slice());
        self.memory = larger;
        self.room = room;
        Ok(())
    }

    /// Adds padding and parity and freezes the bytes: all of what [`Codec::encode`] lays out.
    pub(crate) fn encode(mut self, codec: &Codec) -> Bytes {
        let encoded_len = codec.encoded_len(self.len);
        codec.encode(&mut self.memory.bytes_mut()[..encoded_len], self.len);
        Bytes::from_owner(self.memory).slice(..encoded_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheme() -> Redundancy {
        "4+2".parse().expect("a valid scheme")
    }

    #[tokio::test]
    async fn small_bodies_pin_little_and_growth_keeps_the_bytes() {
        let budget = ChunkBudget::new(256 << 20);
        let mut buffer = budget.acquire(8 << 20, scheme()).await.expect("the budget is free");
        let mut expected = Vec::new();
        for (len, pinned_bytes) in [
            (5 << 10, 64 << 10),
            (60 << 10, 3 << 19),
            (2 << 20, 12 << 20),
            (8 << 20, 12 << 20),
        ] {
            let piece: Vec<u8> = (0..len.min(buffer.remaining()))
                .map(|index| (index / 7) as u8)
                .collect();
            buffer.extend_from_slice(&piece).await.expect("the budget is free");
            expected.extend_from_slice(&piece);
            assert_eq!(budget.in_use_bytes(), pinned_bytes, "after {} bytes", buffer.len());
            assert_eq!(buffer.as_slice(), expected);
        }
        assert_eq!((buffer.len(), buffer.remaining()), (8 << 20, 0));
        let bytes = buffer.encode(&Codec::new(scheme()));
        let shard = bytes.slice(..2 << 20);
        drop(bytes);
        assert_eq!(budget.in_use_bytes(), 12 << 20, "a slice keeps the memory");
        drop(shard);
        assert_eq!(budget.in_use_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn growth_that_finds_no_room_in_time_says_slow_down() {
        let budget = ChunkBudget::new(32 << 20);
        let mut holders = Vec::new();
        for _ in 0..2 {
            let mut holder = budget.acquire(8 << 20, scheme()).await.expect("room for a first step");
            holder.extend_from_slice(&vec![1; 8 << 20]).await.expect("two fit");
            holders.push(holder);
        }
        let mut third = budget.acquire(8 << 20, scheme()).await.expect("room for a first step");
        assert_eq!(third.extend_from_slice(&[7; 100]).await, Ok(()));
        assert_eq!(third.extend_from_slice(&vec![8; 4 << 20]).await, Err(SlowDown));
        assert_eq!(third.as_slice(), [7; 100]);
        holders.pop();
        assert_eq!(third.extend_from_slice(&vec![8; 4 << 20]).await, Ok(()));
    }

    #[tokio::test]
    #[should_panic(expected = "exceed")]
    async fn writing_more_than_a_chunk_is_a_bug() {
        let mut buffer = ChunkBudget::new(8 << 20)
            .acquire(70_000, scheme())
            .await
            .expect("the budget is free");
        buffer.extend_from_slice(&vec![0; 70_001]).await.expect("never returns");
    }
}
