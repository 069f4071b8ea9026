//! Writing the data of files: pieces of any size, gathered into chunks, and committed together.
//!
//! Invariant: just the bytes of the pieces are written, none around them; what is committed is durable before.

use std::sync::Arc;

use bytes::Bytes;
use cairn_common::{
    limits,
    redundancy::Redundancy,
    wire::{
        command::{Command, ErrorCode, Outcome},
        file::{FileAction, FileAttributes, FileCommand, WriteFile},
        object::{Chunk, Extent},
    },
};
use cairn_datapath::{ChunkBuffer, WriteError};
use tokio::{task::JoinSet, time::Instant};

use super::{FileError, Files, is_put_off, wait};
use crate::{
    error::{ClientError, unexpected},
    session::Reservation,
};

/// Bytes at a place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Of the first byte.
    pub offset: u64,
    /// At least one.
    pub data: Bytes,
}

impl Piece {
    /// Where it ends.
    pub const fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

/// What a write stores, and where it lies in chunks that may still be under way.
struct Gathering<'f> {
    files: &'f Files,
    reservation: Arc<Reservation>,
    redundancy: Redundancy,
    chunk_size: usize,
    left: usize,
    buffer: Option<ChunkBuffer>,
    storing: JoinSet<(usize, Result<Chunk, WriteError>)>,
    chunks: Vec<Option<Chunk>>,
    extents: Vec<(usize, Extent)>,
}

impl Files {
    /// Writes pieces, which are in order and do not overlap, and makes them visible in one step.
    pub async fn write(&self, inode: u64, pieces: &[Piece], clear_suid: bool) -> Result<FileAttributes, FileError> {
        self.store_and_commit(pieces, |extents| {
            FileAction::Write(WriteFile {
                inode,
                extents,
                expected_version: None,
                clear_suid,
            })
        })
        .await
    }

    /// Stores pieces, and has what is made of their extents committed.
    pub(super) async fn store_and_commit(
        &self,
        pieces: &[Piece],
        action: impl Fn(Vec<Extent>) -> FileAction,
    ) -> Result<FileAttributes, FileError> {
        let deadline = self.deadline();
        let mut pause = super::PAUSE.0;
        loop {
            let session = self.live_session(deadline).await?;
            let reservation = Arc::new(Reservation::new(session));
            let error = match self.store(pieces, &reservation).await {
                Ok(extents) => {
                    match self.commit(&reservation, action(extents), deadline).await {
                        Ok(attributes) => return Ok(attributes),
                        Err(Committing::Refused(error)) => return Err(error),
                        // Where it was made, the same bytes come to lie over themselves.
                        Err(Committing::Again(error) | Committing::Unknown(error)) => error,
                    }
                }
                Err(error) => error,
            };
            if !may_be_stored_later(&error) || Instant::now() >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, "a write is tried again");
            pause = wait(pause).await;
        }
    }

    pub(super) async fn store(
        &self,
        pieces: &[Piece],
        reservation: &Arc<Reservation>,
    ) -> Result<Vec<Extent>, FileError> {
        let total: usize = pieces.iter().map(|piece| piece.data.len()).sum();
        if total <= limits::INLINE_SIZE_BYTES {
            let inline = |piece: &Piece| Extent {
                file_offset: piece.offset,
                length: piece.data.len() as u64,
                inline: piece.data.clone(),
                ..Extent::default()
            };
            return Ok(pieces.iter().map(inline).collect());
        }
        let info = self.client.cached_bucket(&self.name).await?;
        let redundancy = Redundancy::erasure_coded(info.data_shards as usize, info.parity_shards as usize)
            .map_err(|error| ClientError::Internal(error.to_string()))?;
        let mut gathering = Gathering {
            files: self,
            reservation: Arc::clone(reservation),
            redundancy,
            chunk_size: (info.chunk_size_bytes as usize).clamp(limits::BLOCK_SIZE_BYTES, limits::CHUNK_SIZE_BYTES),
            left: total,
            buffer: None,
            storing: JoinSet::new(),
            chunks: Vec::new(),
            extents: Vec::new(),
        };
        for piece in pieces {
            gathering.take(piece).await?;
        }
        gathering.finish().await
    }

    pub(super) async fn commit(
        &self,
        reservation: &Reservation,
        action: FileAction,
        deadline: Instant,
    ) -> Result<FileAttributes, Committing> {
        let command = Command::File(FileCommand {
            bucket: self.bucket,
            action: Some(action),
        });
        let written = self
            .client
            .shared
            .write_until(reservation.session(), command, deadline)
            .await;
        match written {
            Ok(Ok(Outcome::File(outcome))) => Self::attributes_of(outcome).map_err(Committing::Refused),
            Ok(Ok(_)) => Err(Committing::Refused(unexpected().into())),
            Ok(Err(refusal)) if refusal.code() == ErrorCode::SessionEnded || is_put_off(&refusal) => {
                Err(Committing::Again(FileError::Unavailable(refusal.detail)))
            }
            Ok(Err(refusal)) if refusal.code() == ErrorCode::OutcomeUnknown => {
                reservation.outcome_unknown();
                Err(Committing::Unknown(FileError::Unavailable(refusal.detail)))
            }
            Ok(Err(refusal)) => Err(Committing::Refused(refusal.into())),
            Err(error @ ClientError::OutcomeUnknown(_)) => {
                reservation.outcome_unknown();
                Err(Committing::Unknown(error.into()))
            }
            Err(error) => Err(Committing::Refused(error.into())),
        }
    }
}

/// What became of a commit that was not made.
pub(super) enum Committing {
    Refused(FileError),
    /// It was certainly not made, and may be the next time.
    Again(FileError),
    /// It may have been made, and is not any more if it was not.
    Unknown(FileError),
}

/// Whether bytes that could not be stored are worth another attempt: all but what a person must make room for.
pub(super) const fn may_be_stored_later(error: &FileError) -> bool {
    matches!(error, FileError::Unavailable(_) | FileError::Failed(_))
}

impl Gathering<'_> {
    async fn take(&mut self, piece: &Piece) -> Result<(), FileError> {
        let mut offset = piece.offset;
        let mut bytes = &piece.data[..];
        while !bytes.is_empty() {
            let mut buffer = match self.buffer.take() {
                Some(buffer) => buffer,
                None => {
                    let capacity = self.chunk_size.min(self.left);
                    self.files
                        .client
                        .shared
                        .datapath
                        .budget()
                        .acquire(capacity, self.redundancy)
                        .await?
                }
            };
            let (head, tail) = bytes.split_at(bytes.len().min(buffer.remaining()));
            let chunk_offset = u32::try_from(buffer.len()).map_err(|_| FileError::from(unexpected()))?;
            self.place(offset, head.len() as u64, chunk_offset);
            buffer.extend_from_slice(head).await?;
            offset += head.len() as u64;
            self.left -= head.len();
            bytes = tail;
            if buffer.remaining() == 0 {
                self.start(buffer).await?;
            } else {
                self.buffer = Some(buffer);
            }
        }
        Ok(())
    }

    /// Notes where the next bytes of the chunk that is being filled lie in the file: what goes on where the last bytes ended is the same
    /// extent.
    fn place(&mut self, file_offset: u64, length: u64, chunk_offset: u32) {
        let index = self.chunks.len();
        match self.extents.last_mut() {
            Some((last, extent)) if *last == index && extent.file_offset + extent.length == file_offset => {
                extent.length += length;
            }
            Some(_) | None => self.extents.push((
                index,
                Extent {
                    file_offset,
                    length,
                    chunk_offset,
                    ..Extent::default()
                },
            )),
        }
    }

    /// Starts to store a chunk once fewer than the pipeline's number are under way.
    async fn start(&mut self, buffer: ChunkBuffer) -> Result<(), FileError> {
        while self.storing.len() >= limits::UPLOAD_PIPELINE_CHUNKS {
            self.settle_one().await?;
        }
        let index = self.chunks.len();
        self.chunks.push(None);
        let datapath = self.files.client.shared.datapath.clone();
        let (reservation, redundancy) = (Arc::clone(&self.reservation), self.redundancy);
        self.storing.spawn(async move {
            let stored = datapath.write_chunk(reservation.as_ref(), redundancy, buffer).await;
            (index, stored)
        });
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), FileError> {
        let Some(joined) = self.storing.join_next().await else {
            return Ok(());
        };
        let (index, stored) = joined.map_err(|error| ClientError::Internal(format!("storing a chunk: {error}")))?;
        self.chunks[index] = Some(stored?);
        Ok(())
    }

    /// Waits until all bytes are durable.
    async fn finish(mut self) -> Result<Vec<Extent>, FileError> {
        if let Some(buffer) = self.buffer.take() {
            self.start(buffer).await?;
        }
        while !self.storing.is_empty() {
            self.settle_one().await?;
        }
        let chunks = self.chunks;
        let extents = self.extents.into_iter().map(|(index, extent)| Extent {
            chunk: chunks[index].clone(),
            ..extent
        });
        Ok(extents.collect())
    }
}
