//! The check of one answer against the committed chunk hash: chunk → shard → block → bytes.
//!
//! Pure. Invariant: `Ok` means that the bytes are those blocks of that shard of that chunk which were committed; nothing the
//! answer says of itself is believed.

use bytes::{Bytes, BytesMut};
use cairn_common::{
    checksum::{Hash, block_hash, chunk_hash, shard_hash},
    limits::BLOCK_SIZE_BYTES,
    wire::shard::GetShardReply,
};

use crate::read_plan::{Blocks, ChunkView};

/// Blocks of a shard that were verified.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) blocks: Blocks,
    pub(crate) bytes: Bytes,
    /// The hash of every shard of the chunk, for checking what is decoded.
    pub(crate) shard_hashes: Vec<Hash>,
}

/// Verifies the answer to "these `blocks` of shard `index`"; the error says what is wrong, for a person.
pub(crate) fn verify(
    view: &ChunkView,
    index: usize,
    blocks: Blocks,
    reply: &GetShardReply,
    body: Vec<Bytes>,
) -> Result<Verified, String> {
    if reply.shard_len as usize != view.shard_len {
        return Err(format!(
            "the shard has {} bytes instead of {}",
            reply.shard_len, view.shard_len
        ));
    }
    let shard_hashes =
        parse(&reply.shard_hashes, view.redundancy.width()).ok_or("its list of shard hashes is too short")?;
    if chunk_hash(view.len, &shard_hashes) != view.hash {
        return Err("its shard hashes are not those of the committed chunk".to_owned());
    }
    let block_hashes = parse(&reply.block_hashes, view.block_count()).ok_or("its list of block hashes is too short")?;
    if shard_hashes.get(index) != Some(&shard_hash(view.shard_len, &block_hashes)) {
        return Err("its block hashes are not those of the shard".to_owned());
    }
    let bytes = joined(body);
    let expected = blocks.bytes(view.shard_len).len();
    if bytes.len() != expected {
        return Err(format!("{} bytes came instead of {expected}", bytes.len()));
    }
    let wanted = block_hashes
        .get(blocks.first..blocks.end())
        .ok_or("the shard has no such blocks")?;
    for (offset, (block, hash)) in bytes.chunks(BLOCK_SIZE_BYTES).zip(wanted).enumerate() {
        if block_hash(block) != *hash {
            return Err(format!("block {} does not have its hash", blocks.first + offset));
        }
    }
    Ok(Verified {
        blocks,
        bytes,
        shard_hashes,
    })
}

/// `count` hashes, where there are exactly as many.
fn parse(bytes: &[u8], count: usize) -> Option<Vec<Hash>> {
    (bytes.len() == count * Hash::LEN).then(|| bytes.chunks_exact(Hash::LEN).filter_map(Hash::from_slice).collect())
}

/// One slice: as it came where it came in one piece.
fn joined(mut body: Vec<Bytes>) -> Bytes {
    if body.len() == 1 {
        return body.swap_remove(0);
    }
    let mut all = BytesMut::with_capacity(body.iter().map(Bytes::len).sum());
    body.iter().for_each(|piece| all.extend_from_slice(piece));
    all.freeze()
}
