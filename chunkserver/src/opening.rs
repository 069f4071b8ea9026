//! The marks that a device's openings leave: what gives away an old copy of it.
//!
//! File `cairn-opening` in the device's directory: a sealed record (docs/formats.md). Each opening draws a number at random and keeps
//! that of the opening before; the metadata service remembers the newest that it was told. A copy of the device, from a backup or
//! a disk image, that comes back after the device was opened again knows neither. As long as the service has not said that it knows
//! an opening, the next ones keep its number, so that starts without it leave no gap. Invariant: a number is on the disk before it
//! is told, and never guessed.

use std::{fs::File, io::Read as _, os::fd::OwnedFd};

use cairn_common::envelope::{self, Record};
use prost::Message;
use rustix::{
    fs::{Mode, OFlags, fsync, openat, renameat},
    io::{Errno, write},
};

/// The file.
const OPENING: &str = "cairn-opening";

const OPENING_NEW: &str = "cairn-opening.new";
const BYTES_MAX: u64 = 4096;

/// The newest opening of a device, and the one before.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Opening {
    /// Drawn by it; never 0.
    #[prost(fixed64, tag = "1")]
    pub(crate) number: u64,
    /// Drawn by the one before; 0 at the first.
    #[prost(fixed64, tag = "2")]
    pub(crate) before: u64,
    /// Whether the metadata service is known to know it.
    #[prost(bool, tag = "3")]
    is_known: bool,
}

impl Record for Opening {
    const VERSION: u8 = 1;
}

impl Opening {
    /// Marks that the device under `root` is opened, durably. The error is for a person.
    pub(crate) fn mark(root: &OwnedFd, drawn: u64) -> Result<Self, String> {
        let opening = match Self::read(root)? {
            Some(last) if !last.is_known => return Ok(last),
            last => Self {
                number: drawn.max(1),
                before: last.map_or(0, |last| last.number),
                is_known: false,
            },
        };
        opening
            .write(root)
            .map_err(|errno| format!("cannot mark that it is opened: {errno}"))?;
        Ok(opening)
    }

    /// Notes that the metadata service knows of it.
    pub(crate) fn confirm(self, root: &OwnedFd) -> Result<(), Errno> {
        let known = Self { is_known: true, ..self };
        known.write(root)
    }

    fn read(root: &OwnedFd) -> Result<Option<Self>, String> {
        let unreadable =
            |error: &dyn std::fmt::Display| format!("the mark of its last opening cannot be read: {error}");
        let file = match openat(root, OPENING, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(unreadable(&errno)),
        };
        let mut bytes = Vec::new();
        let read = file.take(BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| unreadable(&error))?;
        let opened = envelope::open(&bytes);
        let opened = opened.map_err(|error| format!("its file {OPENING} is damaged, replace the device: {error}"))?;
        Ok(Some(opened))
    }

    fn write(&self, root: &OwnedFd) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = openat(root, OPENING_NEW, flags, Mode::RUSR | Mode::WUSR)?;
        let bytes = envelope::seal(self);
        if write(&file, &bytes)? != bytes.len() {
            return Err(Errno::NOSPC);
        }
        fsync(&file)?;
        renameat(root, OPENING_NEW, root, OPENING)?;
        fsync(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory;

    /// Version 1 as the first release wrote it.
    const SAMPLE_V1: &str = "01de491a6d0908070605040302011109000000000000001801";

    #[test]
    fn the_stored_sample_is_written() {
        let opening = Opening {
            number: 0x0102_0304_0506_0708,
            before: 9,
            is_known: true,
        };
        let hex: String = envelope::seal(&opening)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, SAMPLE_V1);
    }

    #[test]
    fn openings_follow_each_other_once_they_are_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = directory::open(folder.path()).expect("it is there");
        let first = Opening::mark(&root, 7).expect("marked");
        assert_eq!((first.number, first.before), (7, 0));
        assert_eq!(Opening::mark(&root, 8), Ok(first), "nobody knows of it yet");
        first.confirm(&root).expect("confirmed");
        let second = Opening::mark(&root, 9).expect("marked");
        assert_eq!((second.number, second.before), (9, 7));
    }

    #[test]
    fn damage_is_never_guessed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = directory::open(folder.path()).expect("it is there");
        Opening::mark(&root, 7).expect("marked");
        let file = folder.path().join(OPENING);
        let sealed = std::fs::read(&file).expect("written");
        for len in 0..sealed.len() {
            std::fs::write(&file, &sealed[..len]).expect("writable");
            assert!(Opening::mark(&root, 8).is_err(), "{len} bytes");
        }
    }
}
