//! Replies kept so that a command sent again gets its first answer.
//!
//! ```text
//! family reply   key session u64 | sequence u64 → WriteReply
//! ```

use cairn_common::ids::SessionId;

use super::key::KeyWriter;

pub(crate) fn key(session: SessionId, sequence: u64) -> Vec<u8> {
    KeyWriter::new().u64(session.value()).u64(sequence).finish()
}
