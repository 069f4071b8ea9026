//! The shards of a server where they lie on its devices, and ways to damage them. Knows where the fields of a record's header
//! are (docs/formats.md), nothing of what is in the shards.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use cairn_common::checksum::{Hash, block_hashes, shard_hash};
use cairn_common::envelope::{Record, open};
use prost::Message;

use crate::content::Sequence;
use crate::server::Server;

/// Records start at multiples of this.
const UNIT: usize = 64;

/// What a shard's record starts with: magic, version, kind.
const START: &[u8] = b"CRec\x01\x01";

/// Where a record's tag is, and its hashes behind that.
const TAG: usize = 80;
const HASHES: usize = 96;

/// What is needed of a segment's header.
#[derive(Clone, PartialEq, Message)]
struct SegmentHeader {
    #[prost(bytes = "vec", tag = "6")]
    salt: Vec<u8>,
}

impl Record for SegmentHeader {
    const VERSION: u8 = 1;
}

/// A way for a disk to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit somewhere in the header.
    FlipHead,
    /// One bit anywhere.
    FlipAnywhere,
    /// One bit of the last byte.
    FlipEnd,
    /// A run of zeroes in the middle.
    Zeroes,
    /// Nothing is left of it.
    Erase,
}

pub const ALL_DAMAGE: &[Damage] = &[
    Damage::FlipHead,
    Damage::FlipAnywhere,
    Damage::FlipEnd,
    Damage::Zeroes,
    Damage::Erase,
];

/// Where a shard lies.
#[derive(Clone, Debug)]
pub struct Place {
    pub segment: PathBuf,
    pub offset: u64,
    /// Bytes from the record's start to the last of the payload.
    pub length: u64,
}

/// The segments of a device, sorted.
///
/// # Errors
/// The folder cannot be read.
pub fn segments(server: &Server, device: usize) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(server.device(device).join("segments"))?;
    let mut found: Vec<PathBuf> = listed.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    found.sort();
    Ok(found)
}

/// The shards of a device, in the order in which they were stored.
///
/// # Errors
/// The segments cannot be read.
pub fn places(server: &Server, device: usize) -> Result<Vec<Place>> {
    let mut found = Vec::new();
    for segment in segments(server, device)? {
        let bytes = fs::read(&segment)?;
        for offset in (0..bytes.len()).step_by(UNIT) {
            if !bytes[offset..].starts_with(START) {
                continue;
            }
            let number = |at: usize| -> Result<u64> {
                let field = bytes.get(offset + at..offset + at + 4).context("a header")?;
                Ok(u32::from_le_bytes(field.try_into()?).into())
            };
            found.push(Place {
                segment: segment.clone(),
                offset: offset as u64,
                length: number(12)? + number(72)?,
            });
        }
    }
    Ok(found)
}

impl Place {
    /// Its bytes, header included.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.length)?];
        File::open(&self.segment)?.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }

    /// Writes bytes over its start.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let file = OpenOptions::new().write(true).open(&self.segment)?;
        Ok(file.write_all_at(bytes, self.offset + at)?)
    }

    /// Changes what it holds, and the hashes with it, so that nothing in the record tells.
    ///
    /// # Errors
    /// It cannot be changed.
    pub fn lie(&self) -> Result<()> {
        let mut bytes = self.read()?;
        let number = |at: usize| -> Result<usize> {
            let field = bytes.get(at..at + 4).context("a header")?;
            Ok(usize::try_from(u32::from_le_bytes(field.try_into()?))?)
        };
        let (payload, length) = (number(12)?, number(72)?);
        let (index, width) = (usize::from(bytes[6]), usize::from(bytes[7]));
        bytes[payload] ^= 1;
        let blocks = block_hashes(&bytes[payload..payload + length]);
        let own = HASHES + Hash::LEN * (blocks.len() + index);
        let end = HASHES + Hash::LEN * (blocks.len() + width);
        bytes[own..own + Hash::LEN].copy_from_slice(shard_hash(length, &blocks).as_bytes());
        for (at, hash) in (HASHES..).step_by(Hash::LEN).zip(&blocks) {
            bytes[at..at + Hash::LEN].copy_from_slice(hash.as_bytes());
        }
        let mut tag = blake3::Hasher::new_keyed(&self.salt()?);
        tag.update(&bytes[..TAG]).update(&bytes[HASHES..end]);
        bytes[TAG..HASHES].copy_from_slice(&tag.finalize().as_bytes()[..HASHES - TAG]);
        self.write(0, &bytes)
    }

    /// That of its segment.
    fn salt(&self) -> Result<[u8; 32]> {
        let bytes = fs::read(&self.segment)?;
        let length = usize::try_from(u32::from_le_bytes(bytes[8..12].try_into()?))?;
        let header: SegmentHeader = open(&bytes[12..12 + length])?;
        header
            .salt
            .try_into()
            .map_err(|_| anyhow::anyhow!("a salt of another length"))
    }

    /// Damages it; the sequence decides where.
    ///
    /// # Errors
    /// It cannot be changed.
    pub fn damage(&self, damage: Damage, sequence: &mut Sequence) -> Result<()> {
        let bytes = self.read()?;
        let flip = |at: u64| self.write(at, &[bytes[usize::try_from(at)?] ^ (1 << (at % 8))]);
        match damage {
            Damage::FlipHead => flip(sequence.below(UNIT as u64)),
            Damage::FlipAnywhere => flip(sequence.below(self.length)),
            Damage::FlipEnd => flip(self.length - 1),
            Damage::Zeroes => {
                let run = (self.length / 4).clamp(1, 4096);
                self.write(self.length / 2, &vec![0; usize::try_from(run)?])
            }
            Damage::Erase => self.write(0, &vec![0; bytes.len()]),
        }
    }
}
