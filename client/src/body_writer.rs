//! Bytes on their way in: gathered inline or cut into chunks, each stored while the next is received.
//!
//! Invariant: `finish` returns only after every chunk is durable with its full redundancy. Memory per body is at most the
//! chunk being filled and [`limits::UPLOAD_PIPELINE_CHUNKS`] being stored, all of it out of the process-wide budget.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cairn_common::{
    limits,
    redundancy::Redundancy,
    wire::object::{Body, Chunk, Extent},
};
use cairn_datapath::{ChunkBuffer, WriteError};
use tokio::task::JoinSet;

use crate::{
    error::ClientError,
    metadata::Client,
    session::{Reservation, Session},
};

/// Takes the bytes of one object or part. Dropping it gives up what was stored.
pub struct BodyWriter {
    client: Client,
    reservation: Arc<Reservation>,
    redundancy: Redundancy,
    chunk_size: usize,
    inline: BytesMut,
    buffer: Option<ChunkBuffer>,
    storing: JoinSet<(usize, Result<Chunk, WriteError>)>,
    chunks: Vec<Option<Chunk>>,
    size: u64,
}

/// The bytes of one object or part, durable and ready to be committed. Dropping it gives them up.
#[derive(Debug)]
pub struct StoredBody {
    pub(crate) body: Body,
    pub(crate) reservation: Arc<Reservation>,
}

impl StoredBody {
    /// Bytes in all.
    pub const fn size(&self) -> u64 {
        self.body.size
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        self.reservation.session()
    }
}

impl Client {
    /// A writer for the bytes of one object or part of `bucket`.
    pub async fn body_writer(&self, bucket: &str) -> Result<BodyWriter, ClientError> {
        let info = self.cached_bucket(bucket).await?;
        let redundancy = Redundancy::erasure_coded(info.data_shards as usize, info.parity_shards as usize)
            .map_err(|error| ClientError::Internal(error.to_string()))?;
        Ok(BodyWriter {
            client: self.clone(),
            reservation: Arc::new(Reservation::new(self.shared.session())),
            redundancy,
            chunk_size: (info.chunk_size_bytes as usize).clamp(limits::BLOCK_SIZE_BYTES, limits::CHUNK_SIZE_BYTES),
            inline: BytesMut::new(),
            buffer: None,
            storing: JoinSet::new(),
            chunks: Vec::new(),
            size: 0,
        })
    }
}

impl BodyWriter {
    /// Takes `bytes`. Waits for room in the budget and for earlier chunks, which slows the sender down.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ClientError> {
        self.size += bytes.len() as u64;
        if self.buffer.is_none() && self.chunks.is_empty() {
            if self.inline.len() + bytes.len() <= limits::INLINE_SIZE_BYTES {
                self.inline.extend_from_slice(&bytes);
                return Ok(());
            }
            let head = self.inline.split().freeze();
            self.fill(&head).await?;
        }
        self.fill(&bytes).await
    }

    async fn fill(&mut self, mut bytes: &[u8]) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            let mut buffer = match self.buffer.take() {
                Some(buffer) => buffer,
                None => {
                    self.client
                        .shared
                        .datapath
                        .budget()
                        .acquire(self.chunk_size, self.redundancy)
                        .await?
                }
            };
            let take = bytes.len().min(buffer.remaining());
            let (head, tail) = bytes.split_at(take);
            buffer.extend_from_slice(head).await?;
            bytes = tail;
            if buffer.remaining() == 0 {
                self.store(buffer).await?;
            } else {
                self.buffer = Some(buffer);
            }
        }
        Ok(())
    }

    /// Starts to store a chunk once fewer than the pipeline's number are under way.
    async fn store(&mut self, buffer: ChunkBuffer) -> Result<(), ClientError> {
        while self.storing.len() >= limits::UPLOAD_PIPELINE_CHUNKS {
            self.settle_one().await?;
        }
        let index = self.chunks.len();
        self.chunks.push(None);
        let datapath = self.client.shared.datapath.clone();
        let reservation = Arc::clone(&self.reservation);
        let redundancy = self.redundancy;
        self.storing.spawn(async move {
            (
                index,
                datapath.write_chunk(reservation.as_ref(), redundancy, buffer).await,
            )
        });
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), ClientError> {
        let Some(joined) = self.storing.join_next().await else {
            return Ok(());
        };
        let (index, stored) = joined.map_err(|error| ClientError::Internal(format!("storing a chunk: {error}")))?;
        self.chunks[index] = Some(stored?);
        Ok(())
    }

    /// Waits until all bytes are durable.
    pub async fn finish(mut self) -> Result<StoredBody, ClientError> {
        if let Some(buffer) = self.buffer.take() {
            self.store(buffer).await?;
        }
        while !self.storing.is_empty() {
            self.settle_one().await?;
        }
        let mut file_offset = 0;
        let extents = self.chunks.into_iter().flatten().map(|chunk| {
            let length = u64::from(chunk.length);
            let extent = Extent {
                file_offset,
                length,
                chunk_offset: 0,
                chunk: Some(chunk),
                inline: Bytes::new(),
            };
            file_offset += length;
            extent
        });
        let body = Body {
            extents: extents.collect(),
            size: self.size,
            inline: self.inline.freeze(),
        };
        Ok(StoredBody {
            body,
            reservation: self.reservation,
        })
    }
}
