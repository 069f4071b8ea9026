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
pub struct ShardKey {
    /// The chunk.
    pub chunk: ChunkId,
    /// Which shard of it, from 0.
    pub index: u8,
}

/// A shard to be stored; its numbers agree with each other.
#[derive(Clone, Debug)]
pub struct NewShard {
    /// Its key.
    pub key: ShardKey,
    /// Bytes of the whole chunk.
    pub chunk_len: u32,
    /// Bytes of the shard.
    pub shard_len: u32,
    /// The hash of each of its blocks, 32 bytes each.
    pub block_hashes: Bytes,
    /// The hash of every shard of the chunk, 32 bytes each.
    pub shard_hashes: Bytes,
    /// Its bytes, in order.
    pub payload: Vec<Bytes>,
}

/// Blocks of a stored shard, as they were found: the reader verifies them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredShard {
    /// Bytes of the whole shard.
    pub shard_len: u32,
    /// The hash of each of its blocks, 32 bytes each.
    pub block_hashes: Bytes,
    /// The hash of every shard of the chunk, 32 bytes each.
    pub shard_hashes: Bytes,
    /// The blocks asked for.
    pub payload: Bytes,
}

/// One page of an inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardPage {
    /// Keys in order.
    pub keys: Vec<ShardKey>,
    /// Whether there are more behind the last.
    pub more: bool,
}

impl ShardKey {
    /// Bytes of an encoded key.
    pub const LEN: usize = ChunkId::LEN + 1;

    /// The key of shard `index` of the chunk in `chunk_id`, or `None` where there is no such.
    pub fn new(chunk_id: &[u8], index: u32) -> Option<Self> {
        let index = u8::try_from(index)
            .ok()
            .filter(|index| usize::from(*index) < WIDTH_MAX)?;
        Some(Self {
            chunk: ChunkId::from_bytes(chunk_id)?,
            index,
        })
    }

    /// The key's bytes: chunk id, then index.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..ChunkId::LEN].copy_from_slice(&self.chunk.to_bytes());
        bytes[ChunkId::LEN] = self.index;
        bytes
    }

    /// The key in `bytes`, or `None` where they are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
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

impl NewShard {
    /// The shard of a request, or what is wrong with it.
    pub fn new(request: PutShard, payload: Vec<Bytes>) -> Result<Self, &'static str> {
        let key = ShardKey::new(&request.chunk_id, request.shard_index).ok_or("no shard has this name")?;
        let shard_len = request.shard_len as usize;
        if shard_len == 0 || shard_len > CHUNK_SIZE_BYTES || request.shard_len > request.chunk_len {
            return Err("the shard is empty, or longer than its chunk or than any");
        }
        if payload.iter().map(Bytes::len).sum::<usize>() != shard_len {
            return Err("the shard's bytes are not as many as announced");
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
            payload,
        })
    }
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.chunks_exact(Hash::LEN).filter_map(Hash::from_slice).collect()
}
