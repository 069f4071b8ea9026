//! Whole files: written before a load on their blocks, and read back after it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::blocks::WholeFiles;
use super::place::{Place, failed};
use crate::engine::{Worker, Workload};
use crate::failure::OpError;

/// Writes that many files, each synced.
pub(crate) struct Preparation<'a> {
    pub(crate) place: &'a Place,
    pub(crate) count: u64,
}

/// Reads every file that was written, as far as it was.
pub(crate) struct BlockCheck<'a> {
    place: &'a Place,
    files: &'a WholeFiles,
    written: Vec<(u64, u64)>,
    block_bytes: u64,
}

struct Preparing<'a> {
    work: &'a Preparation<'a>,
    number: u64,
}

struct Checking<'a> {
    work: &'a BlockCheck<'a>,
    number: u64,
}

impl<'a> BlockCheck<'a> {
    pub(crate) fn new(place: &'a Place, files: &'a WholeFiles, block_bytes: u64) -> Self {
        Self {
            place,
            files,
            written: files.written(),
            block_bytes,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.written.len() as u64
    }
}

impl Preparing<'_> {
    fn write(&self) -> Result<u64, OpError> {
        let place = self.work.place;
        let path = place.path(self.number);
        let object = place.dataset.object(self.number, 0);
        let file = place.create(&path, &object)?;
        file.sync_all().map_err(|error| failed(&path, "syncing", error))?;
        Ok(object.size_bytes)
    }
}

impl Checking<'_> {
    fn check(&self) -> Result<u64, OpError> {
        let BlockCheck {
            place,
            files,
            block_bytes,
            ..
        } = *self.work;
        let (index, length) = self.work.written[self.number as usize];
        let path = place.path(index);
        check_length(&path, length)?;
        let file = File::open(&path).map_err(|error| failed(&path, "opening", error))?;
        let mut buffer = vec![0; block_bytes as usize];
        for offset in (0..length).step_by(block_bytes as usize) {
            let bytes = &mut buffer[..(length - offset).min(block_bytes) as usize];
            let read = file.read_exact_at(bytes, offset);
            read.map_err(|error| failed(&path, "reading", error))?;
            if let Some(version) = files.version(index, offset / block_bytes) {
                place.check(&path, (index, version), offset, bytes)?;
            }
        }
        Ok(length)
    }
}

fn check_length(path: &Path, expected: u64) -> Result<(), OpError> {
    let found = fs::metadata(path).map_err(|error| failed(path, "stat", error))?.len();
    if found == expected {
        return Ok(());
    }
    Err(OpError::Length {
        key: path.display().to_string(),
        expected,
        found,
    })
}

impl Workload for Preparation<'_> {
    fn worker<'a>(&'a self, _slot: u32, _halt: &'a AtomicBool) -> Box<dyn Worker + 'a> {
        Box::new(Preparing { work: self, number: 0 })
    }
}

impl Workload for BlockCheck<'_> {
    fn worker<'a>(&'a self, _slot: u32, _halt: &'a AtomicBool) -> Box<dyn Worker + 'a> {
        Box::new(Checking { work: self, number: 0 })
    }
}

impl Worker for Preparing<'_> {
    fn plan(&mut self, number: u64) -> Option<&'static str> {
        self.number = number;
        (number < self.work.count).then_some("write")
    }

    fn connect(&mut self) -> Result<(), OpError> {
        Ok(())
    }

    fn perform(&mut self) -> Result<u64, OpError> {
        self.write()
    }
}

impl Worker for Checking<'_> {
    fn plan(&mut self, number: u64) -> Option<&'static str> {
        self.number = number;
        (number < self.work.count()).then_some("check")
    }

    fn connect(&mut self) -> Result<(), OpError> {
        Ok(())
    }

    fn perform(&mut self) -> Result<u64, OpError> {
        self.check()
    }
}
