//! The content of objects: a pure function of (seed, index, version, offset) that is made and checked at memory speed.
//!
//! An object is a row of 4 KiB blocks. Each begins with an 8-byte stamp, `object hash ^ block number` (little endian),
//! and goes on with a piece of one random ring that all objects share, begun at a place the object's hash chooses:
//!
//! ```text
//! | stamp 0 | ring[r ..][..4088] | stamp 1 | ring[r + 4088 ..][..4088] | …      (ring positions modulo its length)
//! ```
//!
//! So nothing is computed per byte, and yet a block that is stale, of another object or in another place does not pass.
//! Invariant: keys and content depend on nothing but seed, prefix, index, version and size.

use std::ops::Range;

use crate::limits::SEND_WINDOW_BLOCKS;
use crate::load::{Random, Sizes};

/// Unit of stamping.
const BLOCK_BYTES: usize = 4096;
const STAMP_BYTES: usize = 8;
const RUN_BYTES: usize = BLOCK_BYTES - STAMP_BYTES;

/// The smallest prime above 1 MiB, so that pieces repeat against no power-of-two boundary of a server; small enough to
/// stay in a cache.
const RING_BYTES: usize = (1 << 20) + 7;

/// Sets the draws of sizes apart from others of the same seed.
const SIZE_SEED: u64 = 0x51ce_5eed;

/// All objects of one run.
pub(crate) struct Dataset {
    prefix: String,
    seed: u64,
    sizes: Sizes,
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
struct Block<'a> {
    stamp: [u8; STAMP_BYTES],
    run: &'a [u8],
}

/// Consecutive bytes of an object.
pub(crate) struct Window<'a> {
    blocks: Vec<Block<'a>>,
    /// Where they begin in the first block.
    from: usize,
    pub(crate) bytes: u64,
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
    pub(crate) fn new(prefix: &str, seed: u64, sizes: &Sizes) -> Self {
        let mut ring = vec![0; RING_BYTES + RUN_BYTES].into_boxed_slice();
        let mut hasher = blake3::Hasher::new_derive_key("cairn-bench content ring 1");
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut ring[..RING_BYTES]);
        ring.copy_within(..RUN_BYTES, RING_BYTES);
        Self {
            prefix: prefix.to_owned(),
            seed,
            sizes: sizes.clone(),
            ring,
        }
    }

    /// What the keys of this run begin with.
    pub(crate) fn folder(&self) -> String {
        format!("{}{:016x}/", self.prefix, self.seed)
    }

    pub(crate) fn key(&self, index: u64) -> String {
        format!("{}{:016x}/{index:010}", self.prefix, self.seed)
    }

    /// The index of a key that is one of this run's.
    pub(crate) fn index_of(&self, key: &str) -> Option<u64> {
        let index = key.strip_prefix(&self.folder())?.parse().ok()?;
        (self.key(index) == key).then_some(index)
    }

    /// A generator of this run's own for `number`.
    pub(crate) fn random(&self, number: u64) -> Random {
        Random::of(self.seed, number)
    }

    /// Object `index` as its `version`-th writing leaves it.
    pub(crate) fn object(&self, index: u64, version: u32) -> Object {
        let key = self.key(index);
        // Sizes are drawn apart from what operations draw, and are the same for all versions.
        let mut random = Random::of(self.seed ^ SIZE_SEED, index);
        let size_bytes = self.sizes.draw(&mut random);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&size_bytes.to_le_bytes());
        hasher.update(&version.to_le_bytes());
        hasher.update(key.as_bytes());
        let digest = hasher.finalize();
        let (hash, rotation) = (little_endian(digest.as_bytes(), 0), little_endian(digest.as_bytes(), 8));
        Object {
            key,
            size_bytes,
            hash,
            rotation: rotation % RING_BYTES as u64,
        }
    }

    fn block(&self, object: &Object, number: u64) -> Block<'_> {
        // The object is at most a few TiB long, so the position cannot overflow; it is below RING_BYTES after the
        // modulo.
        let position = (object.rotation + number * RUN_BYTES as u64) % RING_BYTES as u64;
        let run = &self.ring[position as usize..][..RUN_BYTES];
        Block {
            stamp: (object.hash ^ number).to_le_bytes(),
            run,
        }
    }

    /// The beginning of `range` of the object, up to a send window of blocks.
    pub(crate) fn window(&self, object: &Object, range: Range<u64>) -> Window<'_> {
        let first = range.start / BLOCK_BYTES as u64;
        let from = (range.start % BLOCK_BYTES as u64) as usize;
        let most = (SEND_WINDOW_BLOCKS * BLOCK_BYTES - from) as u64;
        let bytes = range.end.saturating_sub(range.start).min(most);
        let blocks = (from as u64 + bytes).div_ceil(BLOCK_BYTES as u64);
        Window {
            blocks: (first..first + blocks)
                .map(|number| self.block(object, number))
                .collect(),
            from,
            bytes,
        }
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

impl Window<'_> {
    /// The bytes, in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let end = self.from + self.bytes as usize;
        self.blocks.iter().enumerate().flat_map(move |(place, block)| {
            let start = place * BLOCK_BYTES;
            block.range(self.from.saturating_sub(start), (end - start).min(BLOCK_BYTES))
        })
    }
}

impl Block<'_> {
    /// Bytes `from..to` of the block, in two pieces (either may be empty).
    fn range(&self, from: usize, to: usize) -> [&[u8]; 2] {
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
    use crate::load::ByteSize;

    fn dataset(seed: u64, size_bytes: u64) -> Dataset {
        Dataset::new("p/", seed, &Sizes::Fixed(ByteSize(size_bytes)))
    }

    const SIZE: u64 = 5 * (1 << 20) + 4099;

    fn part(dataset: &Dataset, object: &Object, range: Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let window = dataset.window(object, at..range.end);
            window.pieces().for_each(|piece| bytes.extend_from_slice(piece));
            at += window.bytes;
        }
        bytes
    }

    fn whole(dataset: &Dataset, object: &Object) -> Vec<u8> {
        part(dataset, object, 0..object.size_bytes)
    }

    #[test]
    fn any_range_equals_that_range_of_the_whole() {
        let dataset = dataset(7, SIZE);
        let object = dataset.object(3, 0);
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
                assert_eq!(part(&dataset, &object, offset..end), range, "{offset} {length}");
            }
        }
    }

    #[test]
    fn a_wrong_byte_is_found_where_it_is() {
        let dataset = dataset(7, SIZE);
        let object = dataset.object(0, 0);
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
        let written = dataset(7, 8192);
        let bytes = whole(&written, &written.object(0, 0));
        let others = [(7, 8192, 1), (8, 8192, 0), (7, 8193, 0)];
        for (seed, size, index) in others {
            let other = dataset(seed, size);
            assert!(
                other.verify(&other.object(index, 0), 0, &bytes).is_err(),
                "{seed} {size} {index}"
            );
        }
    }

    #[test]
    fn another_version_does_not_pass() {
        let dataset = dataset(7, 8192);
        let bytes = whole(&dataset, &dataset.object(0, 1));
        assert_eq!(dataset.verify(&dataset.object(0, 1), 0, &bytes), Ok(()));
        for version in [0, 2] {
            assert!(
                dataset.verify(&dataset.object(0, version), 0, &bytes).is_err(),
                "{version}"
            );
        }
    }

    #[test]
    fn blocks_that_changed_places_do_not_pass() {
        let dataset = dataset(7, 8192);
        let object = dataset.object(0, 0);
        let mut bytes = whole(&dataset, &object);
        bytes.rotate_left(BLOCK_BYTES);
        assert_eq!(dataset.verify(&object, 0, &bytes).unwrap_err().offset, 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_object() {
        let (one, two) = (dataset(9, 10_000), dataset(9, 10_000));
        assert_eq!(one.key(5), "p/0000000000000009/0000000005");
        assert_eq!(one.index_of(&one.key(5)), Some(5));
        for foreign in [
            "p/0000000000000009/5",
            "p/0000000000000008/0000000005",
            "p/0000000000000009/+000000005",
        ] {
            assert_eq!(one.index_of(foreign), None, "{foreign}");
        }
        assert_eq!(whole(&one, &one.object(5, 0)), whole(&two, &two.object(5, 0)));
    }
}
