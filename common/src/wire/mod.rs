//! The shapes of messages: what clients, metadata servers and chunkservers say to each other.
//!
//! All are protobuf messages by `prost` derive. Invariant: a tag, once used, keeps its meaning for ever; a field that goes
//! leaves its tag reserved by a comment. Bulk bytes follow a message raw and are never a field of one.

pub mod about;
pub mod account;
pub mod authority;
pub mod checkpoint;
pub mod chunk;
pub mod command;
pub mod failure;
pub mod feed;
pub mod file;
pub mod gathered;
pub mod group;
pub mod head;
pub mod inventory;
pub mod kind;
pub mod lease;
pub mod lock;
pub mod map;
pub mod node;
pub mod object;
pub mod query;
pub mod raft;
pub mod recode;
pub mod role;
pub mod server;
pub mod shard;

#[cfg(test)]
mod samples;
