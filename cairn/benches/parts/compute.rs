//! The parts that are arithmetic: digests of a body, block hashes, erasure coding.

use std::hint::black_box;

use anyhow::Result;
use cairn_common::{
    checksum::{block_hashes, chunk_hash, shard_hash},
    erasure::Codec,
    limits::CHUNK_SIZE_BYTES,
    redundancy::Redundancy,
};
use s3s::crypto::{Checksum, Crc64Nvme, Md5};

use crate::{OBJECT_SIZE_BYTES, cpu::measure};

/// Bytes of a body that the gateway digests at a time: about what its HTTP hands on.
const PIECE_SIZE_BYTES: usize = 64 << 10;

/// The entity tag of every object, by the crate that the gateway uses.
pub(crate) fn md5() -> Result<f64> {
    digest::<Md5>()
}

/// The checksum of an object whose sender chose none.
pub(crate) fn crc64nvme() -> Result<f64> {
    digest::<Crc64Nvme>()
}

fn digest<D: Checksum>() -> Result<f64> {
    let object = bytes(OBJECT_SIZE_BYTES);
    measure(object.len(), || {
        let mut digest = D::new();
        for piece in object.chunks(PIECE_SIZE_BYTES) {
            digest.update(black_box(piece));
        }
        black_box(digest.finalize());
        Ok(())
    })
}

/// The blocks of every shard of a chunk, the shards and the chunk, as a writer hashes them.
pub(crate) fn blake3(scheme: Redundancy) -> Result<f64> {
    let encoded = bytes(Codec::new(scheme).encoded_len(CHUNK_SIZE_BYTES));
    let shard_len = scheme.shard_len(CHUNK_SIZE_BYTES);
    measure(CHUNK_SIZE_BYTES, || {
        let shards: Vec<_> = encoded
            .chunks(shard_len)
            .map(|shard| shard_hash(shard_len, &block_hashes(black_box(shard))))
            .collect();
        black_box(chunk_hash(CHUNK_SIZE_BYTES, &shards));
        Ok(())
    })
}

/// The parity of a chunk.
pub(crate) fn coding(scheme: Redundancy) -> Result<f64> {
    let codec = Codec::new(scheme);
    let mut buffer = bytes(codec.encoded_len(CHUNK_SIZE_BYTES));
    measure(CHUNK_SIZE_BYTES, || {
        codec.encode(black_box(&mut buffer), CHUNK_SIZE_BYTES);
        Ok(())
    })
}

/// Bytes of which no two pages are alike.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 31 / 7) as u8).collect()
}
