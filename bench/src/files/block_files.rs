//! The files of a run that are worked on in blocks: which there are, what each of their blocks holds, how they are written before a
//! load and held against that after it.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Advice, fadvise};

use super::place::{Place, failed};
use crate::failure::OpError;

/// A block whose last write failed, so that nobody knows what it holds.
const UNKNOWN: u32 = u32::MAX;

/// The files of a run, numbered from 0.
pub(crate) struct BlockFiles<'a> {
    pub(super) place: &'a Place,
    pub(super) block_bytes: u64,
    /// How many were begun.
    begun: AtomicU64,
    /// Of those that were there at first.
    sizes: Vec<u64>,
    /// The version of each block, by file and block; empty where nothing is overwritten.
    versions: Vec<Vec<AtomicU32>>,
    /// How much of each file was written, by number.
    written: Mutex<Vec<(u64, u64)>>,
}

impl<'a> BlockFiles<'a> {
    /// None yet.
    pub(crate) fn none(place: &'a Place, block_bytes: u64) -> Self {
        Self::prepared(place, 0, block_bytes)
    }

    /// That many files, each of which [`prepare`] has written.
    pub(crate) fn prepared(place: &'a Place, count: u64, block_bytes: u64) -> Self {
        let sizes: Vec<u64> = (0..count)
            .map(|index| place.dataset.object(index, 0).size_bytes)
            .collect();
        let blocks = |size: &u64| (0..size.div_ceil(block_bytes)).map(|_| AtomicU32::new(0)).collect();
        Self {
            place,
            block_bytes,
            begun: AtomicU64::new(count),
            versions: sizes.iter().map(blocks).collect(),
            written: Mutex::new((0..).zip(sizes.iter().copied()).collect()),
            sizes,
        }
    }

    /// The number of a new file.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed)
    }

    /// The files that are the slot's own, so that every block has one right content: every `slots`-th.
    pub(super) fn of_slot(&self, slot: u64, slots: u32) -> impl Iterator<Item = u64> {
        (slot..self.begun.load(Ordering::Relaxed)).step_by(slots as usize)
    }

    pub(super) fn size_bytes(&self, index: u64) -> u64 {
        let known = self.sizes.get(index as usize).copied();
        known.unwrap_or_else(|| self.place.dataset.object(index, 0).size_bytes)
    }

    /// Up to `bytes` the file was written.
    pub(super) fn note_written(&self, index: u64, bytes: u64) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.push((index, bytes));
    }

    /// The version that a block has, where it is known.
    pub(super) fn version(&self, index: u64, block: u64) -> Option<u32> {
        let state = self.state(index, block);
        let version = state.map_or(0, |state| state.load(Ordering::Relaxed));
        (version != UNKNOWN).then_some(version)
    }

    /// The version that is about to be written; until `end_write` nobody knows what the block holds.
    pub(super) fn begin_write(&self, index: u64, block: u64) -> u32 {
        let Some(state) = self.state(index, block) else {
            return 0;
        };
        // After a failure it begins anew, so that only one slot may do this.
        state.swap(UNKNOWN, Ordering::Relaxed).wrapping_add(1) % UNKNOWN
    }

    pub(super) fn end_write(&self, index: u64, block: u64, version: u32) {
        if let Some(state) = self.state(index, block) {
            state.store(version, Ordering::Relaxed);
        }
    }

    fn state(&self, index: u64, block: u64) -> Option<&AtomicU32> {
        self.versions.get(index as usize)?.get(block as usize)
    }

    /// All files, with how much of each was written.
    pub(crate) fn written(&self) -> Vec<(u64, u64)> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        written.sort_unstable();
        written
    }

    /// Reads a file up to `length`, and holds every block against what was written there; returns the length.
    pub(crate) fn check(&self, (index, length): (u64, u64)) -> Result<u64, OpError> {
        let (place, block_bytes) = (self.place, self.block_bytes);
        let path = place.path(index);
        self.check_length(index, &path, length)?;
        let file = File::open(&path).map_err(|error| failed(&path, "opening", error))?;
        let mut buffer = vec![0; block_bytes as usize];
        for offset in (0..length).step_by(block_bytes as usize) {
            let bytes = &mut buffer[..(length - offset).min(block_bytes) as usize];
            let read = file.read_exact_at(bytes, offset);
            read.map_err(|error| failed(&path, "reading", error))?;
            if let Some(version) = self.version(index, offset / block_bytes) {
                place.check(&path, (index, version), offset, bytes)?;
            }
        }
        Ok(length)
    }

    fn check_length(&self, index: u64, path: &Path, expected: u64) -> Result<(), OpError> {
        let found = fs::metadata(path).map_err(|error| failed(path, "stat", error))?.len();
        // A write that failed may have left something behind what was written before.
        let is_right = if expected == self.size_bytes(index) {
            found == expected
        } else {
            found >= expected
        };
        if is_right {
            return Ok(());
        }
        Err(OpError::Length {
            key: path.display().to_string(),
            expected,
            found,
        })
    }
}

/// Writes file `index`, synced, and out of the page cache as far as the kernel does that; returns its length.
pub(crate) fn prepare(place: &Place, index: u64) -> Result<u64, OpError> {
    let path = place.path(index);
    let object = place.dataset.object(index, 0);
    let file = place.create(&path, &object)?;
    file.sync_all().map_err(|error| failed(&path, "syncing", error))?;
    drop_pages(&file);
    Ok(object.size_bytes)
}

/// Where that is not possible the figures are those of the cache, which the user knows of.
pub(super) fn drop_pages(file: &File) {
    let _ = fadvise(file.as_fd(), 0, None, Advice::DontNeed);
}
