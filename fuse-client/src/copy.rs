//! Copies by reference, within the bucket.

use cairn_client::FileError;
use cairn_common::wire::file::CloneRange;
use fuser::Errno;

use crate::{
    convert::{Outcome, errno},
    opened::Opened,
    volume::Volume,
};

/// Bytes of one step: the answer has 32 bits for them.
const STEP_BYTES_MAX: u64 = 1 << 30;

/// Shorter ranges are not halved: the kernel copies them through memory.
const STEP_BYTES_MIN: u64 = 64 << 10;

impl Volume {
    /// Lets a range of one file be the same data as one of another. Gives the bytes copied, which may be fewer.
    pub(crate) async fn copy(
        &self,
        source: &Opened,
        source_offset: u64,
        target: &Opened,
        offset: u64,
        length: u64,
        clear_suid: bool,
    ) -> Outcome<u32> {
        self.flushed(source).await?;
        self.flushed(target).await?;
        let mut length = length.min(STEP_BYTES_MAX);
        loop {
            let clone = CloneRange {
                source: source.inode,
                source_offset,
                inode: target.inode,
                offset,
                length,
                clear_suid,
            };
            match self.files.clone_range(clone).await {
                Ok((attributes, cloned)) => {
                    self.learn_own(target, &attributes, 1);
                    return Ok(u32::try_from(cloned).unwrap_or(u32::MAX));
                }
                Err(FileError::TooMuch(_)) if length > STEP_BYTES_MIN => length /= 2,
                Err(FileError::TooMuch(_)) => return Err(Errno::EOPNOTSUPP),
                Err(error) => return Err(errno(error)),
            }
        }
    }
}
