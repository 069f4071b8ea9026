//! A load on blocks of large files, in sequence or at random places. A slot has files of its own, so that every block has one right
//! content. Files that are read in sequence start cold: their pages are dropped when they are opened, as far as the kernel does it.
//!
//! Invariant: what was written is synced when the slot ends, within the time that is measured.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::AtomicBool;

use super::block_choice::BlockChoice;
use super::block_files::{BlockFiles, drop_pages};
use super::open_files::OpenFiles;
use super::place::failed;
use crate::engine::{Worker, Workload};
use crate::failure::OpError;
use crate::load::KeyOrder;

/// How files are worked on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockPlan {
    pub(crate) writes: bool,
    /// Which blocks of files that exist; where absent, files are worked on from beginning to end.
    pub(crate) order: Option<KeyOrder>,
    /// 0: at the end of a file, or of the slot.
    pub(crate) fsync_every: u32,
    pub(crate) concurrency: u32,
}

/// A phase of load on blocks.
pub(crate) struct BlockWork<'a> {
    plan: BlockPlan,
    files: &'a BlockFiles<'a>,
    /// By slot, where blocks are chosen.
    choices: Vec<Option<BlockChoice>>,
}

struct BlockWorker<'a> {
    work: &'a BlockWork<'a>,
    slot: u64,
    open: OpenFiles<'a>,
    /// The next block: chosen, or where the sequence goes on.
    at: Option<Spot>,
    /// Which of the slot's files a sequence reads next.
    next_file: usize,
    buffer: Vec<u8>,
    writes_since_sync: u32,
}

/// A place in a file.
#[derive(Clone, Copy)]
struct Spot {
    index: u64,
    size_bytes: u64,
    offset: u64,
}

impl<'a> BlockWork<'a> {
    pub(crate) fn new(plan: BlockPlan, files: &'a BlockFiles<'a>) -> Self {
        let choices = plan
            .order
            .map(|order| BlockChoice::of_slots(files, order, plan.concurrency));
        Self {
            plan,
            files,
            choices: choices.unwrap_or_default(),
        }
    }
}

impl Workload for BlockWork<'_> {
    fn worker<'a>(&'a self, slot: u32, _halt: &'a AtomicBool) -> Box<dyn Worker + 'a> {
        Box::new(BlockWorker {
            work: self,
            slot: u64::from(slot),
            open: OpenFiles::new(self.files.place, self.plan.writes, self.plan.concurrency),
            at: None,
            next_file: 0,
            buffer: vec![0; self.files.block_bytes as usize],
            writes_since_sync: 0,
        })
    }
}

impl BlockWorker<'_> {
    /// Opens the file that a sequence goes on with, where the last one is at its end.
    fn open_next(&mut self) -> Result<(), OpError> {
        if self.at.is_some_and(|at| at.offset < at.size_bytes) {
            return Ok(());
        }
        self.leave_file();
        let files = self.work.files;
        let index = if self.work.plan.writes {
            let index = files.begin();
            self.open.create(index)?;
            index
        } else {
            let slots = self.work.plan.concurrency;
            let own = files.of_slot(self.slot, slots).count().max(1);
            let index = self.slot + (self.next_file % own) as u64 * u64::from(slots);
            self.next_file += 1;
            drop_pages(self.open.file(index)?);
            index
        };
        self.at = Some(Spot {
            index,
            size_bytes: files.size_bytes(index),
            offset: 0,
        });
        Ok(())
    }

    /// The file that a sequence has come to the end of, or is given up in.
    fn leave_file(&mut self) {
        if let Some(at) = self.at.take().filter(|_| self.work.plan.order.is_none()) {
            self.open.close(at.index);
            if self.work.plan.writes {
                self.work.files.note_written(at.index, at.offset);
            }
        }
    }

    /// A sequence goes on behind what was done.
    fn go_on(&mut self, end: u64) {
        if let Some(at) = self.at.as_mut().filter(|_| self.work.plan.order.is_none()) {
            at.offset = end;
        }
    }

    fn write(&mut self, at: Spot) -> Result<u64, OpError> {
        let BlockPlan { order, fsync_every, .. } = self.work.plan;
        let files = self.work.files;
        let (place, block) = (files.place, at.offset / files.block_bytes);
        let end = (at.offset + files.block_bytes).min(at.size_bytes);
        let version = files.begin_write(at.index, block);
        let object = place.dataset.object(at.index, version);
        let mut filled = 0;
        while at.offset + filled < end {
            let window = place.dataset.window(&object, at.offset + filled..end);
            for piece in window.pieces() {
                self.buffer[filled as usize..][..piece.len()].copy_from_slice(piece);
                filled += piece.len() as u64;
            }
        }
        let file = self.open.file(at.index)?;
        let written = file.write_all_at(&self.buffer[..filled as usize], at.offset);
        written.map_err(|error| failed(&place.path(at.index), "writing", error))?;
        self.open.note_write(at.index);
        self.go_on(end);
        self.writes_since_sync += 1;
        let is_whole = order.is_none() && end == at.size_bytes;
        if is_whole || self.writes_since_sync == fsync_every {
            self.writes_since_sync = 0;
            self.open
                .sync(if is_whole { File::sync_all } else { File::sync_data })?;
        }
        files.end_write(at.index, block, version);
        Ok(filled)
    }

    fn read(&mut self, at: Spot) -> Result<u64, OpError> {
        let files = self.work.files;
        let end = (at.offset + files.block_bytes).min(at.size_bytes);
        // Also after a failure the sequence goes on.
        self.go_on(end);
        let bytes = &mut self.buffer[..(end - at.offset) as usize];
        let path = || files.place.path(at.index);
        let read = self.open.file(at.index)?.read_exact_at(bytes, at.offset);
        read.map_err(|error| failed(&path(), "reading", error))?;
        let version = files.version(at.index, at.offset / files.block_bytes);
        if let Some(version) = version.filter(|_| files.place.verify) {
            files.place.check(&path(), (at.index, version), at.offset, bytes)?;
        }
        Ok(end - at.offset)
    }
}

impl Worker for BlockWorker<'_> {
    fn plan(&mut self, number: u64) -> Option<&'static str> {
        let files = self.work.files;
        if self.work.plan.order.is_some() {
            let choice = self.work.choices[self.slot as usize].as_ref()?;
            let (index, block) = choice.pick(number, &mut files.place.dataset.random(number));
            self.at = Some(Spot {
                index,
                size_bytes: files.size_bytes(index),
                offset: block * files.block_bytes,
            });
        }
        Some(if self.work.plan.writes { "write" } else { "read" })
    }

    fn connect(&mut self) -> Result<(), OpError> {
        match self.at.filter(|_| self.work.plan.order.is_some()) {
            Some(at) => self.open.file(at.index).map(drop),
            None => self.open_next(),
        }
    }

    fn perform(&mut self) -> Result<u64, OpError> {
        let at = self.at.expect("a block is planned, or its file opened, before");
        if self.work.plan.writes {
            self.write(at)
        } else {
            self.read(at)
        }
    }

    fn finish(&mut self) -> Result<(), OpError> {
        self.open.sync(File::sync_data)
    }
}

impl Drop for BlockWorker<'_> {
    fn drop(&mut self) {
        self.leave_file();
    }
}
