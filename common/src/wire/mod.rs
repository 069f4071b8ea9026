//! The shapes of messages: what clients, metadata servers and chunkservers say to each other.
//!
//! All are protobuf messages by `prost` derive. Invariant: a tag, once used, keeps its meaning for ever; a field that goes
//! leaves its tag reserved by a comment. Bulk bytes follow a message raw and are never a field of one.

pub mod checkpoint;
pub mod command;
pub mod failure;
pub mod head;
pub mod kind;
pub mod map;
pub mod node;
pub mod object;
pub mod query;
pub mod role;
pub mod shard;

#[cfg(test)]
mod samples;
