//! Chunks that are coded anew, because their bucket wants another redundancy than they have.
//!
//! Invariant: the new chunk has a new id and the same bytes; what referred to the old one refers to the new one from one entry on,
//! and the old one is deleted like any other that nothing refers to.

use bytes::Bytes;
use prost::Message;

use super::{chunk::ChunkInfo, map::DeviceMessage, object::Chunk, server::ServerAddress};
use crate::envelope::Record;

/// A bucket that may hold chunks of another redundancy than it wants. It is stored as it is sent.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct RecodeMark {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket: u64,
    /// Log index of what came last that may have left such chunks.
    #[prost(uint64, tag = "2")]
    pub marked_at: u64,
}

impl Record for RecodeMark {
    const VERSION: u8 = 1;
}

/// Asks which buckets are marked.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct MarksQuery {}

/// The answer to a [`MarksQuery`].
#[derive(Clone, PartialEq, Message)]
pub struct RecodeMarks {
    /// The buckets.
    #[prost(message, repeated, tag = "1")]
    pub marks: Vec<RecodeMark>,
}

/// Asks for chunks of a bucket that have another redundancy than it wants.
#[derive(Clone, PartialEq, Message)]
pub struct RecodesQuery {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket: u64,
    /// Where to go on, as the page before said; empty for the start.
    #[prost(bytes = "bytes", tag = "2")]
    pub from: Bytes,
    /// Records with extents that are looked at, at most.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
}

/// The answer to a [`RecodesQuery`].
#[derive(Clone, PartialEq, Message)]
pub struct RecodesPage {
    /// Chunks to be coded anew, once for each record that refers to them.
    #[prost(message, repeated, tag = "1")]
    pub recodes: Vec<Recode>,
    /// Where to go on; empty at the end.
    #[prost(bytes = "bytes", tag = "2")]
    pub next_from: Bytes,
}

/// A chunk to be coded anew, and one record whose extents refer to it.
#[derive(Clone, PartialEq, Message)]
pub struct Recode {
    /// The record: its family and its key.
    #[prost(bytes = "bytes", tag = "1")]
    pub record: Bytes,
    /// The chunk.
    #[prost(message, optional, tag = "2")]
    pub chunk: Option<ChunkInfo>,
    /// Data shards that the bucket wants it to have.
    #[prost(uint32, tag = "3")]
    pub data_shards: u32,
    /// Parity shards, or copies beyond the first.
    #[prost(uint32, tag = "4")]
    pub parity_shards: u32,
}

/// Lets the extents of some records that refer to a chunk refer to another one of the same bytes. It changes nothing where none does.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkRecoded {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket: u64,
    /// The records, as the page named them.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub records: Vec<Bytes>,
    /// The chunk that they refer to, 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub old_chunk_id: Bytes,
    /// The chunk that takes its place: one of the session that is to be committed, or one that was committed for another record.
    #[prost(message, optional, tag = "4")]
    pub chunk: Option<Chunk>,
    /// The session of the new chunk.
    #[prost(uint64, tag = "5")]
    pub session: u64,
}

/// Asks a chunkserver to read a chunk, and to store its bytes as another one.
#[derive(Clone, PartialEq, Message)]
pub struct RecodeChunk {
    /// The chunk, with the devices that hold its shards, and the shards that are missing there.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Chunk>,
    /// Id of the new chunk, 16 bytes, never used before.
    #[prost(bytes = "bytes", tag = "2")]
    pub chunk_id: Bytes,
    /// Its data shards; 1 for copies.
    #[prost(uint32, tag = "3")]
    pub data_shards: u32,
    /// Its parity shards, or copies beyond the first.
    #[prost(uint32, tag = "4")]
    pub parity_shards: u32,
    /// Its row in the map of `epoch`.
    #[prost(uint32, repeated, tag = "5")]
    pub row: Vec<u32>,
    /// The devices that are named here, as far as that map knows them.
    #[prost(message, repeated, tag = "6")]
    pub devices: Vec<DeviceMessage>,
    /// Where their servers are called.
    #[prost(message, repeated, tag = "7")]
    pub servers: Vec<ServerAddress>,
    /// The map in force.
    #[prost(uint64, tag = "8")]
    pub epoch: u64,
    /// MiB a second that the server may read for such work; 0 leaves it to the server.
    #[prost(uint32, tag = "9")]
    pub rate_mib: u32,
}

/// All shards of the new chunk are synced.
#[derive(Clone, PartialEq, Message)]
pub struct RecodeChunkReply {
    /// The new chunk.
    #[prost(message, optional, tag = "1")]
    pub chunk: Option<Chunk>,
}
