//! Replies kept so that a command sent again gets its first answer.
//!
//! ```text
//! family reply   key session u64 | block u16 → ReplyBlock      block = (sequence / 64) modulo the window's blocks
//! ```
//!
//! A ring of blocks for each session: the commands of a session that come at the same time have numbers near each other, so
//! an entry writes one or two blocks for it, however many commands it brings. A block that is written again loses the replies
//! that its session has received.

use cairn_common::{envelope::Record, ids::SessionId, limits::REPLY_WINDOW_MAX, wire::command::WriteReply};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

/// Commands of a session whose replies share a block.
const BLOCK_REPLIES: usize = 64;

/// Blocks of a session at most.
pub(crate) const BLOCKS_MAX: usize = REPLY_WINDOW_MAX / BLOCK_REPLIES;

const _: () = assert!(BLOCKS_MAX * BLOCK_REPLIES == REPLY_WINDOW_MAX && BLOCKS_MAX <= 1 << 16);

/// The replies of a block, in no order.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReplyBlock {
    #[prost(message, repeated, tag = "1")]
    pub(crate) replies: Vec<KeptReply>,
}

/// A reply, and which command of the session it answers.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptReply {
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    #[prost(message, required, tag = "2")]
    pub(crate) reply: WriteReply,
}

impl Record for ReplyBlock {
    const VERSION: u8 = 1;
}

/// The block of a command.
pub(crate) fn block_of(sequence: u64) -> u16 {
    let block = sequence / BLOCK_REPLIES as u64 % BLOCKS_MAX as u64;
    u16::try_from(block).expect("there are fewer blocks")
}

pub(crate) fn key(session: SessionId, block: u16) -> Vec<u8> {
    KeyWriter::new().u64(session.value()).u16(block).finish()
}

/// What all keys of a session start with.
pub(crate) fn prefix(session: SessionId) -> Vec<u8> {
    KeyWriter::new().u64(session.value()).finish()
}

/// A block of kept replies for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    KeyReader::new(key)
        .u64("session")?
        .u16("block")?
        .with::<ReplyBlock>(value)
}
