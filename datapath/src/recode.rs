//! A chunk read whole and stored as another one, of another redundancy.
//!
//! Invariant: the bytes that are stored are those that were committed: their hash under the old scheme is that of the old chunk.

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    erasure::Codec,
    ids::{ChunkId, DeviceId},
    redundancy::Redundancy,
    wire::object::Chunk,
};

use crate::{
    buffer::SlowDown, compute::compute, datapath::Datapath, encode::EncodedChunk, gather::ReadError,
    placement::Placement, write::WriteError,
};

/// Why a chunk was not stored as another one. Nothing may be committed.
#[derive(Debug, thiserror::Error)]
pub enum RecodeError {
    /// Its bytes could not be had.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// There was no memory for them in time.
    #[error(transparent)]
    SlowDown(#[from] SlowDown),
}

/// What a chunk is to become.
#[derive(Clone, Debug)]
pub struct Target {
    /// An id that was never used.
    pub id: ChunkId,
    /// The new redundancy.
    pub redundancy: Redundancy,
    /// The devices of its shards, in order.
    pub row: Vec<DeviceId>,
}

impl Datapath {
    /// Stores the bytes of `source` durably as `target`; the devices of both stand in `map`. Gives the new chunk as a commit carries
    /// it.
    pub async fn recode_chunk(&self, map: &ClusterMap, source: &Chunk, target: Target) -> Result<Chunk, RecodeError> {
        let known = |device: &DeviceId| map.devices.contains_key(device);
        if target.row.len() != target.redundancy.width() || !target.row.iter().all(known) {
            return Err(ReadError::Malformed("the new chunk's row does not fit it").into());
        }
        let length = source.length as usize;
        let (scheme, hash) = source
            .redundancy()
            .zip(source.chunk_hash())
            .ok_or(ReadError::Malformed("the chunk's scheme or its hash is none"))?;
        let pieces = self.read_range(map, source, &(0..length)).await?;
        let codec = self.codec(scheme);
        let work = codec.encoded_len(length);
        let (bytes, found) = compute(work, move || hashed(&pieces, length, &codec)).await;
        if found != hash {
            return Err(ReadError::Malformed("what was read is not what was committed").into());
        }
        let mut buffer = self.budget().acquire(length, target.redundancy).await?;
        buffer.extend_from_slice(&bytes[..length]).await?;
        drop(bytes);
        let placement = Placement {
            id: target.id,
            redundancy: target.redundancy,
            devices: target.row,
            explicit: false,
        };
        Ok(self.write_placed(map, &placement, buffer).await?)
    }
}

/// The bytes of a chunk, encoded, and its hash.
fn hashed(pieces: &[Bytes], length: usize, codec: &Codec) -> (Bytes, cairn_common::checksum::Hash) {
    let mut encoded = pieces.concat();
    encoded.resize(codec.encoded_len(length).max(length), 0);
    if !codec.redundancy().is_replicated() {
        codec.encode(&mut encoded, length);
    }
    let encoded = Bytes::from(encoded);
    let chunk = EncodedChunk::new(&encoded, length, codec.redundancy());
    (encoded, chunk.hash)
}
