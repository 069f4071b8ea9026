//! An entry of the index: where a shard lies.
//!
//! ```text
//! offset  size  field (little-endian)
//!      0     1  version, 1
//!      1     1  flags: 1 damaged
//!      2     2  zero
//!      4     4  record length
//!      8     8  segment
//!     16     4  offset in the segment
//!     20     4  zero
//!     24     8  sequence
//!     32     4  payload offset, from the record's start
//!     36     4  shard length
//!     40     8  the first 8 bytes of the shard's hash
//! ```
//!
//! Pure. The index's database has checksums of its own. Invariant: what a location says was taken from a record's header.

use super::{
    position::{Position, SegmentId, Sequence},
    record::{Record, RecordBody},
};
use crate::shard::ShardDescription;

const VERSION: u8 = 1;
const DAMAGED: u8 = 1;

/// Bytes of a location.
pub(crate) const LOCATION_LEN: usize = 48;

/// Where a shard lies, and what is known of it without looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) position: Position,
    pub(crate) record_len: u32,
    pub(crate) payload_offset: u32,
    pub(crate) shard_len: u32,
    pub(crate) sequence: Sequence,
    /// Part of the shard's hash: tells other content under the same key.
    pub(crate) check: u64,
    /// Whether it was found damaged; it is kept for what can still be read of it.
    pub(crate) is_damaged: bool,
}

impl Location {
    /// The location of a shard's record; `None` for a tombstone.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let RecordBody::Shard(shard) = &record.body else {
            return None;
        };
        let narrow = |len: usize| u32::try_from(len).expect("a record is at most RECORD_LEN_MAX");
        Some(Self {
            position: record.position,
            record_len: narrow(record.body.record_len()),
            payload_offset: narrow(record.body.payload_offset()),
            shard_len: shard.shard_len,
            sequence: record.sequence,
            check: check_of(shard),
            is_damaged: false,
        })
    }

    pub(crate) fn encode(&self) -> [u8; LOCATION_LEN] {
        let mut bytes = [0; LOCATION_LEN];
        bytes[0] = VERSION;
        bytes[1] = if self.is_damaged { DAMAGED } else { 0 };
        bytes[4..8].copy_from_slice(&self.record_len.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.segment.value().to_le_bytes());
        bytes[16..20].copy_from_slice(&self.position.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.sequence.value().to_le_bytes());
        bytes[32..36].copy_from_slice(&self.payload_offset.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.shard_len.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.check.to_le_bytes());
        bytes
    }

    /// The location in `bytes`; `None` where they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LOCATION_LEN] = bytes.try_into().ok()?;
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if bytes[0] != VERSION || bytes[1] & !DAMAGED != 0 || bytes[2..4] != [0; 2] || bytes[20..24] != [0; 4] {
            return None;
        }
        Some(Self {
            position: Position {
                segment: SegmentId::new(u64_at(8)?),
                offset: u32_at(16)?,
            },
            record_len: u32_at(4)?,
            payload_offset: u32_at(32)?,
            shard_len: u32_at(36)?,
            sequence: Sequence::new(u64_at(24)?),
            check: u64_at(40)?,
            is_damaged: bytes[1] & DAMAGED != 0,
        })
    }
}

/// Part of the shard's own hash.
pub(crate) fn check_of(shard: &ShardDescription) -> u64 {
    let hash = shard.own_hash();
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash is longer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCATION: Location = Location {
        position: Position {
            segment: SegmentId::new(0x0102),
            offset: 0x0304,
        },
        record_len: 0x1122,
        payload_offset: 0x33,
        shard_len: 0x1000,
        sequence: Sequence::new(0x0506),
        check: 0x0708,
        is_damaged: true,
    };

    const SAMPLE_V1: &str =
        "010100002211000002010000000000000403000000000000060500000000000033000000001000000807000000000000";

    #[test]
    fn the_stored_sample_of_version_1_is_read_and_written() {
        assert_eq!(hex::encode(LOCATION.encode()), SAMPLE_V1);
        assert_eq!(Location::decode(&LOCATION.encode()), Some(LOCATION));
    }

    #[test]
    fn other_lengths_versions_and_flags_are_refused() {
        let bytes = LOCATION.encode();
        assert!((0..LOCATION_LEN).all(|len| Location::decode(&bytes[..len]).is_none()));
        for (at, value) in [(0, 2), (1, 2), (2, 1), (20, 1)] {
            let mut other = bytes;
            other[at] = value;
            assert_eq!(Location::decode(&other), None);
        }
    }
}
