//! One shard of a chunk, whole: read from where it lies, or made again from others.
//!
//! Invariant: what is returned is that shard of that chunk which was committed, whatever the devices sent.

use std::time::Duration;

use bytes::Bytes;
use cairn_common::{
    checksum::{Hash, block_hashes, shard_hash},
    cluster_map::ClusterMap,
    erasure::Codec,
    wire::object::Chunk,
};

use crate::{
    compute::compute,
    datapath::Datapath,
    fetch::Fault,
    gather::{Faults, Gathering, ReadError},
    read_plan::{Blocks, ChunkView},
    verify::Verified,
};

/// A shard with its hashes, as it is stored.
#[derive(Clone, Debug)]
pub struct WholeShard {
    /// Its bytes.
    pub bytes: Bytes,
    /// The hash of each block, one after the other.
    pub block_hashes: Bytes,
    /// The hash of every shard of the chunk, one after the other.
    pub shard_hashes: Bytes,
    /// Bytes that were read for it.
    pub read_bytes: u64,
}

impl Datapath {
    /// Shard `index` of a chunk whose devices stand in `map`. Shards that the chunk's record calls missing are asked for last.
    pub async fn rebuild_shard(&self, map: &ClusterMap, chunk: &Chunk, index: usize) -> Result<WholeShard, ReadError> {
        let view = ChunkView::new(chunk, map)?;
        if index >= view.redundancy.width() {
            return Err(ReadError::Malformed("the chunk has no such shard"));
        }
        let blocks = Blocks::holding(&(0..view.shard_len));
        let is_missing = |index: usize| chunk.missing & 1 << index != 0;
        let fault = if is_missing(index) {
            Fault::Missing
        } else {
            match self.fetch(&view, index, blocks).await {
                Ok(found) => return Ok(whole(&found.shard_hashes, found.bytes, view.shard_len as u64)),
                Err(fault) => fault,
            }
        };
        let mut others: Vec<usize> = (0..view.redundancy.width()).filter(|other| *other != index).collect();
        others.sort_by_key(|other| is_missing(*other));
        let needed = view.redundancy.data_shards();
        let gathering = Gathering {
            blocks,
            needed,
            good: Vec::new(),
            candidates: others.into(),
            faults: Faults::from([(index, fault)]),
            // It is asked for again when its turn comes again, and others wait.
            patience: Duration::ZERO,
        };
        let (good, _) = self.gather(&view, gathering).await?;
        let codec = self.codec(view.redundancy);
        let (chunk_len, shard_len) = (view.len, view.shard_len);
        let work = shard_len * view.redundancy.width();
        compute(work, move || make(&codec, chunk_len, shard_len, &good, index)).await
    }
}

/// The shard `index`, out of enough others.
fn make(
    codec: &Codec,
    chunk_len: usize,
    shard_len: usize,
    good: &[(usize, Verified)],
    index: usize,
) -> Result<WholeShard, ReadError> {
    let redundancy = codec.redundancy();
    let needed = redundancy.data_shards();
    let too_few = || ReadError::TooFewShards {
        present: good.len(),
        needed,
    };
    let mut shards = vec![None; redundancy.width()];
    for (at, verified) in good.iter().take(needed) {
        shards[*at] = Some(verified.bytes.to_vec());
    }
    codec.decode_data(&mut shards).map_err(|_| too_few())?;
    let mut encoded: Vec<u8> = shards.into_iter().take(needed).flatten().flatten().collect();
    encoded.resize(codec.encoded_len(chunk_len).max(encoded.len()), 0);
    let made = if redundancy.is_replicated() {
        Bytes::from(encoded)
    } else {
        codec.encode(&mut encoded, chunk_len);
        Bytes::from(encoded).slice(index * shard_len..(index + 1) * shard_len)
    };
    let (_, first) = good.first().ok_or_else(too_few)?;
    let hash = shard_hash(shard_len, &block_hashes(&made));
    if first.shard_hashes.get(index) != Some(&hash) {
        return Err(ReadError::Corrupt {
            good: 0,
            present: good.len(),
            needed,
        });
    }
    Ok(whole(&first.shard_hashes, made, (needed * shard_len) as u64))
}

fn whole(shard_hashes: &[Hash], bytes: Bytes, read_bytes: u64) -> WholeShard {
    let joined = |hashes: &[Hash]| hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    WholeShard {
        block_hashes: joined(&block_hashes(&bytes)),
        shard_hashes: joined(shard_hashes),
        bytes,
        read_bytes,
    }
}
