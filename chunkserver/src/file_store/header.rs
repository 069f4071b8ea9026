//! The header of a shard file.
//!
//! ```text
//! offset  size  field (little-endian)
//!      0     8  magic "CAIRNSHD"
//!      8     2  version, 1
//!     10     2  shard index
//!     12     4  payload offset: a multiple of 4096
//!     16    16  chunk id
//!     32     4  shard length in bytes
//!     36     4  chunk length in bytes
//!     40     4  blocks b of the shard: ceil(shard length / 65536)
//!     44     4  shards w of the chunk
//!     48    12  reserved, zero
//!     60     4  CRC-32C of bytes 0..60 and 64..payload offset
//!     64  32 b  block hashes
//!    ...  32 w  shard hashes
//!    ...        zeros up to the payload offset
//! ```
//!
//! Pure. Invariant: a header with any bit changed is an error, padding included; what decodes has numbers that agree.

use bytes::Bytes;
use cairn_common::{
    checksum::Hash,
    limits::{BLOCK_SIZE_BYTES, CHUNK_SIZE_BYTES, WIDTH_MAX},
};

use crate::shard::{NewShard, ShardKey};

const MAGIC: &[u8; 8] = b"CAIRNSHD";
const VERSION: u16 = 1;
const FIXED_LEN: usize = 64;
const CHECKSUM_OFFSET: usize = 60;

/// The payload starts at a multiple of this, so that direct I/O can be used on it.
const ALIGNMENT: usize = 4096;

/// The longest header: read at once, it needs no second read.
pub(crate) const HEADER_LEN_MAX: usize =
    (FIXED_LEN + (CHUNK_SIZE_BYTES / BLOCK_SIZE_BYTES + WIDTH_MAX) * Hash::LEN).next_multiple_of(ALIGNMENT);

/// What a shard file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardHeader {
    pub(crate) key: ShardKey,
    pub(crate) shard_len: u32,
    pub(crate) chunk_len: u32,
    pub(crate) block_hashes: Bytes,
    pub(crate) shard_hashes: Bytes,
}

/// Why a header was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("the file ends within its header")]
    Truncated,
    #[error("it does not start with CAIRNSHD")]
    Magic,
    #[error("its version {0} is unknown to this program")]
    Version(u16),
    #[error("its header checksum does not match")]
    Checksum,
    #[error("its header contradicts itself")]
    Inconsistent,
}

impl From<&NewShard> for ShardHeader {
    fn from(shard: &NewShard) -> Self {
        Self {
            key: shard.key,
            shard_len: shard.shard_len,
            chunk_len: shard.chunk_len,
            block_hashes: shard.block_hashes.clone(),
            shard_hashes: shard.shard_hashes.clone(),
        }
    }
}

impl ShardHeader {
    /// Where the payload starts.
    pub(crate) fn payload_offset(&self) -> usize {
        payload_offset(self.block_hashes.len() + self.shard_hashes.len())
    }

    /// Bytes of the whole file.
    pub(crate) fn file_len(&self) -> u64 {
        self.payload_offset() as u64 + u64::from(self.shard_len)
    }

    /// The header's bytes, up to the payload.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let offset = self.payload_offset();
        let mut bytes = Vec::with_capacity(offset);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&u16::from(self.key.index).to_le_bytes());
        bytes.extend_from_slice(&narrow(offset).to_le_bytes());
        bytes.extend_from_slice(&self.key.chunk.to_bytes());
        bytes.extend_from_slice(&self.shard_len.to_le_bytes());
        bytes.extend_from_slice(&self.chunk_len.to_le_bytes());
        bytes.extend_from_slice(&narrow(self.block_hashes.len() / Hash::LEN).to_le_bytes());
        bytes.extend_from_slice(&narrow(self.shard_hashes.len() / Hash::LEN).to_le_bytes());
        bytes.resize(FIXED_LEN, 0);
        bytes.extend_from_slice(&self.block_hashes);
        bytes.extend_from_slice(&self.shard_hashes);
        bytes.resize(offset, 0);
        let checksum = checksum(&bytes);
        bytes[CHECKSUM_OFFSET..FIXED_LEN].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, verified. More may follow it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let fixed = bytes.get(..FIXED_LEN).ok_or(HeaderError::Truncated)?;
        if !fixed.starts_with(MAGIC) {
            return Err(HeaderError::Magic);
        }
        let u16_at = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        if u16_at(8) != VERSION {
            return Err(HeaderError::Version(u16_at(8)));
        }
        let offset = u32_at(12) as usize;
        if !(FIXED_LEN..=HEADER_LEN_MAX).contains(&offset) {
            return Err(HeaderError::Inconsistent);
        }
        let header = bytes.get(..offset).ok_or(HeaderError::Truncated)?;
        if checksum(header) != u32_at(CHECKSUM_OFFSET) {
            return Err(HeaderError::Checksum);
        }
        let (shard_len, blocks, shards) = (u32_at(32), u32_at(40) as usize, u32_at(44) as usize);
        let hashes_len = blocks
            .checked_add(shards)
            .and_then(|count| count.checked_mul(Hash::LEN));
        let fits = blocks == (shard_len as usize).div_ceil(BLOCK_SIZE_BYTES) && shards <= WIDTH_MAX;
        if !fits || hashes_len.map(payload_offset) != Some(offset) {
            return Err(HeaderError::Inconsistent);
        }
        let key = ShardKey::new(&fixed[16..32], u32::from(u16_at(10))).ok_or(HeaderError::Inconsistent)?;
        let (block_hashes, rest) = header[FIXED_LEN..].split_at(blocks * Hash::LEN);
        Ok(Self {
            key,
            shard_len,
            chunk_len: u32_at(36),
            block_hashes: Bytes::copy_from_slice(block_hashes),
            shard_hashes: Bytes::copy_from_slice(&rest[..shards * Hash::LEN]),
        })
    }
}

fn payload_offset(hashes_len: usize) -> usize {
    (FIXED_LEN + hashes_len).next_multiple_of(ALIGNMENT)
}

fn checksum(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..CHECKSUM_OFFSET]), &header[FIXED_LEN..])
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("a header is at most a few KiB")
}

#[cfg(test)]
mod tests {
    use cairn_common::ids::{ChunkId, SessionId};
    use proptest::prelude::*;

    use super::*;

    fn header(shard_len: u32, width: usize) -> ShardHeader {
        let blocks = (shard_len as usize).div_ceil(BLOCK_SIZE_BYTES);
        ShardHeader {
            key: ShardKey {
                chunk: ChunkId {
                    session: SessionId::new(0x0102_0304),
                    counter: 5,
                },
                index: 1,
            },
            shard_len,
            chunk_len: shard_len,
            block_hashes: (0..blocks * Hash::LEN).map(|index| index as u8).collect(),
            shard_hashes: (0..width * Hash::LEN).map(|index| !(index as u8)).collect(),
        }
    }

    proptest! {
        #[test]
        fn round_trip(shard_len in 1..=8_u32 << 20, width in 2..=WIDTH_MAX, behind in 0_usize..100) {
            let header = header(shard_len, width);
            let mut bytes = header.encode();
            prop_assert_eq!(bytes.len() % 4096, 0);
            prop_assert!(bytes.len() <= HEADER_LEN_MAX);
            bytes.resize(bytes.len() + behind, 0xff);
            prop_assert_eq!(ShardHeader::decode(&bytes), Ok(header));
        }

        #[test]
        fn any_bytes_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = bytes;
            prop_assert!(ShardHeader::decode(&bytes).is_err());
            bytes.splice(0..0, *b"CAIRNSHD\x01\x00");
            prop_assert!(ShardHeader::decode(&bytes).is_err());
        }
    }

    #[test]
    fn every_truncation_is_found() {
        let bytes = header(100_000, 3).encode();
        for len in 0..bytes.len() {
            assert_eq!(
                ShardHeader::decode(&bytes[..len]),
                Err(HeaderError::Truncated),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn every_flipped_bit_is_found_padding_included() {
        let bytes = header(100_000, 3).encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(ShardHeader::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_stored_sample_of_version_1_is_read() {
        let sample = include_bytes!("../../tests/samples/shard_header_v1.bin");
        assert_eq!(ShardHeader::decode(sample), Ok(header(100_000, 3)));
        assert_eq!(header(100_000, 3).encode(), sample);
    }
}
