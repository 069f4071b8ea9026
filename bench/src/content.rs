//! The content of objects: a pure function of (seed, index, offset) that is made and checked at memory speed.
//!
//! An object is a row of 4 KiB blocks. Each begins with an 8-byte stamp, `object hash ^ block number` (little endian),
//! and goes on with a piece of one random ring that all objects share, begun at a place the object's hash chooses:
//!
//! ```text
//! | stamp 0 | ring[r ..][..4088] | stamp 1 | ring[r + 4088 ..][..4088] | …      (ring positions modulo its length)
//! ```
//!
//! So nothing is computed per byte, and yet a block that is stale, of another object or in another place does not pass.
//! Invariant: keys and content depend on nothing but seed, prefix, index and size.

use crate::limits::SEND_WINDOW_BLOCKS;

/// Unit of stamping.
pub(crate) const BLOCK_BYTES: usize = 4096;
const STAMP_BYTES: usize = 8;
const RUN_BYTES: usize = BLOCK_BYTES - STAMP_BYTES;

/// The smallest prime above 1 MiB, so that pieces repeat against no power-of-two boundary of a server; small enough to
/// stay in a cache.
const RING_BYTES: usize = (1 << 20) + 7;

/// All objects of one run.
pub(crate) struct Dataset {
    prefix: String,
    seed: u64,
    size_bytes: u64,
    /// The ring, followed by its own beginning, so that every piece is one slice.
    ring: Box<[u8]>,
}

/// One object's key and what its content is made from.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) size_bytes: u64,
    hash: u64,
    rotation: u64,
}

/// One block of an object, as if the object had no end.
pub(crate) struct Block<'a> {
    stamp: [u8; STAMP_BYTES],
    run: &'a [u8],
}

/// The first byte that is not what was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) offset: u64,
    pub(crate) expected: u8,
    pub(crate) found: u8,
}

impl Dataset {
    /// Generates the ring; about a millisecond.
    pub(crate) fn new(prefix: &str, seed: u64, size_bytes: u64) -> Self {
        let mut ring = vec![0; RING_BYTES + RUN_BYTES].into_boxed_slice();
        let mut hasher = blake3::Hasher::new_derive_key("cairn-bench content ring 1");
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut ring[..RING_BYTES]);
        ring.copy_within(..RUN_BYTES, RING_BYTES);
        Self {
            prefix: prefix.to_owned(),
            seed,
            size_bytes,
            ring,
        }
    }

    pub(crate) fn key(&self, index: u64) -> String {
        format!("{}{:016x}/{index:010}", self.prefix, self.seed)
    }

    pub(crate) fn object(&self, index: u64) -> Object {
        let key = self.key(index);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.size_bytes.to_le_bytes());
        hasher.update(key.as_bytes());
        let digest = hasher.finalize();
        let (hash, rotation) = (little_endian(digest.as_bytes(), 0), little_endian(digest.as_bytes(), 8));
        Object {
            key,
            size_bytes: self.size_bytes,
            hash,
            rotation: rotation % RING_BYTES as u64,
        }
    }

    pub(crate) fn block(&self, object: &Object, number: u64) -> Block<'_> {
        // The object is at most a few GiB long, so the position cannot overflow; it is below RING_BYTES after the
        // modulo.
        let position = (object.rotation + number * RUN_BYTES as u64) % RING_BYTES as u64;
        let run = &self.ring[position as usize..][..RUN_BYTES];
        Block {
            stamp: (object.hash ^ number).to_le_bytes(),
            run,
        }
    }

    /// Up to a send window of blocks from block `first`, and how many bytes of the object they hold.
    pub(crate) fn window(&self, object: &Object, first: u64) -> (Vec<Block<'_>>, u64) {
        let start = first * BLOCK_BYTES as u64;
        let bytes = (object.size_bytes.saturating_sub(start)).min((SEND_WINDOW_BLOCKS * BLOCK_BYTES) as u64);
        let blocks = bytes.div_ceil(BLOCK_BYTES as u64);
        (
            (first..first + blocks)
                .map(|number| self.block(object, number))
                .collect(),
            bytes,
        )
    }

    /// Compares `bytes`, read at `offset` of the object, with what was written there.
    ///
    /// # Errors
    /// The first byte that differs.
    pub(crate) fn verify(&self, object: &Object, offset: u64, bytes: &[u8]) -> Result<(), Mismatch> {
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let block = self.block(object, offset / BLOCK_BYTES as u64);
            let from = (offset % BLOCK_BYTES as u64) as usize;
            let (piece, tail) = rest.split_at(rest.len().min(BLOCK_BYTES - from));
            let expected = block.range(from, from + piece.len());
            let (stamp, run) = piece.split_at(expected[0].len());
            if stamp != expected[0] || run != expected[1] {
                return Err(first_difference(offset, expected, piece));
            }
            offset += piece.len() as u64;
            rest = tail;
        }
        Ok(())
    }
}

impl Block<'_> {
    /// Bytes `from..to` of the block, in two pieces (either may be empty).
    pub(crate) fn range(&self, from: usize, to: usize) -> [&[u8]; 2] {
        [
            &self.stamp[from.min(STAMP_BYTES)..to.min(STAMP_BYTES)],
            &self.run[from.max(STAMP_BYTES) - STAMP_BYTES..to.max(STAMP_BYTES) - STAMP_BYTES],
        ]
    }
}

fn first_difference(offset: u64, expected: [&[u8]; 2], found: &[u8]) -> Mismatch {
    let expected = expected[0].iter().chain(expected[1]);
    let (place, (expected, found)) = expected
        .zip(found)
        .enumerate()
        .find(|(_, (expected, found))| expected != found)
        .expect("called only where the pieces differ");
    Mismatch {
        offset: offset + place as u64,
        expected: *expected,
        found: *found,
    }
}

fn little_endian(bytes: &[u8; 32], from: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[from..from + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 5 * (1 << 20) + 4099;

    fn whole(dataset: &Dataset, object: &Object) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut first = 0;
        loop {
            let (blocks, mut left) = dataset.window(object, first);
            if left == 0 {
                return bytes;
            }
            first += blocks.len() as u64;
            for block in &blocks {
                let length = left.min(BLOCK_BYTES as u64);
                block
                    .range(0, length as usize)
                    .iter()
                    .for_each(|piece| bytes.extend_from_slice(piece));
                left -= length;
            }
        }
    }

    #[test]
    fn any_range_equals_that_range_of_the_whole() {
        let dataset = Dataset::new("p/", 7, SIZE);
        let object = dataset.object(3);
        let bytes = whole(&dataset, &object);
        assert_eq!(bytes.len() as u64, SIZE);
        for offset in [
            0,
            1,
            7,
            8,
            9,
            4088,
            4095,
            4096,
            4097,
            1 << 20,
            (1 << 20) + 7,
            SIZE - 5,
            SIZE - 1,
        ] {
            for length in [0, 1, 8, 9, 4095, 4096, 4097, 300_000] {
                let end = (offset + length).min(SIZE);
                let range = &bytes[offset as usize..end as usize];
                assert_eq!(dataset.verify(&object, offset, range), Ok(()), "{offset} {length}");
            }
        }
    }

    #[test]
    fn a_wrong_byte_is_found_where_it_is() {
        let dataset = Dataset::new("p/", 7, SIZE);
        let object = dataset.object(0);
        let bytes = whole(&dataset, &object);
        for place in [0, 5, 8, 4095, 4096, 4100, 1_234_567, SIZE - 1] {
            let mut damaged = bytes.clone();
            damaged[place as usize] ^= 1;
            let expected = bytes[place as usize];
            let mismatch = dataset.verify(&object, 0, &damaged).unwrap_err();
            assert_eq!(
                mismatch,
                Mismatch {
                    offset: place,
                    expected,
                    found: expected ^ 1
                }
            );
        }
    }

    #[test]
    fn objects_of_another_index_seed_or_size_do_not_pass() {
        let dataset = Dataset::new("p/", 7, 8192);
        let bytes = whole(&dataset, &dataset.object(0));
        let others = [(7, 8192, 1), (8, 8192, 0), (7, 8193, 0)];
        for (seed, size, index) in others {
            let other = Dataset::new("p/", seed, size);
            assert!(
                other.verify(&other.object(index), 0, &bytes).is_err(),
                "{seed} {size} {index}"
            );
        }
    }

    #[test]
    fn blocks_that_changed_places_do_not_pass() {
        let dataset = Dataset::new("p/", 7, 8192);
        let object = dataset.object(0);
        let mut bytes = whole(&dataset, &object);
        bytes.rotate_left(BLOCK_BYTES);
        assert_eq!(dataset.verify(&object, 0, &bytes).unwrap_err().offset, 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_object() {
        let (one, two) = (Dataset::new("p/", 9, 10_000), Dataset::new("p/", 9, 10_000));
        assert_eq!(one.key(5), "p/0000000000000009/0000000005");
        assert_eq!(whole(&one, &one.object(5)), whole(&two, &two.object(5)));
    }
}
