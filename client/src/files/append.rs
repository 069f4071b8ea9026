//! Appending: bytes at the end of a file, wherever that is when they become visible.
//!
//! Invariant: bytes are stored once and committed once, however often others write in between; where the answer to a commit was
//! lost, the file is looked at before they are committed again.

use std::sync::Arc;

use bytes::Bytes;
use cairn_common::wire::{
    file::{FileAction, FileAttributes, WriteFile},
    object::Extent,
};
use tokio::time::Instant;

use super::{
    FileError, Files, Piece,
    data::{Committing, may_be_stored_later},
    wait,
};
use crate::session::Reservation;

/// What is stored and belongs to no file yet.
struct Stored {
    reservation: Arc<Reservation>,
    /// As if the bytes began the file.
    extents: Vec<Extent>,
}

impl Files {
    /// Puts bytes at the end of a file, which was `known` to be as it says. Where it turns out to be otherwise `moved` is told
    /// how it is, and so where the bytes are tried to be put next.
    pub async fn append(
        &self,
        inode: u64,
        data: Bytes,
        known: FileAttributes,
        clear_suid: bool,
        mut moved: impl FnMut(&FileAttributes) + Send,
    ) -> Result<FileAttributes, FileError> {
        let deadline = self.deadline();
        let mut pause = super::PAUSE.0;
        let mut known = known;
        let mut stored = None;
        loop {
            let error = match self
                .try_append(inode, &data, &known, clear_suid, deadline, &mut stored)
                .await
            {
                Ok(attributes) => return Ok(attributes),
                Err(Committing::Again(error)) => error,
                Err(Committing::Refused(FileError::DataChanged)) => {
                    known = self.attributes(inode).await?;
                    moved(&known);
                    FileError::Unavailable("others append faster than this mount".to_owned())
                }
                Err(Committing::Refused(error)) => return Err(error),
                Err(Committing::Unknown(error)) => {
                    stored = None;
                    let found = self.attributes(inode).await?;
                    if found.data_version > known.data_version && self.holds(inode, known.size, &data).await? {
                        return self.attributes(inode).await;
                    }
                    known = found;
                    moved(&known);
                    error
                }
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, "an append is tried again");
            pause = wait(pause).await;
        }
    }

    async fn try_append(
        &self,
        inode: u64,
        data: &Bytes,
        known: &FileAttributes,
        clear_suid: bool,
        deadline: Instant,
        stored: &mut Option<Stored>,
    ) -> Result<FileAttributes, Committing> {
        // A session that has ended commits nothing any more.
        if stored
            .as_ref()
            .is_some_and(|stored| stored.reservation.session().is_retired())
        {
            *stored = None;
        }
        let stored = match stored {
            Some(stored) => stored,
            None => stored.insert(self.stored(data, deadline).await.map_err(|error| {
                if may_be_stored_later(&error) {
                    Committing::Again(error)
                } else {
                    Committing::Refused(error)
                }
            })?),
        };
        let extents = stored.extents.iter().map(|extent| Extent {
            file_offset: known.size + extent.file_offset,
            ..extent.clone()
        });
        let write = WriteFile {
            inode,
            extents: extents.collect(),
            expected_version: Some(known.data_version),
            clear_suid,
        };
        self.commit(&stored.reservation, FileAction::Write(write), deadline)
            .await
    }

    async fn stored(&self, data: &Bytes, deadline: Instant) -> Result<Stored, FileError> {
        let reservation = Arc::new(Reservation::new(self.live_session(deadline).await?));
        let piece = Piece {
            offset: 0,
            data: data.clone(),
        };
        let extents = self.store(&[piece], &reservation).await?;
        Ok(Stored { reservation, extents })
    }

    /// Whether a file has just these bytes at `offset`.
    async fn holds(&self, inode: u64, offset: u64, data: &Bytes) -> Result<bool, FileError> {
        let end = offset + data.len() as u64;
        let mut at = offset;
        let mut left = &data[..];
        while at < end {
            let plan = self.plan(inode, at, None).await?;
            let stop = end.min(plan.end());
            if plan.attributes.size < end || stop <= at {
                return Ok(false);
            }
            for part in self.read(&plan, at..stop).await? {
                match left.strip_prefix(&part[..]) {
                    Some(rest) => left = rest,
                    None => return Ok(false),
                }
            }
            at = stop;
        }
        Ok(left.is_empty())
    }
}
