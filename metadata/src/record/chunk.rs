//! Committed chunks.
//!
//! ```text
//! family chunk   key placement hash u64 | chunk id 16 → ChunkRecord
//! ```
//!
//! Keyed by placement hash first, so that a placement group is one key range.

use cairn_common::{
    envelope::Record,
    ids::{ChunkId, PlacementGroup},
    wire::object::Chunk,
};
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
    /// Whether the explicit devices are those of a former row, or of a repair, and the shards are to move to the row in force;
    /// otherwise the writer chose them.
    #[prost(bool, tag = "3")]
    pub(crate) displaced: bool,
}

impl Record for ChunkRecord {
    const VERSION: u8 = 1;
}

pub(crate) fn key(id: ChunkId) -> Vec<u8> {
    KeyWriter::new().u64(id.placement_hash().value()).tail(&id.to_bytes())
}

/// Bytes of a key in front of the chunk id.
const PREFIX_LEN: usize = 8;

/// The chunk id in a key.
pub(crate) fn id_of(key: &[u8]) -> Option<ChunkId> {
    ChunkId::from_bytes(key.get(PREFIX_LEN..)?)
}

/// The first bytes of the least key of a placement group.
pub(crate) fn group_start(group: PlacementGroup, group_bits: u32) -> Vec<u8> {
    let shift = u64::BITS.saturating_sub(group_bits);
    let first = (group.index() as u64).checked_shl(shift).unwrap_or(0);
    KeyWriter::new().u64(first).finish()
}

/// A chunk's record for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let key = KeyReader::new(key).u64("placement")?.chunk_id()?;
    key.with::<ChunkRecord>(value)
}
