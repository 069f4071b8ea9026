//! The repair queue: chunks that are not as they should be, the most urgent first.
//!
//! ```text
//! family repair   key priority u8 | placement hash u64 | chunk id 16 → empty
//! ```
//!
//! What is wrong stands in the chunk's record alone.

use cairn_common::ids::ChunkId;

use super::{
    chunk,
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

pub(crate) fn key(priority: u8, id: ChunkId) -> Vec<u8> {
    KeyWriter::new().u8(priority).tail(&chunk::key(id))
}

/// Priority and chunk id in a key.
pub(crate) fn parts_of(key: &[u8]) -> Option<(u8, ChunkId)> {
    let (priority, rest) = key.split_first()?;
    Some((*priority, chunk::id_of(rest)?))
}

/// An entry of the repair queue for a person.
pub(crate) fn describe(key: &[u8]) -> Result<Description, Unreadable> {
    let mut key = KeyReader::new(key);
    let priority = key.tag()?;
    key.u64("placement")?
        .chunk_id()?
        .with_text(format!("priority {priority}"))
}
