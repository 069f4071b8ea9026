//! Client sessions.
//!
//! ```text
//! family session   key session u64 → SessionRecord
//! ```

use cairn_common::{envelope::Record, ids::SessionId};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

/// A session alive.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SessionRecord {
    /// Every chunk with a smaller counter is committed or given up.
    #[prost(uint64, tag = "1")]
    pub(crate) settled_below: u64,
    /// No read of the session, running or to come, uses state older than this log index.
    #[prost(uint64, tag = "2")]
    pub(crate) reads_from: u64,
    /// Replies below this sequence are forgotten.
    #[prost(uint64, tag = "3")]
    pub(crate) answered_below: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) opened_ms: u64,
    /// Whether it is a mount's.
    #[prost(bool, tag = "20")]
    pub(crate) mounts: bool,
    /// Of a mount: files that lost their last name up to this log index were compared with its open ones.
    #[prost(uint64, tag = "21")]
    pub(crate) orphans_seen: u64,
    /// No command with a larger sequence has been applied: there is no reply to look for.
    #[prost(uint64, tag = "5")]
    pub(crate) newest_sequence: u64,
    /// No chunk with a larger counter has been committed: there is no record to look for.
    #[prost(uint64, tag = "6")]
    pub(crate) newest_chunk: u64,
}

impl Record for SessionRecord {
    const VERSION: u8 = 1;
}

pub(crate) fn key(session: SessionId) -> Vec<u8> {
    KeyWriter::new().u64(session.value()).finish()
}

/// A session for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    KeyReader::new(key).u64("session")?.with::<SessionRecord>(value)
}
