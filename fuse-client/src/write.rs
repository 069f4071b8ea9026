//! Bytes on their way in: taken at once where they have room, else once there is.

use std::{sync::Arc, time::Instant};

use fuser::Errno;

use crate::{convert::Outcome, handles::Handle, opened::Opened, volume::Volume};

/// Dirty bytes of a file that are stored without waiting for more: a chunk's worth.
const FLUSHED_BYTES: usize = 8 << 20;

/// Dirty ranges of a file that are stored without waiting for more.
const FLUSHED_RANGES: usize = 1024;

/// A write, but its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) offset: u64,
    /// Whether it goes to the end of the file, wherever that is.
    pub(crate) appends: bool,
    /// Whether it is durable before it is answered.
    pub(crate) syncs: bool,
    pub(crate) clear_suid: bool,
}

impl Volume {
    /// Takes the bytes of a write that need not be durable when it is answered, and need not wait for room or for what was
    /// written before. Says whether it did.
    pub(crate) fn write_now(self: &Arc<Self>, opened: &Arc<Opened>, write: &Write, data: &[u8]) -> bool {
        if !self.budget.has_room(data.len()) {
            return false;
        }
        let mut state = opened.state.lock();
        if self.refuses_writes() {
            return false;
        }
        if state.new.as_ref().is_some_and(|new| !new.then.is_empty()) {
            // What is written afterwards moves the times that were set.
            return false;
        }
        let mut offset = write.offset;
        if write.appends {
            offset = state.size();
            if offset != write.offset {
                // The kernel put the bytes into its pages where it took the end to be.
                self.kernel
                    .forget_pages(self.number(opened.inode), write.offset.min(offset));
            }
            state.appended_from.get_or_insert(offset);
        } else if state.reaches_appended(offset + data.len() as u64) {
            return false;
        }
        let more = state.dirty.write(offset, data);
        self.budget.take(more);
        state.clear_suid |= write.clear_suid;
        state.dirty_since.get_or_insert_with(Instant::now);
        let is_much = state.dirty.bytes() >= FLUSHED_BYTES || state.dirty.len() >= FLUSHED_RANGES;
        if is_much && !std::mem::replace(&mut state.flush_is_due, true) {
            let (volume, opened) = (Arc::clone(self), Arc::clone(opened));
            tokio::spawn(async move { volume.flush(&opened).await });
        }
        true
    }

    /// Takes the bytes of a write once they can be, and makes them durable where that is asked for.
    pub(crate) async fn write(self: &Arc<Self>, handle: &Handle, write: Write, data: &[u8]) -> Outcome<()> {
        while !self.write_now(&handle.opened, &write, data) {
            if self.refuses_writes() {
                return Err(Errno::EIO);
            }
            self.flush(&handle.opened).await;
            if !self.budget.has_room(data.len()) {
                self.flush_soon(|_| true);
                self.budget.room(data.len()).await;
            }
        }
        if write.syncs {
            self.sync(handle).await?;
        }
        Ok(())
    }
}
