//! Replies kept so that a command sent again gets its first answer.
//!
//! ```text
//! family reply   key session u64 | sequence u64 → WriteReply
//! ```

use cairn_common::{ids::SessionId, wire::command::WriteReply};

use super::{
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

pub(crate) fn key(session: SessionId, sequence: u64) -> Vec<u8> {
    KeyWriter::new().u64(session.value()).u64(sequence).finish()
}

/// A kept reply for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    KeyReader::new(key)
        .u64("session")?
        .u64("sequence")?
        .with::<WriteReply>(value)
}
