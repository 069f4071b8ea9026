//! Blocks of large files, in sequence or at random places. A slot has files of its own, so that every block has one right
//! content. Files that are read start cold: their pages are dropped when they are opened, as far as the kernel does it.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Advice, fadvise};

use super::place::{Place, failed};
use crate::engine::{Worker, Workload};
use crate::failure::OpError;
use crate::load::Random;

/// A block whose last write failed, so that nobody knows what it holds.
const UNKNOWN: u32 = u32::MAX;

/// How files are worked on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockPlan {
    pub(crate) writes: bool,
    /// Anywhere in files that exist; otherwise from beginning to end.
    pub(crate) is_random: bool,
    pub(crate) block_bytes: u64,
    /// 0: at the end of a file only.
    pub(crate) fsync_every: u32,
    pub(crate) concurrency: u32,
}

/// A phase of load on blocks.
pub(crate) struct BlockWork<'a> {
    place: &'a Place,
    plan: BlockPlan,
    files: &'a WholeFiles,
}

/// The files of a run, with the version of each block.
#[derive(Default)]
pub(crate) struct WholeFiles {
    /// How many files were begun; those of a run are numbered from 0.
    begun: AtomicU64,
    /// By file and block; empty where nothing is overwritten.
    versions: Vec<Vec<AtomicU32>>,
    /// How much of each file was written, by number.
    written: Mutex<Vec<(u64, u64)>>,
}

struct BlockWorker<'a> {
    work: &'a BlockWork<'a>,
    slot: u64,
    open: Option<Open>,
    /// Which of the slot's files comes next.
    next_file: u64,
    buffer: Vec<u8>,
    writes_since_sync: u32,
    offset: u64,
}

struct Open {
    index: u64,
    size_bytes: u64,
    file: File,
    /// Where a sequence goes on.
    at: u64,
}

impl WholeFiles {
    /// That many files, which a `Preparation` has written.
    pub(crate) fn prepared(place: &Place, count: u64, block_bytes: u64) -> Self {
        let size = |index| place.dataset.object(index, 0).size_bytes;
        let blocks = |index| (0..size(index).div_ceil(block_bytes)).map(|_| AtomicU32::new(0));
        Self {
            begun: AtomicU64::new(count),
            versions: (0..count).map(|index| blocks(index).collect()).collect(),
            written: Mutex::new((0..count).map(|index| (index, size(index))).collect()),
        }
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// All files, with how much of each was written.
    pub(super) fn written(&self) -> Vec<(u64, u64)> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        written.sort_unstable();
        written
    }

    fn note(&self, index: u64, bytes: u64) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.push((index, bytes));
    }

    fn state(&self, index: u64, block: u64) -> Option<&AtomicU32> {
        self.versions.get(index as usize)?.get(block as usize)
    }

    /// The version of a block, where it is known.
    pub(super) fn version(&self, index: u64, block: u64) -> Option<u32> {
        let version = self
            .state(index, block)
            .map_or(0, |state| state.load(Ordering::Relaxed));
        (version != UNKNOWN).then_some(version)
    }
}

impl<'a> BlockWork<'a> {
    pub(crate) fn new(place: &'a Place, plan: BlockPlan, files: &'a WholeFiles) -> Self {
        Self { place, plan, files }
    }
}

impl Workload for BlockWork<'_> {
    fn worker<'a>(&'a self, slot: u32, _halt: &'a AtomicBool) -> Box<dyn Worker + 'a> {
        Box::new(BlockWorker {
            work: self,
            slot: u64::from(slot),
            open: None,
            next_file: 0,
            buffer: vec![0; self.plan.block_bytes as usize],
            writes_since_sync: 0,
            offset: 0,
        })
    }
}

impl BlockWorker<'_> {
    /// The file that the next block is in; opened where it is not.
    fn open(&mut self) -> Result<(), OpError> {
        let BlockPlan {
            writes,
            is_random,
            concurrency,
            ..
        } = self.work.plan;
        if self
            .open
            .as_ref()
            .is_some_and(|open| is_random || open.at < open.size_bytes)
        {
            return Ok(());
        }
        self.close();
        let place = self.work.place;
        let is_new = writes && !is_random;
        let index = if is_new {
            self.work.files.begun.fetch_add(1, Ordering::Relaxed)
        } else {
            // Slot s has files s, s + slots, …, each of them in turn.
            let own = (self.work.files.begun().saturating_sub(self.slot)).div_ceil(u64::from(concurrency));
            let index = self.slot + (self.next_file % own.max(1)) * u64::from(concurrency);
            self.next_file += 1;
            index
        };
        let path = place.path(index);
        let file = File::options()
            .read(!writes)
            .write(writes)
            .create_new(is_new)
            .open(&path);
        let file = file.map_err(|error| failed(&path, "opening", error))?;
        if !writes {
            // Where that is not possible the figures are those of the cache, which the user knows of.
            let _ = fadvise(file.as_fd(), 0, None, Advice::DontNeed);
        }
        let size_bytes = place.dataset.object(index, 0).size_bytes;
        self.open = Some(Open {
            index,
            size_bytes,
            file,
            at: 0,
        });
        Ok(())
    }

    fn close(&mut self) {
        let BlockPlan { writes, is_random, .. } = self.work.plan;
        if let Some(open) = self.open.take().filter(|_| writes && !is_random) {
            self.work.files.note(open.index, open.at);
        }
    }

    fn write(&mut self) -> Result<u64, OpError> {
        let BlockPlan {
            is_random,
            block_bytes,
            fsync_every,
            ..
        } = self.work.plan;
        let (place, files) = (self.work.place, self.work.files);
        let open = self.open.as_mut().expect("a file is opened before it is written");
        let offset = if is_random { self.offset } else { open.at };
        let end = (offset + block_bytes).min(open.size_bytes);
        let state = files.state(open.index, offset / block_bytes);
        let before = state.map_or(0, |state| state.load(Ordering::Relaxed));
        let version = if is_random { before.wrapping_add(1) % UNKNOWN } else { 0 };
        let object = place.dataset.object(open.index, version);
        let mut filled = 0;
        while offset + filled < end {
            let window = place.dataset.window(&object, offset + filled..end);
            for piece in window.pieces() {
                self.buffer[filled as usize..][..piece.len()].copy_from_slice(piece);
                filled += piece.len() as u64;
            }
        }
        let path = || place.path(open.index);
        if let Some(state) = state {
            state.store(UNKNOWN, Ordering::Relaxed);
        }
        let written = open.file.write_all_at(&self.buffer[..filled as usize], offset);
        written.map_err(|error| failed(&path(), "writing", error))?;
        open.at = end;
        self.writes_since_sync += 1;
        let is_whole = !is_random && end == open.size_bytes;
        if is_whole || self.writes_since_sync == fsync_every {
            self.writes_since_sync = 0;
            let synced = if is_whole {
                open.file.sync_all()
            } else {
                open.file.sync_data()
            };
            synced.map_err(|error| failed(&path(), "syncing", error))?;
        }
        if let Some(state) = state {
            state.store(version, Ordering::Relaxed);
        }
        Ok(filled)
    }

    fn read(&mut self) -> Result<u64, OpError> {
        let BlockPlan {
            is_random, block_bytes, ..
        } = self.work.plan;
        let (place, files) = (self.work.place, self.work.files);
        let open = self.open.as_mut().expect("a file is opened before it is read");
        let offset = if is_random { self.offset } else { open.at };
        let end = (offset + block_bytes).min(open.size_bytes);
        let bytes = &mut self.buffer[..(end - offset) as usize];
        // Also after a failure the sequence goes on.
        open.at = end;
        let path = || place.path(open.index);
        let read = open.file.read_exact_at(bytes, offset);
        read.map_err(|error| failed(&path(), "reading", error))?;
        if let Some(version) = files.version(open.index, offset / block_bytes).filter(|_| place.verify) {
            place.check(&path(), (open.index, version), offset, bytes)?;
        }
        Ok(end - offset)
    }
}

impl Worker for BlockWorker<'_> {
    fn plan(&mut self, number: u64) -> Option<&'static str> {
        let mut random: Random = self.work.place.dataset.random(number);
        self.offset = random.next();
        Some(if self.work.plan.writes { "write" } else { "read" })
    }

    fn connect(&mut self) -> Result<(), OpError> {
        self.open()?;
        if let Some(open) = &self.open {
            // The draw of the plan, now that the file is known: one of its blocks.
            let blocks = open.size_bytes.div_ceil(self.work.plan.block_bytes).max(1);
            self.offset = self.offset % blocks * self.work.plan.block_bytes;
        }
        Ok(())
    }

    fn perform(&mut self) -> Result<u64, OpError> {
        if self.work.plan.writes {
            self.write()
        } else {
            self.read()
        }
    }
}

impl Drop for BlockWorker<'_> {
    fn drop(&mut self) {
        self.close();
    }
}
