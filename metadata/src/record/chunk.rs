//! Committed chunks.
//!
//! ```text
//! family chunk   key placement hash u64 | chunk id 16 → ChunkRecord
//! ```
//!
//! Keyed by placement hash first, so that a placement group is one key range.

use cairn_common::{envelope::Record, ids::ChunkId, wire::object::Chunk};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

/// A chunk and how many extents refer to it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChunkRecord {
    #[prost(message, optional, tag = "1")]
    pub(crate) chunk: Option<Chunk>,
    /// Extents that refer to it; 0 for garbage that waits for its shards to be deleted.
    #[prost(uint64, tag = "2")]
    pub(crate) references: u64,
}

impl Record for ChunkRecord {
    const VERSION: u8 = 1;
}

pub(crate) fn key(id: ChunkId) -> Vec<u8> {
    KeyWriter::new().u64(id.placement_hash().value()).tail(&id.to_bytes())
}

/// A chunk's record for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let key = KeyReader::new(key).u64("placement")?.chunk_id()?;
    key.with::<ChunkRecord>(value)
}
