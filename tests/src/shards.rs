//! The shard files of a server, and ways to damage them. Knows where they are, nothing of what is in them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::content::Sequence;
use crate::server::Server;

/// A way for a disk to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit somewhere in the first 64 bytes: the header.
    FlipHead,
    /// One bit anywhere.
    FlipAnywhere,
    /// One bit of the last byte.
    FlipEnd,
    /// Half of the file is gone.
    Truncate,
    /// Nothing is left of it.
    Empty,
    /// A run of zeroes in its middle.
    Zeroes,
    /// The file is gone.
    Delete,
}

pub const ALL_DAMAGE: &[Damage] = &[
    Damage::FlipHead,
    Damage::FlipAnywhere,
    Damage::FlipEnd,
    Damage::Truncate,
    Damage::Empty,
    Damage::Zeroes,
    Damage::Delete,
];

/// The shard files of a device, sorted.
///
/// # Errors
/// The folder cannot be read.
pub fn files(server: &Server, device: usize) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(&server.device(device).join("shards"), &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Damages a file; the sequence decides where.
///
/// # Errors
/// The file cannot be changed.
pub fn damage(path: &Path, damage: Damage, sequence: &mut Sequence) -> Result<()> {
    if damage == Damage::Delete {
        return Ok(fs::remove_file(path)?);
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let flip = |offset: u64| -> Result<()> {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset)?;
        byte[0] ^= 1 << (offset % 8);
        Ok(file.write_all_at(&byte, offset)?)
    };
    match damage {
        Damage::FlipHead => flip(sequence.below(length.min(64))),
        Damage::FlipAnywhere => flip(sequence.below(length)),
        Damage::FlipEnd => flip(length - 1),
        Damage::Truncate => Ok(file.set_len(length / 2)?),
        Damage::Empty => Ok(file.set_len(0)?),
        Damage::Zeroes => {
            let run = (length / 4).clamp(1, 4096);
            let zeroes = vec![0; usize::try_from(run)?];
            Ok(file.write_all_at(&zeroes, length / 2)?)
        }
        Damage::Delete => unreachable!("handled above"),
    }
}
