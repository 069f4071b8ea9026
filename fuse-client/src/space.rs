//! Holes, room, where data lies, and how full the store is.

use cairn_client::FileError;
use cairn_common::wire::file::{ChangeSpace, SpaceMode};
use fuser::Errno;

use crate::{
    convert::{Outcome, errno},
    opened::Opened,
    volume::Volume,
};

/// Unit in which space is told.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// Times that a file may change while it is looked through.
const CHANGES_MAX: usize = 16;

/// Names that the store is said to have room for: it has no bound of its own.
const INODES_FREE: u64 = 1 << 32;

/// How full the store is, in blocks.
pub(crate) struct Fullness {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
}

impl Volume {
    pub(crate) async fn allocate(
        &self,
        opened: &Opened,
        offset: u64,
        length: u64,
        mode: i32,
        clear: bool,
    ) -> Outcome<()> {
        let keeps_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let mut end = offset + length;
        let mode = match mode & !libc::FALLOC_FL_KEEP_SIZE {
            // Room behind the end is not kept free: there is nothing to do.
            0 if keeps_size => return Ok(()),
            0 => SpaceMode::Allocate,
            libc::FALLOC_FL_PUNCH_HOLE if keeps_size => SpaceMode::Punch,
            libc::FALLOC_FL_ZERO_RANGE if keeps_size => SpaceMode::Punch,
            libc::FALLOC_FL_ZERO_RANGE => SpaceMode::Zero,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        self.flushed(opened).await?;
        let mut at = offset;
        while at < end {
            let change = ChangeSpace {
                inode: opened.inode,
                offset: at,
                length: end - at,
                mode: mode.into(),
                clear_suid: clear,
            };
            match self.files.change_space(change).await {
                Ok(attributes) => {
                    self.learn_own(opened, &attributes, 1);
                    at = end;
                    end = offset + length;
                }
                // Many small extents: half of it at a time.
                Err(FileError::TooMuch(_)) if end - at > BLOCK_BYTES => end = at + (end - at) / 2,
                Err(error) => return Err(errno(error)),
            }
        }
        Ok(())
    }

    /// The next byte of data, or of a hole, at `offset` or behind it.
    pub(crate) async fn seek(&self, opened: &Opened, offset: u64, wants_data: bool) -> Outcome<u64> {
        self.flushed(opened).await?;
        let mut at = offset;
        let mut version = None;
        let mut changes = 0;
        loop {
            let plan = match self.files.plan(opened.inode, at, version).await {
                // From here on the answer is of another version: what was passed over was so when it was looked at.
                Err(FileError::DataChanged) if changes < CHANGES_MAX => {
                    changes += 1;
                    version = None;
                    continue;
                }
                plan => plan.map_err(errno)?,
            };
            version = Some(plan.attributes.data_version);
            let size = plan.attributes.size;
            if at >= size {
                // The end of the file is a hole, but not for one that begins there.
                return if wants_data || offset >= size {
                    Err(Errno::ENXIO)
                } else {
                    Ok(size)
                };
            }
            for range in plan.ranges(at) {
                if range.is_data == wants_data {
                    return Ok(range.range.start);
                }
                at = range.range.end;
            }
            if plan.end() <= at && plan.end() < size {
                at = plan.end();
            }
        }
    }

    pub(crate) async fn fullness(&self) -> Outcome<Fullness> {
        let space = self.files.space().await.map_err(errno)?;
        let (total, free) = if space.quota_bytes > 0 {
            (space.quota_bytes, space.quota_bytes.saturating_sub(space.used_bytes))
        } else {
            let (total, used) = self.files.store_space().await.map_err(errno)?;
            (total.max(space.used_bytes), total.saturating_sub(used))
        };
        Ok(Fullness {
            total: total / BLOCK_BYTES,
            free: free / BLOCK_BYTES,
            inodes: space.inodes + INODES_FREE,
            inodes_free: INODES_FREE,
        })
    }
}
