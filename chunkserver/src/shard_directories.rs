//! Names and directories of a device, as docs/formats.md draws them: `shards/<top byte>/<hash>-<chunk id>.<index>`, `tmp/`.
//!
//! Invariant: sorting the directories by name and the keys within each gives the order of keys, since a directory is the
//! top byte of the placement hash.

use std::{fmt::Write, os::fd::OwnedFd, path::Path};

use cairn_common::ids::ChunkId;
use rustix::{
    fs::{Dir, Mode, OFlags, open},
    io::Errno,
};

use crate::shard::ShardKey;

/// Shards of the device.
pub(crate) const SHARDS: &str = "shards";

/// Shards being written.
pub(crate) const TMP: &str = "tmp";

/// Directories under [`SHARDS`].
pub(crate) const DIRECTORY_COUNT: usize = 256;

/// The names of all directories under [`SHARDS`], in order.
pub(crate) fn shard_directory_names() -> impl Iterator<Item = String> {
    (0..DIRECTORY_COUNT).map(shard_directory_name)
}

/// The name of one directory under [`SHARDS`].
pub(crate) fn shard_directory_name(directory: usize) -> String {
    format!("{directory:02x}")
}

/// The directory under [`SHARDS`] that a shard lies in.
pub(crate) fn directory_of(key: ShardKey) -> usize {
    usize::from(key.chunk.placement_hash().value().to_be_bytes()[0])
}

/// A shard's path under [`SHARDS`].
pub(crate) fn shard_path(key: ShardKey) -> String {
    let mut path = format!("{:02x}/{:016x}-", directory_of(key), key.chunk.placement_hash().value());
    for byte in key.chunk.to_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(path, "{byte:02x}");
    }
    let _ = write!(path, ".{}", key.index);
    path
}

/// The key of the file `name` in `directory`, or `None` where it is not a shard that belongs there.
pub(crate) fn parse_shard_name(directory: usize, name: &str) -> Option<ShardKey> {
    let (_, rest) = name.split_once('-')?;
    let (chunk_hex, index) = rest.split_once('.')?;
    let mut chunk_id = [0; ChunkId::LEN];
    if chunk_hex.len() != 2 * ChunkId::LEN {
        return None;
    }
    for (position, byte) in chunk_id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(chunk_hex.get(2 * position..2 * position + 2)?, 16).ok()?;
    }
    let key = ShardKey::new(&chunk_id, index.parse().ok()?)?;
    // The one spelling that is looked for.
    (shard_path(key).split_once('/') == Some((&shard_directory_name(directory), name))).then_some(key)
}

/// Opens a directory by its path.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The names in a directory, without `.` and `..`.
pub(crate) fn entries(directory: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use cairn_common::ids::SessionId;

    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let key = ShardKey {
            chunk: ChunkId {
                session: SessionId::new(0xab),
                counter: 7,
            },
            index: 11,
        };
        let path = shard_path(key);
        let (_, name) = path.split_once('/').expect("a directory");
        let directory = directory_of(key);
        assert_eq!(parse_shard_name(directory, name), Some(key));
        let upper = name.to_uppercase();
        let padded = name.replace(".11", ".011");
        let indexless = name.trim_end_matches('1');
        for other in [indexless, &upper, &padded, "", "x", "-.", &name[1..], "ä-ä.1"] {
            assert_eq!(parse_shard_name(directory, other), None, "{other}");
        }
        assert_eq!(parse_shard_name(directory ^ 1, name), None);
    }
}
