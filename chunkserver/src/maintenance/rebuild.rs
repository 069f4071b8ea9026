//! Making an index anew from the segments.
//!
//! The new one is made beside the old one and takes its place only when it is whole and on the disk. What the old one knew
//! beyond the segments, which shards were found damaged and how far the scrub has come, goes over where it can be read.
//! Invariant: whatever happens meanwhile, the device opens afterwards; without an index a start makes one itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{INDEX_MEMORY_BYTES, MaintenanceError, StoppedDevice, errno_error, io_error};
use crate::{
    directory,
    engine::{
        Engine,
        index::{Index as _, IndexError, RocksIndex},
    },
};

/// Shards of the old index that are looked at at a time.
const LIST_PAGE: usize = 4096;

/// What making an index anew has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Records read.
    pub records: u64,
    /// Records that were cut: their writer was never answered.
    pub cut: u64,
    /// Segments that cannot be read.
    pub unreadable: u64,
    /// Shards that the old index knew to be damaged and that still lie there.
    pub damaged: u64,
}

impl StoppedDevice {
    /// Makes the index anew. `progress` is told of bytes that were read, and of how many.
    pub fn rebuild_index(&self, progress: &dyn Fn(u64, u64)) -> Result<Rebuilt, MaintenanceError> {
        let (old, aside, new) = (self.index_path(), self.beside("index.old"), self.beside("index.new"));
        remove(&aside)?;
        remove(&new)?;
        let index = RocksIndex::open(&new, INDEX_MEMORY_BYTES).map_err(|error| self.index_error(&error))?;
        let (engine, recovered) = self.engine(self.disk()?, index, progress)?;
        // One that cannot be read has nothing to give.
        let damaged = take_over(&engine, &old).unwrap_or_default();
        engine.flush_index().map_err(|error| self.store_error(&error))?;
        drop(engine);
        match fs::rename(&old, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&old)(error)),
            _ => {}
        }
        fs::rename(&new, &old).map_err(io_error(&new))?;
        let root = directory::open(&self.path).map_err(errno_error(&self.path))?;
        rustix::fs::fsync(&root).map_err(errno_error(&self.path))?;
        remove(&aside)?;
        Ok(Rebuilt {
            records: recovered.records,
            cut: recovered.cut,
            unreadable: recovered.unreadable,
            damaged,
        })
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Takes over what the index in `old` knew beyond the segments; gives how many shards it knew to be damaged.
fn take_over(engine: &Engine, old: &Path) -> Result<u64, IndexError> {
    let old = RocksIndex::open_read_only(old, INDEX_MEMORY_BYTES)?;
    // Whether it could be noted shows when the index is flushed.
    _ = engine.resume_scrub(old.scrub()?);
    let (mut after, mut damaged) = (None, 0);
    loop {
        let page = old.list(after, LIST_PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(damaged);
        };
        after = Some(*last);
        for (key, location) in page.iter().filter(|(_, location)| location.is_damaged) {
            if engine.remember_damaged(*key, location) {
                damaged += 1;
            }
        }
    }
}

fn remove(path: &Path) -> Result<(), MaintenanceError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path)(error)),
        _ => Ok(()),
    }
}
