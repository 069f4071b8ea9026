//! A device's directory: what is in it, by name, and handles to it, so that a path that means another place later does no harm.

use std::{os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{Dir, Mode, OFlags, openat},
    io::Errno,
};

/// File of the superblock.
pub(crate) const SUPERBLOCK: &str = "cairn-device";

/// Directory of the segments.
pub(crate) const SEGMENTS: &str = "segments";

/// Directory of the index.
pub(crate) const INDEX: &str = "index";

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a directory by its path.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, FLAGS, Mode::empty())
}

/// Opens a directory in another.
pub(crate) fn open_in(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    openat(parent, name, FLAGS, Mode::empty())
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
