//! The few disk operations that decide over durability, as a seam: tests make them fail or record them.
//!
//! Invariant: nothing here retries a failed sync; the kernel forgets a lost write once it has reported it.

use std::{
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd},
};

use bytes::Bytes;
use rustix::io::Errno;

/// Slices of one `writev`: the kernel takes 1024.
const SLICES_MAX: usize = 512;

/// Writes and syncs.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Appends all of `pieces` to `file`.
    fn write_all(&self, file: BorrowedFd<'_>, pieces: &[Bytes]) -> Result<(), Errno>;

    /// Makes the file's bytes durable.
    fn sync_data(&self, file: BorrowedFd<'_>) -> Result<(), Errno>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, directory: BorrowedFd<'_>) -> Result<(), Errno>;
}

/// The kernel's own.
pub(crate) struct Kernel;

impl Disk for Kernel {
    fn write_all(&self, file: BorrowedFd<'_>, pieces: &[Bytes]) -> Result<(), Errno> {
        let mut slices: Vec<IoSlice<'_>> = pieces
            .iter()
            .filter(|piece| !piece.is_empty())
            .map(|piece| IoSlice::new(piece))
            .collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            match rustix::io::writev(file, &left[..left.len().min(SLICES_MAX)]) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync_data(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::fs::fdatasync(file)
    }

    fn sync_directory(&self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::fs::fsync(directory)
    }
}

/// Up to `len` bytes at `offset`, fewer where the file ends; the memory is not cleared first.
pub(crate) fn read_at(file: impl AsFd, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset + bytes.len() as u64;
        // The allocation may be larger than asked for.
        let wanted = len - bytes.len();
        let taken = match rustix::io::pread(file.as_fd(), rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(taken) => taken,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        if taken == 0 {
            break;
        }
        if taken > wanted {
            bytes.truncate(len);
        }
    }
    Ok(bytes)
}
