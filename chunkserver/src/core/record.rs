//! The records of a segment: a shard, or the tombstone of one.
//!
//! ```text
//! offset  size  field (little-endian)
//!      0     4  magic "CRec"
//!      4     1  version, 1
//!      5     1  kind: 1 shard, 2 tombstone
//!      6     1  shard index
//!      7     1  shards w of the chunk (0 in a tombstone)
//!      8     4  record length: header, payload and padding; a multiple of 64
//!     12     4  payload offset: from the record's start, a multiple of 64, of 4096 in a large record
//!     16    16  chunk id
//!     32     8  sequence
//!     40     8  segment of the synced end: every record before that place is synced, or was given up
//!     48     8  segment that the record lies in
//!     56     4  offset in it
//!     60     4  offset of the synced end
//!     64     8  in a tombstone: the segment whose shard it deletes; otherwise 0
//!     72     4  shard length in bytes (0 in a tombstone)
//!     76     4  chunk length in bytes, padding not counted (0 in a tombstone)
//!     80    16  tag: the first 16 bytes of the BLAKE3 of bytes 0..80 and of the hashes, keyed with the segment's salt
//!     96  32 b  block hashes, b = ceil(shard length / 65536)
//!    ...  32 w  shard hashes
//!    ...        zeros up to the payload offset; payload; zeros up to the record length
//! ```
//!
//! Pure. Invariants: what decodes has numbers that agree, lies in the segment and at the offset that it was read from, and
//! was written by this store: the salt is known to nobody else, so no payload can pass for a record.

use bytes::Bytes;
use cairn_common::{
    aligned::ALIGNMENT,
    checksum::Hash,
    limits::{BLOCK_SIZE_BYTES, CHUNK_SIZE_BYTES, WIDTH_MAX},
};

use super::position::{Position, SegmentId, Sequence};
use crate::shard::{ShardDescription, ShardKey};

const MAGIC: &[u8; 4] = b"CRec";
const VERSION: u8 = 1;
const KIND_SHARD: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
const TAG_OFFSET: usize = 80;
const FIXED_LEN: usize = 96;

/// Records start at multiples of this, so that a walk finds the next one behind damage.
pub(crate) const UNIT: usize = 64;

/// From this payload length on a record starts on a page and so does its payload, so that direct I/O takes it.
pub(crate) const LARGE_LEN_MIN: usize = 256 << 10;

/// The longest header: read at once, it needs no second read.
pub(crate) const HEADER_LEN_MAX: usize =
    (FIXED_LEN + (CHUNK_SIZE_BYTES / BLOCK_SIZE_BYTES + WIDTH_MAX) * Hash::LEN).next_multiple_of(ALIGNMENT);

/// The longest record.
pub(crate) const RECORD_LEN_MAX: usize = HEADER_LEN_MAX + CHUNK_SIZE_BYTES;

/// What the tags of a segment's records are keyed with.
pub(crate) type Salt = [u8; 32];

/// The head of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) position: Position,
    pub(crate) sequence: Sequence,
    /// Every record before this place was synced or given up when the record was written.
    pub(crate) synced_end: Position,
    pub(crate) body: RecordBody,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordBody {
    /// A shard's payload follows.
    Shard(ShardDescription),
    /// The shard that lay in the segment `target` is deleted.
    Tombstone { key: ShardKey, target: SegmentId },
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("it ends within its header")]
    Truncated,
    #[error("no record starts there")]
    Magic,
    #[error("its version {0} is unknown to this program")]
    Version(u8),
    #[error("its tag does not match")]
    Tag,
    #[error("its header contradicts itself")]
    Inconsistent,
}

impl RecordBody {
    /// The shard that it is about.
    pub(crate) fn key(&self) -> ShardKey {
        match self {
            Self::Shard(shard) => shard.key,
            Self::Tombstone { key, .. } => *key,
        }
    }

    /// Whether its record starts on a page.
    pub(crate) fn is_large(&self) -> bool {
        self.payload_len() >= LARGE_LEN_MIN
    }

    /// Bytes of payload.
    pub(crate) fn payload_len(&self) -> usize {
        match self {
            Self::Shard(shard) => shard.shard_len as usize,
            Self::Tombstone { .. } => 0,
        }
    }

    /// Where its payload starts.
    pub(crate) fn payload_offset(&self) -> usize {
        let header = FIXED_LEN + self.hashes().iter().map(|hashes| hashes.len()).sum::<usize>();
        header.next_multiple_of(self.alignment())
    }

    /// Bytes of the whole record.
    pub(crate) fn record_len(&self) -> usize {
        (self.payload_offset() + self.payload_len()).next_multiple_of(self.alignment())
    }

    /// Of its start, its payload and its end.
    pub(crate) fn alignment(&self) -> usize {
        if self.is_large() { ALIGNMENT } else { UNIT }
    }

    fn hashes(&self) -> [&[u8]; 2] {
        match self {
            Self::Shard(shard) => [&shard.block_hashes, &shard.shard_hashes],
            Self::Tombstone { .. } => [&[], &[]],
        }
    }
}

impl Record {
    /// The header's bytes, up to the payload.
    pub(crate) fn encode(&self, salt: &Salt) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.payload_offset());
        self.encode_to(salt, &mut bytes);
        bytes
    }

    /// Appends the header's bytes.
    pub(crate) fn encode_to(&self, salt: &Salt, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        let key = self.body.key();
        let (kind, shards, target, shard_len, chunk_len) = match &self.body {
            RecordBody::Shard(shard) => {
                let shards = u8::try_from(shard.shard_hashes.len() / Hash::LEN).expect("at most WIDTH_MAX");
                (KIND_SHARD, shards, 0, shard.shard_len, shard.chunk_len)
            }
            RecordBody::Tombstone { target, .. } => (KIND_TOMBSTONE, 0, target.value(), 0, 0),
        };
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[VERSION, kind, key.index, shards]);
        bytes.extend_from_slice(&narrow(self.body.record_len()).to_le_bytes());
        bytes.extend_from_slice(&narrow(self.body.payload_offset()).to_le_bytes());
        bytes.extend_from_slice(&key.chunk.to_bytes());
        bytes.extend_from_slice(&self.sequence.value().to_le_bytes());
        bytes.extend_from_slice(&self.synced_end.segment.value().to_le_bytes());
        bytes.extend_from_slice(&self.position.segment.value().to_le_bytes());
        bytes.extend_from_slice(&self.position.offset.to_le_bytes());
        bytes.extend_from_slice(&self.synced_end.offset.to_le_bytes());
        bytes.extend_from_slice(&target.to_le_bytes());
        bytes.extend_from_slice(&shard_len.to_le_bytes());
        bytes.extend_from_slice(&chunk_len.to_le_bytes());
        let hashes = self.body.hashes();
        let tag = tag(salt, &bytes[start..], &hashes);
        bytes.extend_from_slice(&tag);
        hashes.into_iter().for_each(|hashes| bytes.extend_from_slice(hashes));
        bytes.resize(start + self.body.payload_offset(), 0);
    }

    /// The record at the start of `bytes`, which were read at `position`. More may follow it.
    pub(crate) fn decode(bytes: &[u8], position: Position, salt: &Salt) -> Result<Self, RecordError> {
        let fixed = bytes.get(..FIXED_LEN).ok_or(RecordError::Truncated)?;
        if !fixed.starts_with(MAGIC) {
            return Err(RecordError::Magic);
        }
        if fixed[4] != VERSION {
            return Err(RecordError::Version(fixed[4]));
        }
        let shard_len = u32_at(fixed, 72);
        let blocks = (shard_len as usize).div_ceil(BLOCK_SIZE_BYTES);
        let shards = usize::from(fixed[7]);
        if shard_len as usize > CHUNK_SIZE_BYTES || shards > WIDTH_MAX {
            return Err(RecordError::Inconsistent);
        }
        let hashes_len = (blocks + shards) * Hash::LEN;
        let hashes = bytes
            .get(FIXED_LEN..FIXED_LEN + hashes_len)
            .ok_or(RecordError::Truncated)?;
        if tag(salt, &fixed[..TAG_OFFSET], &[hashes]) != fixed[TAG_OFFSET..] {
            return Err(RecordError::Tag);
        }
        let (block_hashes, shard_hashes) = hashes.split_at(blocks * Hash::LEN);
        let record = Self {
            position: Position {
                segment: SegmentId::new(u64_at(fixed, 48)),
                offset: u32_at(fixed, 56),
            },
            sequence: Sequence::new(u64_at(fixed, 32)),
            synced_end: Position {
                segment: SegmentId::new(u64_at(fixed, 40)),
                offset: u32_at(fixed, 60),
            },
            body: body_of(fixed, block_hashes, shard_hashes).ok_or(RecordError::Inconsistent)?,
        };
        let record_len = record.body.record_len();
        let agrees = record.position == position
            && record_len == u32_at(fixed, 8) as usize
            && record.body.payload_offset() == u32_at(fixed, 12) as usize
            && (position.offset as usize).is_multiple_of(record.body.alignment())
            && position.offset.checked_add(narrow(record_len)).is_some();
        if agrees {
            Ok(record)
        } else {
            Err(RecordError::Inconsistent)
        }
    }

    /// Where the next record may start.
    pub(crate) fn end(&self) -> u32 {
        self.position.offset + narrow(self.body.record_len())
    }
}

/// Whether a record may start with these bytes: what a walk over damage looks for first.
pub(crate) fn may_start(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Gives the header in `bytes` the tag of this store, and its place too where there is one: whatever else it says. Only what
/// fuzzes the decoder needs it; `None` where the bytes end within the header.
pub(crate) fn forge(bytes: &mut [u8], position: Option<Position>, salt: &Salt) -> Option<()> {
    let (fixed, rest) = bytes.split_at_mut_checked(FIXED_LEN)?;
    if let Some(position) = position {
        fixed[48..56].copy_from_slice(&position.segment.value().to_le_bytes());
        fixed[56..60].copy_from_slice(&position.offset.to_le_bytes());
    }
    let blocks = (u32_at(fixed, 72) as usize).div_ceil(BLOCK_SIZE_BYTES);
    let hashes = rest.get(..(blocks + usize::from(fixed[7])) * Hash::LEN)?;
    let tag = tag(salt, &fixed[..TAG_OFFSET], &[hashes]);
    fixed[TAG_OFFSET..].copy_from_slice(&tag);
    Some(())
}

fn body_of(fixed: &[u8], block_hashes: &[u8], shard_hashes: &[u8]) -> Option<RecordBody> {
    let key = ShardKey::new(&fixed[16..32], u32::from(fixed[6]))?;
    let (shards, target) = (fixed[7], u64_at(fixed, 64));
    let (shard_len, chunk_len) = (u32_at(fixed, 72), u32_at(fixed, 76));
    match fixed[5] {
        KIND_SHARD if target == 0 && (1..=chunk_len).contains(&shard_len) && key.index < shards => {
            Some(RecordBody::Shard(ShardDescription {
                key,
                chunk_len,
                shard_len,
                block_hashes: Bytes::copy_from_slice(block_hashes),
                shard_hashes: Bytes::copy_from_slice(shard_hashes),
            }))
        }
        KIND_TOMBSTONE if (shards, shard_len, chunk_len) == (0, 0, 0) => Some(RecordBody::Tombstone {
            key,
            target: SegmentId::new(target),
        }),
        _ => None,
    }
}

fn tag(salt: &Salt, fixed: &[u8], hashes: &[&[u8]]) -> [u8; FIXED_LEN - TAG_OFFSET] {
    let mut hasher = blake3::Hasher::new_keyed(salt);
    hasher.update(fixed);
    for part in hashes {
        hasher.update(part);
    }
    let mut tag = [0; FIXED_LEN - TAG_OFFSET];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..FIXED_LEN - TAG_OFFSET]);
    tag
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("a record is at most RECORD_LEN_MAX")
}

#[cfg(test)]
mod tests;
