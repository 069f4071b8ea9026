//! The few disk operations that decide over durability, as a seam: tests make them fail or record them.
//!
//! Large transfers go around the page cache: the copy into it costs more CPU than hashing, and writing it back later costs
//! again (docs/decisions/0003-direct-io.md). A file system that refuses direct I/O is used through the cache. Invariant:
//! nothing here retries a failed sync; the kernel forgets a lost write once it has reported it.

use std::{
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd},
};

use bytes::Bytes;
use cairn_common::aligned::{ALIGNMENT, AlignedBytes, is_aligned};
use rustix::{
    fs::{Advice, OFlags, fadvise, fcntl_getfl, fcntl_setfl, ftruncate},
    io::Errno,
};

/// Slices of one `writev`: the kernel takes 1024.
const SLICES_MAX: usize = 512;

/// From this many bytes on a transfer goes around the page cache.
const DIRECT_LEN_MIN: usize = 256 << 10;

/// Longest piece that is copied so that direct I/O takes it: a header, or a tail.
const COPIED_LEN_MAX: usize = 64 << 10;

/// Writes and syncs.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Writes all of `pieces` to the empty `file`.
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
        let len: usize = pieces.iter().map(Bytes::len).sum();
        if len >= DIRECT_LEN_MIN
            && let Some(aligned) = aligned_pieces(pieces)
            && set_direct(file, true).is_ok()
        {
            let written = write_slices(file, aligned.iter().map(AsRef::as_ref));
            set_direct(file, false)?;
            match written {
                // Refused as such, before anything was written.
                Err(Errno::INVAL) => {}
                outcome => return outcome.and_then(|()| ftruncate(file, len as u64)),
            }
        }
        write_slices(file, pieces.iter().map(AsRef::as_ref))
    }

    fn sync_data(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::fs::fdatasync(file)
    }

    fn sync_directory(&self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::fs::fsync(directory)
    }
}

fn set_direct(file: impl AsFd, direct: bool) -> Result<(), Errno> {
    let flags = fcntl_getfl(&file)? - OFlags::DIRECT;
    fcntl_setfl(&file, if direct { flags | OFlags::DIRECT } else { flags })
}

/// The pieces as direct I/O takes them, the last padded with zeros; `None` where that would take a large copy.
fn aligned_pieces(pieces: &[Bytes]) -> Option<Vec<Bytes>> {
    let mut aligned = Vec::with_capacity(pieces.len() + 1);
    let (last, others) = pieces.split_last()?;
    for piece in others {
        match piece {
            whole if is_aligned(whole) => aligned.push(whole.clone()),
            short if short.len() <= COPIED_LEN_MAX && short.len().is_multiple_of(ALIGNMENT) => {
                aligned.push(padded(short))
            }
            _ => return None,
        }
    }
    let body = last.slice(..last.len() / ALIGNMENT * ALIGNMENT);
    let tail = &last[body.len()..];
    if !is_aligned(&body) {
        return None;
    }
    aligned.push(body);
    if !tail.is_empty() {
        aligned.push(padded(tail));
    }
    Some(aligned)
}

/// A copy in aligned memory, padded to whole pages.
fn padded(bytes: &[u8]) -> Bytes {
    let mut copy = AlignedBytes::zeroed(bytes.len());
    copy[..bytes.len()].copy_from_slice(bytes);
    Bytes::from_owner(copy)
}

fn write_slices<'a>(file: BorrowedFd<'_>, slices: impl Iterator<Item = &'a [u8]>) -> Result<(), Errno> {
    let mut slices: Vec<IoSlice<'_>> = slices.filter(|slice| !slice.is_empty()).map(IoSlice::new).collect();
    let mut left = slices.as_mut_slice();
    let mut started = false;
    while !left.is_empty() {
        match rustix::io::writev(file, &left[..left.len().min(SLICES_MAX)]) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(Errno::INTR) => continue,
            Err(Errno::INVAL) if started => return Err(Errno::IO),
            Err(error) => return Err(error),
        }
        started = true;
    }
    Ok(())
}

/// Up to `len` bytes at `offset`, fewer where the file ends. Many bytes at an aligned offset come around the page cache.
pub(crate) fn read_at(file: impl AsFd, offset: u64, len: usize) -> Result<Bytes, Errno> {
    if len < DIRECT_LEN_MIN || !offset.is_multiple_of(ALIGNMENT as u64) {
        return read_cached(&file, offset, len).map(Bytes::from);
    }
    let mut memory = AlignedBytes::zeroed(len);
    if set_direct(&file, true).is_err() {
        return read_cached(&file, offset, len).map(Bytes::from);
    }
    let direct = read_direct(&file, offset, len, &mut memory);
    set_direct(&file, false)?;
    match direct {
        Ok(taken) => Ok(Bytes::from_owner(memory).slice(..taken)),
        // Direct I/O is refused here.
        Err(Errno::INVAL) => read_cached(&file, offset, len).map(Bytes::from),
        Err(error) => Err(error),
    }
}

/// Tells the kernel not to read ahead: a header is followed by payload that comes around the page cache, or by little.
pub(crate) fn expect_scattered_reads(file: impl AsFd) {
    // Only a hint: where it is not taken, more is read than needed.
    _ = fadvise(file, 0, None, Advice::Random);
}

/// Fills `memory`, which holds at least `len` bytes; gives how many of the `len` were there.
fn read_direct(file: impl AsFd, offset: u64, len: usize, memory: &mut [u8]) -> Result<usize, Errno> {
    let mut taken = 0;
    while taken < len {
        match rustix::io::pread(&file, &mut memory[taken..], offset + taken as u64) {
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
fn read_cached(file: impl AsFd, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn pieces(header_len: usize, payload_len: usize, aligned: bool) -> Vec<Bytes> {
        let mut memory = AlignedBytes::zeroed(payload_len + 1);
        for (index, byte) in memory.iter_mut().enumerate() {
            *byte = (index / 11) as u8;
        }
        let shift = usize::from(!aligned);
        let payload = Bytes::from_owner(memory).slice(shift..shift + payload_len);
        vec![Bytes::from(vec![3; header_len]), payload]
    }

    #[test]
    fn what_is_written_is_read_at_every_alignment() {
        let folder = tempfile::tempdir().expect("a directory");
        let lengths = [
            1,
            4096,
            DIRECT_LEN_MIN - 1,
            DIRECT_LEN_MIN,
            (1 << 20) + 5,
            (2 << 20) - 4096,
        ];
        for (index, len) in lengths.into_iter().enumerate() {
            for (aligned, header_len) in [(true, 4096), (false, 4096), (true, 100)] {
                let path = folder.path().join(format!("{index}-{aligned}-{header_len}"));
                let file = File::create(&path).expect("a file");
                let pieces = pieces(header_len, len, aligned);
                Kernel.write_all(file.as_fd(), &pieces).expect("written");
                Kernel.sync_data(file.as_fd()).expect("synced");
                let whole: Vec<u8> = pieces.concat();
                assert!(
                    std::fs::read(&path).expect("read") == whole,
                    "{len} bytes, aligned: {aligned}"
                );
                let file = File::open(&path).expect("a file");
                for (offset, wanted) in [
                    (0, whole.len()),
                    (header_len, len),
                    (4096, 1 << 20),
                    (0, whole.len() + 5000),
                ] {
                    let end = whole.len().min(offset + wanted);
                    let read = read_at(&file, offset as u64, wanted).expect("read");
                    assert!(
                        read == whole[offset.min(end)..end],
                        "{wanted} bytes at {offset} of {}",
                        whole.len()
                    );
                }
            }
        }
    }

    #[test]
    fn a_shard_with_its_header_needs_no_copy_of_its_payload() {
        let given = pieces(4096, (1 << 20) + 7, true);
        let aligned = aligned_pieces(&given).expect("direct I/O takes it");
        assert!(aligned.iter().all(|piece| is_aligned(piece)));
        assert_eq!(aligned[1].as_ptr(), given[1].as_ptr());
        assert!(aligned_pieces(&pieces(4096, 1 << 20, false)).is_none());
    }
}
