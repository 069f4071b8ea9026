//! What to ask for: from a chunk's record and a byte range to shards, blocks and devices.
//!
//! Pure. Invariant: a plan holds only shards and blocks that the chunk has, whatever the record and the range were.

use std::ops::Range;

use bytes::Bytes;
use cairn_common::{
    checksum::Hash,
    cluster_map::{ClusterMap, Device},
    ids::ChunkId,
    limits::BLOCK_SIZE_BYTES,
    redundancy::Redundancy,
    wire::object::Chunk,
};

/// Neighbouring blocks of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    pub(crate) first: usize,
    pub(crate) count: usize,
}

/// Bytes of one shard that are part of what is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) shard: usize,
    /// Bytes within the shard.
    pub(crate) bytes: Range<usize>,
}

/// A chunk as a reader needs it: the record, checked, with its devices.
#[derive(Clone, Debug)]
pub(crate) struct ChunkView {
    pub(crate) id: ChunkId,
    pub(crate) id_bytes: Bytes,
    pub(crate) hash: Hash,
    pub(crate) redundancy: Redundancy,
    pub(crate) len: usize,
    pub(crate) shard_len: usize,
    /// The device of each shard; `None` where the map knows it no longer.
    pub(crate) devices: Vec<Option<Device>>,
}

/// Why nothing can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlanError {
    /// The record or the range is not a possible one.
    Malformed(&'static str),
    /// The map has no row for it.
    NoRow,
}

impl Blocks {
    /// The blocks that hold `bytes` of a shard.
    pub(crate) fn holding(bytes: &Range<usize>) -> Self {
        let first = bytes.start / BLOCK_SIZE_BYTES;
        Self {
            first,
            count: bytes.end.div_ceil(BLOCK_SIZE_BYTES) - first,
        }
    }

    /// The least run of blocks that holds both.
    pub(crate) fn union(self, other: Self) -> Self {
        let first = self.first.min(other.first);
        Self {
            first,
            count: self.end().max(other.end()) - first,
        }
    }

    pub(crate) fn end(self) -> usize {
        self.first + self.count
    }

    /// Where these blocks lie within a shard of `shard_len` bytes.
    pub(crate) fn bytes(self, shard_len: usize) -> Range<usize> {
        let limit = |block: usize| (block * BLOCK_SIZE_BYTES).min(shard_len);
        limit(self.first)..limit(self.end())
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.end() <= self.end()
    }
}

impl ChunkView {
    /// Checks the record and finds the devices.
    pub(crate) fn new(chunk: &Chunk, map: &ClusterMap) -> Result<Self, PlanError> {
        let id = chunk
            .chunk_id()
            .ok_or(PlanError::Malformed("the chunk id is not 16 bytes"))?;
        let hash = chunk
            .chunk_hash()
            .ok_or(PlanError::Malformed("the chunk hash is not 32 bytes"))?;
        let redundancy = chunk
            .redundancy()
            .ok_or(PlanError::Malformed("the chunk's scheme is none"))?;
        let len = chunk.length as usize;
        let row = match chunk.explicit_row() {
            Some(row) => row,
            None => {
                let group = id.placement_hash().group(map.group_bits);
                map.row(redundancy.width(), group).ok_or(PlanError::NoRow)?.to_vec()
            }
        };
        if row.len() != redundancy.width() {
            return Err(PlanError::Malformed("the chunk has not one device for each shard"));
        }
        let devices = row.iter().map(|device| map.devices.get(device).cloned()).collect();
        let shard_len = redundancy.shard_len(len);
        Ok(Self {
            id,
            id_bytes: chunk.id.clone(),
            hash,
            redundancy,
            len,
            shard_len,
            devices,
        })
    }

    /// The pieces of data shards that make up `range`, in order. Of replicas it is one, of shard 0, meaning any.
    pub(crate) fn pieces(&self, range: &Range<usize>) -> Result<Vec<Piece>, PlanError> {
        if range.start > range.end || range.end > self.len {
            return Err(PlanError::Malformed("the range is not within the chunk"));
        }
        let mut pieces = Vec::new();
        let mut position = range.start;
        while position < range.end {
            let shard = position / self.shard_len;
            let start = position - shard * self.shard_len;
            let end = (range.end - shard * self.shard_len).min(self.shard_len);
            pieces.push(Piece {
                shard,
                bytes: start..end,
            });
            position = shard * self.shard_len + end;
        }
        Ok(pieces)
    }

    /// How many blocks a shard has.
    pub(crate) fn block_count(&self) -> usize {
        self.shard_len.div_ceil(BLOCK_SIZE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view(scheme: &str, len: usize) -> ChunkView {
        let redundancy: Redundancy = scheme.parse().expect("a valid scheme");
        let id = ChunkId {
            session: Default::default(),
            counter: 1,
        };
        ChunkView {
            id,
            id_bytes: Bytes::new(),
            hash: Hash::new([0; 32]),
            redundancy,
            len,
            shard_len: redundancy.shard_len(len),
            devices: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn pieces_are_the_range_in_order(
            scheme in prop::sample::select(vec!["1", "3", "2+1", "4+2", "8+3"]),
            len in 1_usize..3_000_000,
            ends in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let (left, right) = (ends.0.index(len + 1), ends.1.index(len + 1));
            let range = left.min(right)..left.max(right);
            let view = view(scheme, len);
            let mut position = range.start;
            for piece in view.pieces(&range).expect("within the chunk") {
                prop_assert!(piece.shard < view.redundancy.data_shards());
                prop_assert_eq!(piece.shard * view.shard_len + piece.bytes.start, position);
                prop_assert!(piece.bytes.start < piece.bytes.end && piece.bytes.end <= view.shard_len);
                let blocks = Blocks::holding(&piece.bytes);
                prop_assert!(blocks.end() <= view.block_count());
                let held = blocks.bytes(view.shard_len);
                prop_assert!(held.start <= piece.bytes.start && piece.bytes.end <= held.end);
                position += piece.bytes.len();
            }
            prop_assert_eq!(position, range.end);
        }
    }

    #[test]
    fn ranges_outside_the_chunk_are_refused() {
        let view = view("4+2", 100);
        #[expect(clippy::reversed_empty_ranges, reason = "the point of the case")]
        let bad = [0..101, 101..101, 7..6];
        for range in bad {
            assert!(view.pieces(&range).is_err(), "{range:?}");
        }
        assert_eq!(view.pieces(&(100..100)), Ok(Vec::new()));
    }
}
