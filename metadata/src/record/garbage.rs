//! What is to be released: bodies that no name leads to, parts that no object took, chunks that no extent refers to.
//!
//! ```text
//! family garbage   key 01 | log index u64 | number u32 → ReleaseRecord     in the order in which it became garbage
//!                  key 02 | chunk id 16                → empty             waits for its shards to be deleted
//!                  key 03 | bucket u64 | inode u64     → ReleaseRecord     an inode that a mount session holds open
//! ```

use bytes::Bytes;
use cairn_common::{
    envelope::Record,
    ids::{BucketId, ChunkId, InodeId},
};
use prost::{Message, Oneof};

use super::{
    description::{Description, KeyReader, Unreadable},
    key::{KeyWriter, u64_at},
};

/// One entry of the release queue.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReleaseRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) bucket: u64,
    #[prost(oneof = "Release", tags = "2, 3, 4, 5, 6, 20, 21")]
    pub(crate) release: Option<Release>,
}

impl Record for ReleaseRecord {
    const VERSION: u8 = 1;
}

/// What an entry releases.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Release {
    /// A body: its extents, its parts, then its inode record.
    #[prost(uint64, tag = "2")]
    Inode(u64),
    /// All parts of an upload.
    #[prost(uint64, tag = "3")]
    Upload(u64),
    /// The parts of a completed upload that its object did not take.
    #[prost(message, tag = "4")]
    Unselected(Unselected),
    /// Chunks of a part that was replaced.
    #[prost(message, tag = "5")]
    Chunks(Chunks),
    /// Locks of a session that has ended.
    #[prost(uint64, tag = "20")]
    Locks(u64),
    /// What the bucket's feed no longer keeps.
    #[prost(bool, tag = "21")]
    Feed(bool),
    /// What a truncation cut off.
    #[prost(message, tag = "6")]
    Cut(Cut),
}

/// What the truncation of `inode` at `generation` cut off.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Cut {
    #[prost(uint64, tag = "1")]
    pub(crate) inode: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) generation: u64,
    /// Extents that end here or before are done.
    #[prost(uint64, tag = "3")]
    pub(crate) done_to: u64,
}

/// The parts of `upload` that the manifest of `inode` does not name.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Unselected {
    #[prost(uint64, tag = "1")]
    pub(crate) upload: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) inode: u64,
    /// Parts up to this number are done.
    #[prost(uint32, tag = "3")]
    pub(crate) done_to: u32,
}

/// Chunk ids, each standing for one reference.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Chunks {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(crate) ids: Vec<Bytes>,
}

/// The first byte of the release queue's keys.
pub(crate) const QUEUE_PREFIX: u8 = 1;

/// The first byte of garbage chunks' keys.
pub(crate) const CHUNK_PREFIX: u8 = 2;

/// The first byte of the keys of inodes that are held open.
pub(crate) const HELD_PREFIX: u8 = 3;

pub(crate) fn held_key(bucket: BucketId, inode: InodeId) -> Vec<u8> {
    KeyWriter::new()
        .u8(HELD_PREFIX)
        .u64(bucket.value())
        .u64(inode.value())
        .finish()
}

pub(crate) fn queue_key(log_index: u64, number: u32) -> Vec<u8> {
    KeyWriter::new().u8(QUEUE_PREFIX).u64(log_index).u32(number).finish()
}

/// The log index at which a queue entry became garbage.
pub(crate) fn queued_at(key: &[u8]) -> Option<u64> {
    (key.first() == Some(&QUEUE_PREFIX)).then(|| u64_at(key, 1))?
}

/// Whether a key is that of an inode that is held open.
pub(crate) fn is_held_key(key: &[u8]) -> bool {
    key.first() == Some(&HELD_PREFIX)
}

pub(crate) fn chunk_key(id: ChunkId) -> Vec<u8> {
    KeyWriter::new().u8(CHUNK_PREFIX).tail(&id.to_bytes())
}

/// The chunk id in a garbage chunk's key.
pub(crate) fn chunk_of(key: &[u8]) -> Option<ChunkId> {
    ChunkId::from_bytes(key.strip_prefix(&[CHUNK_PREFIX])?)
}

/// An entry of the queue, or a chunk to be deleted, for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let mut key = KeyReader::new(key);
    match key.tag()? {
        QUEUE_PREFIX => key.u64("index")?.u32("number")?.with::<ReleaseRecord>(value),
        HELD_PREFIX => key.u64("bucket")?.u64("inode")?.with::<ReleaseRecord>(value),
        CHUNK_PREFIX if value.is_empty() => key.chunk_id()?.with_text("shards to be deleted".to_owned()),
        CHUNK_PREFIX => Err(Unreadable(
            "a garbage chunk with a value, which should be empty".to_owned(),
        )),
        tag => Err(Unreadable(format!("a key of unknown kind {tag}"))),
    }
}
