//! The device superblock: which device of which cluster, in which life, a directory is.
//!
//! File `cairn-device` in the device's directory: the 8 bytes `CAIRNDEV`, then a sealed record (docs/formats.md). It is written
//! once, when the directory is formatted, and never again; its lock keeps a second process away. Invariant: nothing here
//! turns a directory that is not exactly the expected device into one, save [`format_device`] on an empty directory.

use std::{fs::File, io::Read, os::fd::OwnedFd, path::Path};

use cairn_common::{
    envelope::{self, EnvelopeError, Record},
    ids::{DeviceId, Incarnation},
};
use prost::Message;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, fsync, mkdirat, openat, renameat},
    io::{Errno, write},
};

use crate::directory::{self, SEGMENTS, SUPERBLOCK};

const SUPERBLOCK_NEW: &str = "cairn-device.new";
const MAGIC: &[u8; 8] = b"CAIRNDEV";
const SUPERBLOCK_BYTES_MAX: u64 = 4096;

/// A log of segments under `segments/`, and an index over it. (1 was a file for each shard.)
const LAYOUT_SEGMENTS: u32 = 2;

/// What tells a device from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// The cluster.
    pub cluster_id: [u8; 16],
    /// The device.
    pub device: DeviceId,
    /// Its life.
    pub incarnation: Incarnation,
}

#[derive(Clone, PartialEq, Message)]
struct Superblock {
    /// The cluster's 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    cluster_id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    device: u32,
    #[prost(uint64, tag = "3")]
    incarnation: u64,
    /// How shards are kept.
    #[prost(uint32, tag = "4")]
    layout: u32,
}

impl Record for Superblock {
    const VERSION: u8 = 1;
}

/// Why a directory was not made a device.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It holds other things: choose an empty one.
    #[error("the directory is not empty: it holds {0:?}")]
    NotEmpty(String),
    /// It is a device already, another one.
    #[error("the directory is a device already: {0}")]
    OtherDevice(String),
    /// It could not be written.
    #[error("cannot {0}: {1}")]
    Io(&'static str, #[source] std::io::Error),
}

/// Why a superblock is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SuperblockError {
    #[error(
        "no device superblock is there: the directory was never formatted, was emptied, or its disk is not mounted"
    )]
    Absent,
    #[error("another process uses the device")]
    Locked,
    #[error("the device superblock is damaged: {0}")]
    Damaged(String),
    #[error("the directory is another device: {0}")]
    Other(String),
    #[error("the device superblock cannot be read: {0}")]
    Io(String),
}

/// Makes `path` a device; creates it where it is missing. Formatting the same device again changes nothing, so that a
/// format that was cut short is completed by repeating it.
pub fn format_device(path: &Path, identity: &DeviceIdentity) -> Result<(), FormatError> {
    std::fs::create_dir_all(path).map_err(|error| FormatError::Io("create the directory", error))?;
    let root = directory::open(path).map_err(io("open the directory"))?;
    match open_superblock(&root, identity) {
        Ok(_) => return Ok(()),
        Err(SuperblockError::Absent) => refuse_foreign(&root)?,
        Err(error) => return Err(FormatError::OtherDevice(error.to_string())),
    }
    make_directories(&root).map_err(io("create the segments' directory"))?;
    write_superblock(&root, identity).map_err(io("write the superblock"))?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let parent = directory::open(parent).map_err(io("open the parent directory"))?;
        fsync(&parent).map_err(io("sync the parent directory"))?;
    }
    Ok(())
}

/// Locks and checks the superblock under `root`. The lock is held as long as the returned file.
pub(crate) fn open_superblock(root: &OwnedFd, expected: &DeviceIdentity) -> Result<OwnedFd, SuperblockError> {
    let (lock, found) = lock_and_read(root)?;
    check(&found, expected)?;
    Ok(lock)
}

/// Locks the device under `root`, whichever it is, and tells that. The lock is held as long as the returned file.
pub(crate) fn open_any_superblock(root: &OwnedFd) -> Result<(OwnedFd, DeviceIdentity), SuperblockError> {
    let (lock, found) = lock_and_read(root)?;
    Ok((lock, identity_of(&found)?))
}

fn lock_and_read(root: &OwnedFd) -> Result<(OwnedFd, Superblock), SuperblockError> {
    let file = match openat(root, SUPERBLOCK, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Err(SuperblockError::Absent),
        Err(error) => return Err(SuperblockError::Io(error.to_string())),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(SuperblockError::Locked),
        Err(error) => return Err(SuperblockError::Io(error.to_string())),
    }
    let mut file = File::from(file);
    let mut bytes = Vec::new();
    let read = file.by_ref().take(SUPERBLOCK_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| SuperblockError::Io(error.to_string()))?;
    Ok((file.into(), decode(&bytes)?))
}

/// The device that the superblock in `bytes` tells of, whichever it is.
pub(crate) fn decode_any(bytes: &[u8]) -> Result<DeviceIdentity, SuperblockError> {
    identity_of(&decode(bytes)?)
}

fn identity_of(found: &Superblock) -> Result<DeviceIdentity, SuperblockError> {
    let cluster_id = found.cluster_id.as_slice().try_into();
    let identity = DeviceIdentity {
        cluster_id: cluster_id.map_err(|_| SuperblockError::Damaged("its cluster id has not 16 bytes".to_owned()))?,
        device: DeviceId::new(found.device),
        incarnation: Incarnation::new(found.incarnation),
    };
    check(found, &identity)?;
    Ok(identity)
}

fn check(found: &Superblock, expected: &DeviceIdentity) -> Result<(), SuperblockError> {
    if found.cluster_id != expected.cluster_id {
        return Err(SuperblockError::Other("it belongs to another cluster".to_owned()));
    }
    if found.device != expected.device.value() || found.incarnation != expected.incarnation.value() {
        return Err(SuperblockError::Other(format!(
            "device {} in life {}, where device {} in life {} was expected",
            found.device, found.incarnation, expected.device, expected.incarnation
        )));
    }
    if found.layout != LAYOUT_SEGMENTS {
        return Err(SuperblockError::Other(format!(
            "its layout {} is unknown to this program",
            found.layout
        )));
    }
    Ok(())
}

pub(crate) fn encode(identity: &DeviceIdentity) -> Vec<u8> {
    let superblock = Superblock {
        cluster_id: identity.cluster_id.to_vec(),
        device: identity.device.value(),
        incarnation: identity.incarnation.value(),
        layout: LAYOUT_SEGMENTS,
    };
    let mut bytes = MAGIC.to_vec();
    bytes.extend(envelope::seal(&superblock));
    bytes
}

fn decode(bytes: &[u8]) -> Result<Superblock, SuperblockError> {
    let damaged = |error: EnvelopeError| SuperblockError::Damaged(error.to_string());
    let Some(sealed) = bytes.strip_prefix(MAGIC) else {
        return Err(SuperblockError::Damaged("it does not start with CAIRNDEV".to_owned()));
    };
    envelope::open(sealed).map_err(damaged)
}

/// Refuses a directory that holds anything but what a format that was cut short leaves.
fn refuse_foreign(root: &OwnedFd) -> Result<(), FormatError> {
    let listed = |directory: &OwnedFd| directory::entries(directory).map_err(io("list the directory"));
    for name in listed(root)? {
        if !["lost+found", SEGMENTS, SUPERBLOCK_NEW].contains(&name.as_str()) {
            return Err(FormatError::NotEmpty(name));
        }
    }
    let Ok(segments) = directory::open_in(root, SEGMENTS) else {
        return Ok(());
    };
    match listed(&segments)?.first() {
        Some(name) => Err(FormatError::NotEmpty(format!("{SEGMENTS}/{name}"))),
        None => Ok(()),
    }
}

fn make_directories(root: &OwnedFd) -> Result<(), Errno> {
    match mkdirat(root, SEGMENTS, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => fsync(root),
        Err(error) => Err(error),
    }
}

/// The superblock comes last: a directory that has one is complete.
fn write_superblock(root: &OwnedFd, identity: &DeviceIdentity) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = openat(root, SUPERBLOCK_NEW, flags, Mode::RUSR | Mode::WUSR)?;
    let bytes = encode(identity);
    if write(&file, &bytes)? != bytes.len() {
        return Err(Errno::NOSPC);
    }
    fsync(&file)?;
    renameat(root, SUPERBLOCK_NEW, root, SUPERBLOCK)?;
    fsync(root)
}

fn io(what: &'static str) -> impl Fn(Errno) -> FormatError {
    move |errno| FormatError::Io(what, errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: DeviceIdentity = DeviceIdentity {
        cluster_id: [7; 16],
        device: DeviceId::new(3),
        incarnation: Incarnation::new(9),
    };

    /// Version 1 as the first release wrote it.
    const SAMPLE_V1: &str = "434149524e44455601d7f09d090a1007070707070707070707070707070707100318092002";

    #[test]
    fn the_stored_sample_is_read_and_written() {
        let hex: String = encode(&IDENTITY).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, SAMPLE_V1);
        assert_eq!(
            decode(&encode(&IDENTITY)).map(|found| check(&found, &IDENTITY)),
            Ok(Ok(()))
        );
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let sealed = encode(&IDENTITY);
        for len in 0..sealed.len() {
            assert!(decode(&sealed[..len]).is_err(), "{len} bytes");
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn formatting_is_repeatable_and_refuses_what_is_not_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("device");
        format_device(&path, &IDENTITY).expect("a new directory");
        format_device(&path, &IDENTITY).expect("the same device");
        let other = DeviceIdentity {
            incarnation: Incarnation::new(10),
            ..IDENTITY
        };
        assert!(matches!(format_device(&path, &other), Err(FormatError::OtherDevice(_))));

        // Cut short before the superblock: completed. Once there are shards, it is not.
        std::fs::remove_file(path.join(SUPERBLOCK)).expect("it is there");
        format_device(&path, &IDENTITY).expect("only what a format leaves");
        std::fs::remove_file(path.join(SUPERBLOCK)).expect("it is there");
        std::fs::write(path.join("segments/data"), b"data").expect("writable");
        assert!(matches!(format_device(&path, &IDENTITY), Err(FormatError::NotEmpty(_))));

        let foreign = folder.path().join("foreign");
        std::fs::create_dir_all(foreign.join("photos")).expect("writable");
        assert!(matches!(format_device(&foreign, &IDENTITY), Err(FormatError::NotEmpty(name)) if name == "photos"));
    }
}
