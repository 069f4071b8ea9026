//! The hash chain of a chunk: block hashes give the shard hash, shard hashes give the chunk hash.
//!
//! The chunk hash is committed through Raft, so a reader that holds it can verify any single block of any shard with
//! nothing but that shard's block hashes and the list of shard hashes. Invariant: the same bytes give the same chunk hash
//! on every machine, for ever; the three levels are kept apart by BLAKE3 key derivation contexts.

use std::fmt;

use crate::limits::BLOCK_SIZE_BYTES;

/// A BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; Hash::LEN]);

impl Hash {
    /// Bytes of a digest.
    pub const LEN: usize = 32;

    /// Wraps the bytes as they were stored or received.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The digest in `bytes`, or `None` where they are not exactly 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The hash of one block of a shard.
pub fn block_hash(block: &[u8]) -> Hash {
    Hash(*blake3::hash(block).as_bytes())
}

/// The hash of each block of a shard, in order. An empty shard has none.
pub fn block_hashes(shard: &[u8]) -> Vec<Hash> {
    shard.chunks(BLOCK_SIZE_BYTES).map(block_hash).collect()
}

/// The hash of a shard, of its block hashes and its length in bytes.
pub fn shard_hash(shard_len: usize, blocks: &[Hash]) -> Hash {
    combine("cairn 1 shard hash", shard_len, blocks)
}

/// The hash of a chunk, of its shard hashes and its length in bytes (padding not counted).
pub fn chunk_hash(chunk_len: usize, shards: &[Hash]) -> Hash {
    combine("cairn 1 chunk hash", chunk_len, shards)
}

fn combine(context: &str, len: usize, parts: &[Hash]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(&(len as u64).to_le_bytes());
    for part in parts {
        hasher.update(part.as_bytes());
    }
    Hash(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_lengths_are_kept_apart() {
        let blocks = block_hashes(&vec![7; BLOCK_SIZE_BYTES + 1]);
        assert_eq!(blocks.len(), 2);
        assert_ne!(
            shard_hash(BLOCK_SIZE_BYTES + 1, &blocks),
            chunk_hash(BLOCK_SIZE_BYTES + 1, &blocks)
        );
        assert_ne!(chunk_hash(1, &blocks), chunk_hash(2, &blocks));
    }

    #[test]
    fn the_chain_never_changes() {
        let blocks = block_hashes(b"cairn");
        let shard = shard_hash(5, &blocks);
        let chunk = chunk_hash(5, &[shard]);
        assert_eq!(
            chunk.to_string(),
            "f4f74f88ecb161507465245cb740295dd235a54824d9d4f4998cb1168203477a"
        );
    }
}
