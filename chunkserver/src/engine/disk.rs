//! The few disk operations that decide over durability, as a seam: tests make them fail, record them, or cut the power.
//!
//! Large transfers go around the page cache, the others through it (docs/decisions/0003-direct-io.md). A file system that refuses
//! direct I/O is used through the cache. Invariant: nothing here retries a failed sync; the kernel forgets a lost write once
//! it has reported it.

#[cfg(test)]
mod tests;
mod unchanged;

use std::{
    fs::File,
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use cairn_common::aligned::{ALIGNMENT, TransferBytes, is_aligned};
use rustix::{
    fs::{
        Advice, AtFlags, FallocateFlags, Mode, OFlags, RenameFlags, fadvise, fallocate, fdatasync, fstat, fstatvfs,
        fsync, ftruncate, openat, renameat_with, stat, statat, unlinkat,
    },
    io::{Errno, ReadWriteFlags},
};

pub(crate) use self::unchanged::Unchanged;
use crate::{
    core::holdings::Space,
    directory::{self, SEGMENTS, SUPERBLOCK},
};

/// Slices of one vectored write: the kernel takes 1024.
const SLICES_MAX: usize = 512;

/// From this many bytes on a transfer goes around the page cache.
const DIRECT_LEN_MIN: usize = 256 << 10;

/// The directory of a device's segments.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Names of all files.
    fn names(&self) -> Result<Vec<String>, Errno>;

    /// Makes an empty file with room for `size_bytes`; one of that name must not be there.
    fn create(&self, name: &str, size_bytes: u32) -> Result<Arc<dyn SegmentFile>, Errno>;

    /// Opens a file.
    fn open(&self, name: &str) -> Result<Arc<dyn SegmentFile>, Errno>;

    /// Gives a file another name, which must be free.
    fn rename(&self, from: &str, to: &str) -> Result<(), Errno>;

    /// Removes a file. Who has it open can go on reading it.
    fn remove(&self, name: &str) -> Result<(), Errno>;

    /// Makes names durable.
    fn sync_directory(&self) -> Result<(), Errno>;

    /// The room there is.
    fn space(&self) -> Result<Space, Errno>;

    /// Whether the directory is still where it was.
    fn is_there(&self) -> bool;
}

/// A segment's file.
pub(crate) trait SegmentFile: Send + Sync + 'static {
    /// Bytes of the file.
    fn len(&self) -> Result<u64, Errno>;

    /// Writes all of `pieces` at `offset`.
    fn write_at(&self, offset: u32, pieces: &[Bytes]) -> Result<(), Errno>;

    /// Up to `len` bytes at `offset`, fewer where the file ends.
    fn read_at(&self, offset: u32, len: usize) -> Result<Bytes, Errno>;

    /// The same, but only what needs no wait for the disk; `None` where something does.
    fn read_cached(&self, offset: u32, len: usize) -> Result<Option<Bytes>, Errno>;

    /// Where bytes that were ever written start again, at `offset` or behind; `None` where there are no more.
    fn next_data(&self, offset: u32) -> Result<Option<u32>, Errno>;

    /// Makes the file's bytes durable.
    fn sync(&self) -> Result<(), Errno>;

    /// Gives back the room behind `len`.
    fn shorten(&self, len: u32) -> Result<(), Errno>;
}

/// The kernel's own.
pub(crate) struct KernelDisk {
    root: OwnedFd,
    segments: OwnedFd,
    path: PathBuf,
}

struct KernelFile {
    cached: File,
    /// The same file opened for direct I/O; nothing where the file system refuses that.
    direct: Option<OwnedFd>,
    /// Whether direct I/O was refused as late as at a write.
    refused: OnceLock<()>,
}

impl KernelDisk {
    /// The disk under the device's directory.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let root = directory::open(path)?;
        Ok(Self {
            segments: directory::open_in(&root, SEGMENTS)?,
            root,
            path: path.to_owned(),
        })
    }

    fn file(&self, name: &str, flags: OFlags) -> Result<Arc<dyn SegmentFile>, Errno> {
        let mode = Mode::RUSR | Mode::WUSR;
        let cached = openat(&self.segments, name, flags | OFlags::RDWR | OFlags::CLOEXEC, mode)?;
        // Records are read one by one, large ones around the cache: nothing is gained by reading ahead.
        _ = fadvise(&cached, 0, None, Advice::Random);
        let direct = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
        Ok(Arc::new(KernelFile {
            cached: cached.into(),
            direct: openat(&self.segments, name, direct, mode).ok(),
            refused: OnceLock::new(),
        }))
    }
}

impl Disk for KernelDisk {
    fn names(&self) -> Result<Vec<String>, Errno> {
        directory::entries(&self.segments)
    }

    fn create(&self, name: &str, size_bytes: u32) -> Result<Arc<dyn SegmentFile>, Errno> {
        let made = self.file(name, OFlags::CREATE | OFlags::EXCL)?;
        let file = openat(&self.segments, name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        match fallocate(&file, FallocateFlags::empty(), 0, size_bytes.into()) {
            Ok(()) => Ok(made),
            // A file system that cannot set room aside finds out later that it has none.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => ftruncate(&file, size_bytes.into()).map(|()| made),
            Err(error) => {
                // It stays empty and is removed at the next start, should this fail too.
                _ = unlinkat(&self.segments, name, AtFlags::empty());
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> Result<Arc<dyn SegmentFile>, Errno> {
        self.file(name, OFlags::empty())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        match renameat_with(&self.segments, from, &self.segments, to, RenameFlags::NOREPLACE) {
            // A file system that does not know the flag. Names here are made by nobody else.
            Err(Errno::INVAL | Errno::NOSYS) => {
                renameat_with(&self.segments, from, &self.segments, to, RenameFlags::empty())
            }
            outcome => outcome,
        }
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.segments, name, AtFlags::empty())
    }

    fn sync_directory(&self) -> Result<(), Errno> {
        fsync(&self.segments)
    }

    fn space(&self) -> Result<Space, Errno> {
        let found = fstatvfs(&self.root)?;
        Ok(Space {
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    fn is_there(&self) -> bool {
        let place = |found: rustix::fs::Stat| (found.st_dev, found.st_ino);
        let segments = statat(&self.root, SEGMENTS, AtFlags::empty());
        stat(&self.path).map(place) == fstat(&self.root).map(place)
            && statat(&self.root, SUPERBLOCK, AtFlags::empty()).is_ok()
            && segments.map(place) == fstat(&self.segments).map(place)
    }
}

impl KernelFile {
    /// The way around the cache for a transfer of `len` bytes, where there is one.
    fn direct(&self, len: usize) -> Option<BorrowedFd<'_>> {
        let direct = self.direct.as_ref().filter(|_| len >= DIRECT_LEN_MIN);
        direct.filter(|_| self.refused.get().is_none()).map(AsFd::as_fd)
    }
}

impl SegmentFile for KernelFile {
    fn len(&self) -> Result<u64, Errno> {
        Ok(u64::try_from(fstat(&self.cached)?.st_size).unwrap_or(0))
    }

    fn write_at(&self, offset: u32, pieces: &[Bytes]) -> Result<(), Errno> {
        let len = pieces.iter().map(Bytes::len).sum();
        let aligned = (offset as usize).is_multiple_of(ALIGNMENT) && pieces.iter().all(|piece| is_aligned(piece));
        if aligned && let Some(direct) = self.direct(len) {
            match write_slices(direct, offset, pieces) {
                // Refused as such, before anything was written.
                Err(Errno::INVAL) => _ = self.refused.set(()),
                outcome => return outcome,
            }
        }
        write_slices(self.cached.as_fd(), offset, pieces)
    }

    fn read_at(&self, offset: u32, len: usize) -> Result<Bytes, Errno> {
        if (offset as usize).is_multiple_of(ALIGNMENT)
            && let Some(direct) = self.direct(len)
        {
            let mut memory = TransferBytes::take(len);
            match read_direct(direct, offset, len, &mut memory) {
                Err(Errno::INVAL) => _ = self.refused.set(()),
                taken => return Ok(Bytes::from_owner(memory).slice(..taken?)),
            }
        }
        read_through(&self.cached, offset, len).map(Bytes::from)
    }

    fn read_cached(&self, offset: u32, len: usize) -> Result<Option<Bytes>, Errno> {
        if self.direct(len).is_some() {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(len);
        let slots = &mut [std::io::IoSliceMut::new(zeroed(&mut bytes, len))];
        match rustix::io::preadv2(&self.cached, slots, offset.into(), ReadWriteFlags::NOWAIT) {
            Ok(taken) if taken == len => Ok(Some(Bytes::from(bytes))),
            // A part of it is not in memory, or the file ends: the other way tells.
            Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn next_data(&self, offset: u32) -> Result<Option<u32>, Errno> {
        match rustix::fs::seek(&self.cached, rustix::fs::SeekFrom::Data(offset.into())) {
            Ok(found) => Ok(u32::try_from(found).ok()),
            Err(Errno::NXIO) => Ok(None),
            // A file system that does not tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
            Err(error) => Err(error),
        }
    }

    fn sync(&self) -> Result<(), Errno> {
        fdatasync(&self.cached)
    }

    fn shorten(&self, len: u32) -> Result<(), Errno> {
        ftruncate(&self.cached, len.into())
    }
}

fn zeroed(bytes: &mut Vec<u8>, len: usize) -> &mut [u8] {
    bytes.resize(len, 0);
    bytes
}

fn write_slices(file: BorrowedFd<'_>, offset: u32, pieces: &[Bytes]) -> Result<(), Errno> {
    let mut slices: Vec<IoSlice<'_>> = pieces
        .iter()
        .filter(|piece| !piece.is_empty())
        .map(|piece| IoSlice::new(piece))
        .collect();
    let mut left = slices.as_mut_slice();
    let mut at = u64::from(offset);
    while !left.is_empty() {
        match rustix::io::pwritev(file, &left[..left.len().min(SLICES_MAX)], at) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(Errno::INTR) => {}
            Err(Errno::INVAL) if at > u64::from(offset) => return Err(Errno::IO),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `memory`, which holds at least `len` bytes; gives how many of the `len` were there.
fn read_direct(file: BorrowedFd<'_>, offset: u32, len: usize, memory: &mut [u8]) -> Result<usize, Errno> {
    let mut taken = 0;
    while taken < len {
        match rustix::io::pread(file, &mut memory[taken..], u64::from(offset) + taken as u64) {
            Ok(0) => break,
            Ok(more) => taken += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        // Only the end of the file is not at a page's end.
        if !taken.is_multiple_of(ALIGNMENT) {
            break;
        }
    }
    Ok(taken.min(len))
}

/// Through the page cache; the memory is not cleared first.
fn read_through(file: &File, offset: u32, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = u64::from(offset) + bytes.len() as u64;
        let taken = match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(taken) => taken,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        if taken == 0 {
            break;
        }
    }
    // The allocation may be larger than asked for.
    bytes.truncate(len);
    Ok(bytes)
}
