//! Blocks of shards, with their hashes.
//!
//! The store answers what the disk gives; the reader verifies every block against the hash that was committed. What the store
//! can see itself it never answers as good: a header whose tag does not match, and a block of a shard known to be damaged.

use std::sync::Arc;

use bytes::Bytes;
use cairn_common::{
    checksum::{Hash, block_hash},
    limits::BLOCK_SIZE_BYTES,
};

use super::{Engine, index::Found, segments::Segment};
use crate::{
    core::{
        location::Location,
        record::{Record, RecordBody},
    },
    shard::{ShardDescription, ShardKey, StoredShard},
    store::StoreError,
};

/// Up to this many bytes of payload are read together with the header though they are not wanted: cheaper than a second read.
const TOGETHER_LEN_MAX: usize = BLOCK_SIZE_BYTES;

/// Times a record is looked for where compaction has just moved it.
const TRIES: usize = 3;

/// A range of a shard's payload.
#[derive(Clone, Copy)]
struct Range {
    from: usize,
    to: usize,
}

/// What of a read needed no wait for the disk.
pub(crate) enum Cached {
    /// All.
    Whole(StoredShard),
    /// Where it lies, and its header.
    Begun(Begun),
    /// Nothing that counts.
    Nothing,
}

/// A read whose payload is still to come.
pub(crate) struct Begun {
    key: ShardKey,
    location: Location,
    segment: Arc<Segment>,
    shard: ShardDescription,
    range: Range,
}

impl Engine {
    /// Up to `block_count` blocks from `first_block` on; fewer where the shard ends. Waits for the disk.
    pub(crate) fn read(&self, key: ShardKey, first_block: u32, block_count: u32) -> Result<StoredShard, StoreError> {
        for _ in 0..TRIES {
            let Some(location) = self.find(&key)? else {
                return Err(StoreError::NotFound);
            };
            let segment = match self.segments.find(location.position.segment) {
                Ok(segment) => segment,
                // Moved and gone since the index was asked.
                Err(super::SegmentError::Absent(_)) => continue,
                Err(error) => return Err(self.segment_failed(error)),
            };
            let range = range_of(&location, first_block, block_count);
            let read = |offset, len| segment.file.read_at(offset, len).map(Some);
            return match self.read_record(key, &location, &segment, range, read)? {
                Cached::Whole(shard) => Ok(shard),
                Cached::Begun(_) | Cached::Nothing => Err(StoreError::Corrupt("the segment cannot be read".to_owned())),
            };
        }
        let reason = "its segment is not there".to_owned();
        Err(StoreError::Corrupt(reason))
    }

    /// The same, as far as no wait for the disk is needed; nothing where so many bytes are not admitted.
    pub(crate) fn read_cached(
        &self,
        key: ShardKey,
        first_block: u32,
        block_count: u32,
        admit: impl FnOnce(usize) -> bool,
    ) -> Result<Cached, StoreError> {
        let location = match self.find_cached(&key)? {
            Found::Known(Some(location)) if !location.is_damaged => location,
            Found::Known(None) => return Err(StoreError::NotFound),
            Found::Known(Some(_)) | Found::Unknown => return Ok(Cached::Nothing),
        };
        let Some(segment) = self.segments.find_open(location.position.segment) else {
            return Ok(Cached::Nothing);
        };
        let range = range_of(&location, first_block, block_count);
        if !admit(range.to - range.from) {
            return Ok(Cached::Nothing);
        }
        let read = |offset, len| segment.file.read_cached(offset, len);
        self.read_record(key, &location, &segment, range, read)
    }

    /// The payload of a read that was begun. Waits for the disk. Where compaction has moved the shard since, its bytes are still in the
    /// segment that is open.
    pub(crate) fn finish_read(&self, begun: Begun) -> Result<StoredShard, StoreError> {
        let at = begun.payload_offset();
        let read = begun.segment.file.read_at(at, begun.range.to - begun.range.from);
        let payload = read.map_err(|errno| self.health.judge("read a segment", errno))?;
        self.read_whole(begun, payload)
    }

    fn read_record(
        &self,
        key: ShardKey,
        location: &Location,
        segment: &Arc<Segment>,
        range: Range,
        read: impl Fn(u32, usize) -> Result<Option<Bytes>, rustix::io::Errno>,
    ) -> Result<Cached, StoreError> {
        let read = |offset, len| read(offset, len).map_err(|errno| self.health.judge("read a segment", errno));
        let payload_offset = location.payload_offset as usize;
        let together = range.from == 0 || range.to <= TOGETHER_LEN_MAX;
        let wanted = if together {
            payload_offset + range.to
        } else {
            payload_offset
        };
        let Some(head) = read(location.position.offset, wanted)? else {
            return Ok(Cached::Nothing);
        };
        let shard = match shard_of(&head, key, location, segment) {
            Ok(shard) => shard,
            Err(reason) => return Err(self.found_damaged(key, location, reason)),
        };
        let begun = Begun {
            key,
            location: *location,
            segment: Arc::clone(segment),
            shard,
            range,
        };
        let payload = if together {
            Some(head.slice((payload_offset + range.from).min(head.len())..))
        } else {
            read(begun.payload_offset(), range.to - range.from)?
        };
        match payload {
            Some(payload) => self.read_whole(begun, payload).map(Cached::Whole),
            None => Ok(Cached::Begun(begun)),
        }
    }

    /// What was read, where all of it came.
    fn read_whole(&self, begun: Begun, payload: Bytes) -> Result<StoredShard, StoreError> {
        let Begun {
            key,
            location,
            shard,
            range,
            ..
        } = begun;
        if payload.len() < range.to - range.from {
            return Err(self.found_damaged(key, &location, "the segment ends within it".to_owned()));
        }
        if location.is_damaged && !are_good(&payload, range.from, &shard.block_hashes) {
            return Err(StoreError::Corrupt("it was found damaged before".to_owned()));
        }
        Ok(StoredShard {
            shard_len: shard.shard_len,
            block_hashes: shard.block_hashes,
            shard_hashes: shard.shard_hashes,
            payload,
        })
    }

    /// Reads a whole shard, and remembers it to be damaged where its bytes are not what their hashes say.
    pub(crate) fn check(&self, key: ShardKey) -> Result<(), StoreError> {
        let shard = match self.read(key, 0, u32::MAX) {
            Ok(shard) => shard,
            // Remembered by the read.
            Err(StoreError::NotFound | StoreError::Corrupt(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if are_good(&shard.payload, 0, &shard.block_hashes) {
            return Ok(());
        }
        if let Some(location) = self.find(&key)? {
            self.found_damaged(key, &location, "its bytes are not what their hashes say".to_owned());
        }
        Ok(())
    }

    /// Remembers that a shard at `location` is known to be damaged; says whether it lies there.
    pub(crate) fn remember_damaged(&self, key: ShardKey, location: &Location) -> bool {
        let is_there = matches!(self.find(&key), Ok(Some(found)) if found.position == location.position);
        if is_there {
            self.found_damaged(key, location, "it was found damaged before".to_owned());
        }
        is_there
    }

    /// Remembers that a shard is damaged, where it still lies there.
    pub(super) fn found_damaged(&self, key: ShardKey, location: &Location, reason: String) -> StoreError {
        let marked = self.change(|view, changes| {
            use crate::core::changes::Before;
            match view.find(&key)? {
                Some(present) if present.position == location.position && !present.is_damaged => {
                    self.metrics.corrupt_shards.inc();
                    tracing::warn!(device = %self.health.device(), shard = %key, position = %location.position, reason, "a shard is damaged");
                    changes.place(view, key, Location { is_damaged: true, ..present })
                }
                _ => Ok(()),
            }
        });
        marked.err().unwrap_or(StoreError::Corrupt(reason))
    }
}

impl Begun {
    /// Where the payload that is wanted lies in the segment.
    fn payload_offset(&self) -> u32 {
        self.location.position.offset + self.location.payload_offset + self.range.from as u32
    }
}

/// Bytes of payload that a read gives.
pub(crate) fn payload_len(location: &Location, first_block: u32, block_count: u32) -> usize {
    let range = range_of(location, first_block, block_count);
    range.to - range.from
}

fn range_of(location: &Location, first_block: u32, block_count: u32) -> Range {
    let shard_len = location.shard_len as usize;
    let at = |block: u64| usize::try_from(block.saturating_mul(BLOCK_SIZE_BYTES as u64)).unwrap_or(usize::MAX);
    Range {
        from: at(first_block.into()).min(shard_len),
        to: at(u64::from(first_block) + u64::from(block_count)).min(shard_len),
    }
}

/// The shard whose record starts with `head`, or what is wrong with it.
fn shard_of(head: &[u8], key: ShardKey, location: &Location, segment: &Segment) -> Result<ShardDescription, String> {
    let record = Record::decode(head, location.position, &segment.salt).map_err(|error| error.to_string())?;
    match record.body {
        RecordBody::Shard(shard) if shard.key == key && shard.shard_len == location.shard_len => Ok(shard),
        _ => Err("another record lies there".to_owned()),
    }
}

/// Whether blocks, which start `from` bytes into the shard, are what their hashes say.
pub(super) fn are_good(payload: &[u8], from: usize, block_hashes: &[u8]) -> bool {
    let hashes = block_hashes.chunks_exact(Hash::LEN).skip(from / BLOCK_SIZE_BYTES);
    let blocks = payload.chunks(BLOCK_SIZE_BYTES);
    blocks
        .zip(hashes)
        .all(|(block, hash)| block_hash(block).as_bytes() == hash)
}
