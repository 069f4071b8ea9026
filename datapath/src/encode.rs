//! A chunk made ready to be sent: its shards as slices of one buffer, and the hashes at all three levels.
//!
//! Invariant: what is here is never changed again, so the same shards are sent under a new id as they are.

use bytes::Bytes;
use cairn_common::{
    checksum::{Hash, block_hashes, chunk_hash, shard_hash},
    redundancy::Redundancy,
};

/// All shards of one chunk.
#[derive(Clone)]
pub(crate) struct EncodedChunk {
    pub(crate) redundancy: Redundancy,
    pub(crate) chunk_len: usize,
    pub(crate) hash: Hash,
    /// The hash of every shard, one after the other.
    pub(crate) shard_hashes: Bytes,
    pub(crate) shards: Vec<EncodedShard>,
}

/// One shard: its bytes, and the hash of each block of it, one after the other.
#[derive(Clone)]
pub(crate) struct EncodedShard {
    pub(crate) bytes: Bytes,
    pub(crate) block_hashes: Bytes,
}

impl EncodedChunk {
    /// Cuts `encoded`, which starts with the chunk's `chunk_len` bytes and holds padding and parity behind them unless
    /// `redundancy` is replicated, and hashes it.
    pub(crate) fn new(encoded: &Bytes, chunk_len: usize, redundancy: Redundancy) -> Self {
        let shard_len = redundancy.shard_len(chunk_len);
        let (shards, hashes): (Vec<_>, Vec<_>) = if redundancy.is_replicated() {
            let copy = hashed(encoded.slice(..chunk_len));
            std::iter::repeat_n(copy, redundancy.width()).unzip()
        } else {
            let slice = |index| encoded.slice(index * shard_len..(index + 1) * shard_len);
            (0..redundancy.width()).map(|index| hashed(slice(index))).unzip()
        };
        let hash = chunk_hash(chunk_len, &hashes);
        Self {
            redundancy,
            chunk_len,
            hash,
            shard_hashes: joined(&hashes),
            shards,
        }
    }
}

fn hashed(bytes: Bytes) -> (EncodedShard, Hash) {
    let blocks = block_hashes(&bytes);
    let hash = shard_hash(bytes.len(), &blocks);
    (
        EncodedShard {
            bytes,
            block_hashes: joined(&blocks),
        },
        hash,
    )
}

fn joined(hashes: &[Hash]) -> Bytes {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}
