//! Keys and small records of the index. Where a shard lies is [`super::location`]'s.
//!
//! ```text
//! family default     key placement hash u64 | chunk id (16) | shard index u8 → Location
//! family segment     key segment u64                                         → StoredUsage
//! family tombstone   key target segment u64 | segment u64                    → StoredTombstones
//! family meta        key "state"                                             → StoredState
//!                    key "scrub"                                             → StoredScrub
//! ```
//!
//! Numbers in keys are big-endian, so that their order is that of the numbers. Pure.

use cairn_common::{
    envelope::{self, EnvelopeError, Record},
    ids::ChunkId,
};
use prost::Message;

use super::{
    changes::Tombstones,
    position::{Position, SegmentId, Sequence},
    scrub::ScrubState,
    usage::Usage,
};
use crate::shard::ShardKey;

const HASH_LEN: usize = 8;

/// Bytes of a shard's key.
pub(crate) const SHARD_KEY_LEN: usize = HASH_LEN + ShardKey::LEN;

/// Up to where the log is in the index, and what comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexState {
    /// All records before it are in the index, or were given up.
    pub(crate) settled_end: Position,
    /// Above the number of every record before that place.
    pub(crate) next_sequence: Sequence,
}

#[derive(Clone, PartialEq, Message)]
struct StoredState {
    #[prost(uint64, tag = "1")]
    segment: u64,
    #[prost(uint32, tag = "2")]
    offset: u32,
    #[prost(uint64, tag = "3")]
    next_sequence: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredUsage {
    #[prost(uint64, tag = "1")]
    used_bytes: u64,
    #[prost(uint64, tag = "2")]
    live_bytes: u64,
    #[prost(uint32, tag = "3")]
    damaged: u32,
}

#[derive(Clone, PartialEq, Message)]
struct StoredTombstones {
    #[prost(uint64, tag = "1")]
    bytes: u64,
    #[prost(uint32, tag = "2")]
    end: u32,
}

#[derive(Clone, PartialEq, Message)]
struct StoredScrub {
    #[prost(uint64, tag = "1")]
    segment: u64,
    #[prost(uint32, tag = "2")]
    offset: u32,
    #[prost(uint64, tag = "3")]
    started_ms: u64,
    #[prost(uint64, tag = "4")]
    finished_ms: u64,
    #[prost(uint64, tag = "5")]
    found: u64,
}

impl Record for StoredState {
    const VERSION: u8 = 1;
}

impl Record for StoredUsage {
    const VERSION: u8 = 1;
}

impl Record for StoredTombstones {
    const VERSION: u8 = 1;
}

impl Record for StoredScrub {
    const VERSION: u8 = 1;
}

/// The key of a shard: in order of [`ShardKey`].
pub(crate) fn shard_key(key: &ShardKey) -> [u8; SHARD_KEY_LEN] {
    let mut bytes = [0; SHARD_KEY_LEN];
    bytes[..HASH_LEN].copy_from_slice(&key.chunk.placement_hash().value().to_be_bytes());
    bytes[HASH_LEN..].copy_from_slice(&key.to_bytes());
    bytes
}

/// The shard of a key; `None` where the bytes are none.
pub(crate) fn parse_shard_key(bytes: &[u8]) -> Option<ShardKey> {
    let key = ShardKey::from_bytes(bytes.get(HASH_LEN..)?)?;
    (shard_key(&key) == bytes).then_some(key)
}

const _: () = assert!(SHARD_KEY_LEN == HASH_LEN + ChunkId::LEN + 1);

pub(crate) fn segment_key(segment: SegmentId) -> [u8; 8] {
    segment.value().to_be_bytes()
}

pub(crate) fn parse_segment_key(bytes: &[u8]) -> Option<SegmentId> {
    Some(SegmentId::new(u64::from_be_bytes(bytes.try_into().ok()?)))
}

pub(crate) fn tombstone_key(target: SegmentId, segment: SegmentId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&segment_key(target));
    bytes[8..].copy_from_slice(&segment_key(segment));
    bytes
}

/// The segment that tombstones lie in, of their key.
pub(crate) fn parse_tombstone_key(bytes: &[u8]) -> Option<SegmentId> {
    parse_segment_key(bytes.get(8..)?)
}

pub(crate) fn seal_state(state: &IndexState) -> Vec<u8> {
    envelope::seal(&StoredState {
        segment: state.settled_end.segment.value(),
        offset: state.settled_end.offset,
        next_sequence: state.next_sequence.value(),
    })
}

pub(crate) fn open_state(bytes: &[u8]) -> Result<IndexState, EnvelopeError> {
    let stored: StoredState = envelope::open(bytes)?;
    Ok(IndexState {
        settled_end: position(stored.segment, stored.offset),
        next_sequence: Sequence::new(stored.next_sequence),
    })
}

pub(crate) fn seal_usage(usage: &Usage) -> Vec<u8> {
    envelope::seal(&StoredUsage {
        used_bytes: usage.used_bytes,
        live_bytes: usage.live_bytes,
        damaged: usage.damaged,
    })
}

pub(crate) fn open_usage(bytes: &[u8]) -> Result<Usage, EnvelopeError> {
    let stored: StoredUsage = envelope::open(bytes)?;
    Ok(Usage {
        used_bytes: stored.used_bytes,
        live_bytes: stored.live_bytes,
        damaged: stored.damaged,
    })
}

pub(crate) fn seal_tombstones(tombstones: &Tombstones) -> Vec<u8> {
    envelope::seal(&StoredTombstones {
        bytes: tombstones.bytes,
        end: tombstones.end,
    })
}

pub(crate) fn open_tombstones(bytes: &[u8]) -> Result<Tombstones, EnvelopeError> {
    let stored: StoredTombstones = envelope::open(bytes)?;
    Ok(Tombstones {
        bytes: stored.bytes,
        end: stored.end,
    })
}

pub(crate) fn seal_scrub(scrub: &ScrubState) -> Vec<u8> {
    envelope::seal(&StoredScrub {
        segment: scrub.next.segment.value(),
        offset: scrub.next.offset,
        started_ms: scrub.started_ms,
        finished_ms: scrub.finished_ms,
        found: scrub.found,
    })
}

pub(crate) fn open_scrub(bytes: &[u8]) -> Result<ScrubState, EnvelopeError> {
    let stored: StoredScrub = envelope::open(bytes)?;
    Ok(ScrubState {
        next: position(stored.segment, stored.offset),
        started_ms: stored.started_ms,
        finished_ms: stored.finished_ms,
        found: stored.found,
    })
}

fn position(segment: u64, offset: u32) -> Position {
    Position {
        segment: SegmentId::new(segment),
        offset,
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::ids::SessionId;

    use super::*;

    #[test]
    fn the_order_of_keys_is_that_of_shards() {
        let keys: Vec<_> = (0..200)
            .map(|number| ShardKey {
                chunk: ChunkId {
                    session: SessionId::new(number / 50),
                    counter: number / 2,
                },
                index: (number % 2) as u8,
            })
            .collect();
        for pair in keys.windows(2) {
            assert_eq!(pair[0].cmp(&pair[1]), shard_key(&pair[0]).cmp(&shard_key(&pair[1])));
        }
        assert!(keys.iter().all(|key| parse_shard_key(&shard_key(key)) == Some(*key)));
        let mut other = shard_key(&keys[0]);
        other[0] ^= 1;
        assert_eq!(parse_shard_key(&other), None, "the hash is that of the chunk id");
    }

    #[test]
    fn records_are_stored_as_version_1_wrote_them() {
        let state = IndexState {
            settled_end: position(3, 4096),
            next_sequence: Sequence::new(9),
        };
        let usage = Usage {
            used_bytes: 5,
            live_bytes: 4,
            damaged: 1,
        };
        let tombstones = Tombstones { bytes: 128, end: 4224 };
        let scrub = ScrubState {
            next: position(2, 64),
            started_ms: 7,
            finished_ms: 6,
            found: 1,
        };
        assert_eq!(open_state(&seal_state(&state)), Ok(state));
        assert_eq!(open_usage(&seal_usage(&usage)), Ok(usage));
        assert_eq!(open_tombstones(&seal_tombstones(&tombstones)), Ok(tombstones));
        assert_eq!(open_scrub(&seal_scrub(&scrub)), Ok(scrub));
        let sealed = [
            seal_state(&state),
            seal_usage(&usage),
            seal_tombstones(&tombstones),
            seal_scrub(&scrub),
        ];
        let samples = [
            "012943205908031080201809",
            "01bb2b6f4c080510041801",
            "01f0ab6b59088001108021",
            "01d819367608021040180720062801",
        ];
        assert_eq!(sealed.map(hex::encode), samples);
    }
}
