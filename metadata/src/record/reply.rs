//! Replies kept so that a command sent again gets its first answer.
//!
//! ```text
//! family reply   key session u64 | slot u16 → ReplyRecord      slot = sequence modulo the reply window
//! ```
//!
//! A ring for each session: a command takes the slot of one that was sent a whole window earlier and whose answer was
//! received. So no reply is ever deleted but with its session.

use cairn_common::{envelope::Record, ids::SessionId, limits::REPLY_WINDOW_MAX, wire::command::WriteReply};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

const _: () = assert!(REPLY_WINDOW_MAX <= 1 << 16);

/// A reply, and which command of the session it answers.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReplyRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    #[prost(message, required, tag = "2")]
    pub(crate) reply: WriteReply,
}

impl Record for ReplyRecord {
    const VERSION: u8 = 1;
}

pub(crate) fn key(session: SessionId, sequence: u64) -> Vec<u8> {
    let slot = sequence % REPLY_WINDOW_MAX as u64;
    KeyWriter::new().u64(session.value()).u16(slot as u16).finish()
}

/// A kept reply for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    KeyReader::new(key)
        .u64("session")?
        .u16("slot")?
        .with::<ReplyRecord>(value)
}
