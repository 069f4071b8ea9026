//! What a store keeps: shards by key, and what comes in and goes out.
//!
//! Pure. Invariant: keys are ordered by (placement hash, chunk id, shard index), so that a placement group is one range of them.

use std::{cmp::Ordering, fmt};

use bytes::Bytes;
use cairn_common::{
    checksum::{Hash, shard_hash},
    ids::ChunkId,
    limits::{BLOCK_SIZE_BYTES, CHUNK_SIZE_BYTES, WIDTH_MAX},
    wire::shard::PutShard,
};

/// Names one shard of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ShardKey {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// Which shard of it, from 0.
    pub(crate) index: u8,
}

/// What is known of a shard without its bytes; its numbers agree with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardDescription {
    /// Its key.
    pub(crate) key: ShardKey,
    /// Bytes of the whole chunk.
    pub(crate) chunk_len: u32,
    /// Bytes of the shard.
    pub(crate) shard_len: u32,
    /// The hash of each of its blocks, 32 bytes each.
    pub(crate) block_hashes: Bytes,
    /// The hash of every shard of the chunk, 32 bytes each.
    pub(crate) shard_hashes: Bytes,
}

/// Blocks of a stored shard, as they were found: the reader verifies them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredShard {
    /// Bytes of the whole shard.
    pub(crate) shard_len: u32,
    /// The hash of each of its blocks, 32 bytes each.
    pub(crate) block_hashes: Bytes,
    /// The hash of every shard of the chunk, 32 bytes each.
    pub(crate) shard_hashes: Bytes,
    /// The blocks asked for.
    pub(crate) payload: Bytes,
}

/// A shard in an inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedShard {
    pub(crate) key: ShardKey,
    /// Whether it was found damaged.
    pub(crate) is_damaged: bool,
}

/// One page of an inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardPage {
    /// In order of keys.
    pub(crate) shards: Vec<ListedShard>,
    /// Whether there are more behind the last.
    pub(crate) more: bool,
}

impl ShardKey {
    /// Bytes of an encoded key.
    pub(crate) const LEN: usize = ChunkId::LEN + 1;

    /// The key of shard `index` of the chunk in `chunk_id`, or `None` where there is no such.
    pub(crate) fn new(chunk_id: &[u8], index: u32) -> Option<Self> {
        let index = u8::try_from(index)
            .ok()
            .filter(|index| usize::from(*index) < WIDTH_MAX)?;
        Some(Self {
            chunk: ChunkId::from_bytes(chunk_id)?,
            index,
        })
    }

    /// The key's bytes: chunk id, then index.
    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..ChunkId::LEN].copy_from_slice(&self.chunk.to_bytes());
        bytes[ChunkId::LEN] = self.index;
        bytes
    }

    /// The key in `bytes`, or `None` where they are none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (chunk_id, index) = bytes.split_at_checked(ChunkId::LEN)?;
        let [index] = index else { return None };
        Self::new(chunk_id, u32::from(*index))
    }
}

impl Ord for ShardKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |key: &Self| (key.chunk.placement_hash(), key.chunk, key.index);
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for ShardKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.chunk, self.index)
    }
}

impl ShardDescription {
    /// The shard of a request, or what is wrong with it.
    pub(crate) fn new(request: PutShard) -> Result<Self, &'static str> {
        let key = ShardKey::new(&request.chunk_id, request.shard_index).ok_or("no shard has this name")?;
        let shard_len = request.shard_len as usize;
        if shard_len == 0 || shard_len > CHUNK_SIZE_BYTES || request.shard_len > request.chunk_len {
            return Err("the shard is empty, or longer than its chunk or than any");
        }
        let blocks = hashes(&request.block_hashes);
        if request.block_hashes.len() != shard_len.div_ceil(BLOCK_SIZE_BYTES) * Hash::LEN {
            return Err("there is not one hash for each block");
        }
        let shards = hashes(&request.shard_hashes);
        if request.shard_hashes.len() != shards.len() * Hash::LEN || shards.len() > WIDTH_MAX {
            return Err("the shard hashes are no such list");
        }
        if shards.get(usize::from(key.index)) != Some(&shard_hash(shard_len, &blocks)) {
            return Err("the shard's hash is not that of its block hashes");
        }
        Ok(Self {
            key,
            chunk_len: request.chunk_len,
            shard_len: request.shard_len,
            block_hashes: request.block_hashes,
            shard_hashes: request.shard_hashes,
        })
    }

    /// The hash of the shard itself, out of those of its chunk; zeros where the list is too short to hold it.
    pub(crate) fn own_hash(&self) -> Hash {
        let own = self.shard_hashes.chunks_exact(Hash::LEN).nth(self.key.index.into());
        own.and_then(Hash::from_slice).unwrap_or(Hash::new([0; Hash::LEN]))
    }
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.chunks_exact(Hash::LEN).filter_map(Hash::from_slice).collect()
}
