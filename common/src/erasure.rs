//! Erasure coding of one chunk: bytes to shards and back.
//!
//! Shards are equal in length; data shard i holds the chunk's bytes from i × shard length on, the last padded with zeros.
//! The code is Reed-Solomon over GF(2^8) with a Vandermonde-derived systematic matrix, as in Backblaze's JavaReedSolomon
//! and the `reed-solomon-erasure` crate. Invariant: any `data_shards` of the shards restore all others.

use reed_solomon_erasure::galois_8::ReedSolomon;

use crate::redundancy::Redundancy;

/// An encoder and decoder for one scheme. Making it inverts a matrix: keep it.
pub struct Codec {
    redundancy: Redundancy,
    code: Option<ReedSolomon>,
}

/// Why shards could not be restored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer shards were given than hold the data.
    #[error("{present} shards are present, {needed} are needed")]
    TooFewShards {
        /// Shards given.
        present: usize,
        /// Shards needed.
        needed: usize,
    },
    /// The shards are not those of this scheme.
    #[error("the shards differ in number or length from the scheme {0}")]
    Shape(Redundancy),
}

impl Codec {
    /// The codec of `redundancy`.
    pub fn new(redundancy: Redundancy) -> Self {
        let coded = !redundancy.is_replicated() && redundancy.parity_shards() > 0;
        let code = coded.then(|| {
            ReedSolomon::new(redundancy.data_shards(), redundancy.parity_shards())
                .expect("a checked scheme has at least one shard of each kind and at most 32 in all")
        });
        Self { redundancy, code }
    }

    /// The scheme this codec serves.
    pub const fn redundancy(&self) -> Redundancy {
        self.redundancy
    }

    /// Bytes that [`Codec::encode`] needs behind the chunk's own: padding and parity.
    pub const fn encoded_len(&self, chunk_len: usize) -> usize {
        if self.redundancy.is_replicated() {
            return chunk_len;
        }
        self.redundancy.shard_len(chunk_len) * self.redundancy.width()
    }

    /// Fills in padding and parity. `buffer` has [`Codec::encoded_len`] bytes and starts with the chunk's `chunk_len`; after
    /// the call shard i is its i-th slice of shard length (for replicas, every shard is the whole buffer).
    ///
    /// # Panics
    /// Where `buffer` is not of the encoded length: the caller sized it by the same codec.
    pub fn encode(&self, buffer: &mut [u8], chunk_len: usize) {
        assert_eq!(
            buffer.len(),
            self.encoded_len(chunk_len),
            "the buffer is sized by encoded_len"
        );
        let shard_len = self.redundancy.shard_len(chunk_len);
        if self.redundancy.is_replicated() || shard_len == 0 {
            return;
        }
        let data_len = shard_len * self.redundancy.data_shards();
        buffer[chunk_len..data_len].fill(0);
        let (data, parity) = buffer.split_at_mut(data_len);
        let Some(code) = &self.code else { return };
        let data: Vec<&[u8]> = data.chunks_exact(shard_len).collect();
        let mut parity: Vec<&mut [u8]> = parity.chunks_exact_mut(shard_len).collect();
        code.encode_sep(&data, &mut parity)
            .expect("the shards were cut to the scheme's number and one length");
    }

    /// Restores the missing data shards from any sufficient set. `shards` has one entry for each shard of the scheme, in
    /// order, absent ones `None`; after success every data shard is present. Parity is not restored.
    pub fn decode_data(&self, shards: &mut [Option<Vec<u8>>]) -> Result<(), DecodeError> {
        if shards.len() != self.redundancy.width() {
            return Err(DecodeError::Shape(self.redundancy));
        }
        let present = shards.iter().flatten().count();
        let needed = self.redundancy.data_shards();
        if present < needed {
            return Err(DecodeError::TooFewShards { present, needed });
        }
        if shards.iter().take(needed).all(Option::is_some) {
            return Ok(());
        }
        if self.redundancy.is_replicated() {
            let copy = shards.iter().flatten().next().cloned();
            shards[0] = copy;
            return Ok(());
        }
        let Some(code) = &self.code else {
            return Err(DecodeError::Shape(self.redundancy));
        };
        code.reconstruct_data(shards)
            .map_err(|_| DecodeError::Shape(self.redundancy))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shards_of(codec: &Codec, chunk: &[u8]) -> Vec<Vec<u8>> {
        let mut buffer = chunk.to_vec();
        buffer.resize(codec.encoded_len(chunk.len()), 0xaa);
        codec.encode(&mut buffer, chunk.len());
        if codec.redundancy().is_replicated() {
            return vec![buffer; codec.redundancy().width()];
        }
        buffer
            .chunks_exact(codec.redundancy().shard_len(chunk.len()))
            .map(<[u8]>::to_vec)
            .collect()
    }

    proptest! {
        #[test]
        fn any_sufficient_set_restores_the_chunk(
            data in 1_usize..12, parity in 0_usize..6, chunk in proptest::collection::vec(any::<u8>(), 1..5000), seed: u64,
        ) {
            let redundancy = Redundancy::erasure_coded(data, parity).expect("within limits");
            let codec = Codec::new(redundancy);
            let mut shards: Vec<Option<Vec<u8>>> = shards_of(&codec, &chunk).into_iter().map(Some).collect();
            for lost in 0..parity {
                let index = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(lost as u64 * 7) as usize % shards.len();
                shards[index] = None;
            }
            codec.decode_data(&mut shards).expect("enough shards are left");
            let mut restored: Vec<u8> = shards.into_iter().take(data).flatten().flatten().collect();
            restored.truncate(chunk.len());
            prop_assert_eq!(restored, chunk);
        }
    }

    #[test]
    fn too_few_shards_are_refused() {
        let codec = Codec::new("4+2".parse().expect("a valid scheme"));
        let mut shards: Vec<Option<Vec<u8>>> = shards_of(&codec, b"0123456789").into_iter().map(Some).collect();
        shards[0] = None;
        shards[3] = None;
        shards[5] = None;
        assert_eq!(
            codec.decode_data(&mut shards),
            Err(DecodeError::TooFewShards { present: 3, needed: 4 })
        );
        assert_eq!(
            codec.decode_data(&mut shards[..5]),
            Err(DecodeError::Shape(codec.redundancy()))
        );
    }
}
