//! A disk that is looked at: what it is told to change it takes for done, and changes nothing.
//!
//! Opening a store cuts torn records and clears away what was left half made; who only looks sees what a start would see.
//! Invariant: nothing here reaches the files but reads.

use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;

use super::{Disk, SegmentFile};
use crate::core::holdings::Space;

/// The disk behind it, as it is.
pub(crate) struct Unchanged<D>(pub(crate) D);

struct UnchangedFile(Arc<dyn SegmentFile>);

impl<D: Disk> Disk for Unchanged<D> {
    fn names(&self) -> Result<Vec<String>, Errno> {
        self.0.names()
    }

    fn create(&self, _: &str, _: u32) -> Result<Arc<dyn SegmentFile>, Errno> {
        Err(Errno::ROFS)
    }

    fn open(&self, name: &str) -> Result<Arc<dyn SegmentFile>, Errno> {
        Ok(Arc::new(UnchangedFile(self.0.open(name)?)))
    }

    fn rename(&self, _: &str, _: &str) -> Result<(), Errno> {
        Err(Errno::ROFS)
    }

    fn remove(&self, _: &str) -> Result<(), Errno> {
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), Errno> {
        Ok(())
    }

    fn space(&self) -> Result<Space, Errno> {
        self.0.space()
    }

    fn is_there(&self) -> bool {
        self.0.is_there()
    }
}

impl SegmentFile for UnchangedFile {
    fn len(&self) -> Result<u64, Errno> {
        self.0.len()
    }

    fn write_at(&self, _: u32, _: &[Bytes]) -> Result<(), Errno> {
        Ok(())
    }

    fn read_at(&self, offset: u32, len: usize) -> Result<Bytes, Errno> {
        self.0.read_at(offset, len)
    }

    fn read_cached(&self, offset: u32, len: usize) -> Result<Option<Bytes>, Errno> {
        self.0.read_cached(offset, len)
    }

    fn next_data(&self, offset: u32) -> Result<Option<u32>, Errno> {
        self.0.next_data(offset)
    }

    fn sync(&self) -> Result<(), Errno> {
        Ok(())
    }

    fn shorten(&self, _: u32) -> Result<(), Errno> {
        Ok(())
    }
}
