//! The records of the namespace: one file for each kind, with its key, its value and the bytes of both.
//!
//! Numbers in keys are big-endian, so that byte order is number order. Values are protobuf messages in the envelope of
//! `cairn_common::envelope`. Invariant: a key, once written by a release, keeps its form; a value's tags keep their meaning.

pub(crate) mod authority;
pub(crate) mod bucket;
pub(crate) mod chunk;
pub(crate) mod dentry;
pub(crate) mod description;
pub(crate) mod extent;
pub(crate) mod feed;
pub(crate) mod garbage;
pub(crate) mod hold;
pub(crate) mod inode;
pub(crate) mod key;
pub(crate) mod lock;
pub(crate) mod loss;
pub(crate) mod part;
pub(crate) mod recode;
pub(crate) mod repair;
pub(crate) mod reply;
pub(crate) mod row;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod system;
pub(crate) mod upload;
pub(crate) mod user;
pub(crate) mod xattr;

#[cfg(test)]
mod samples;
