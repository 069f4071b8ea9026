//! Leases of files: a mount may go by what it was told of an inode for as long as it holds a lease of it, and is told when the
//! inode has changed. A change is acknowledged only once every other mount that had a lease of what changed has let go of it, or
//! has not been heard of for the length of a lease.

use bytes::Bytes;
use prost::Message;

use super::file::{FileAttributes, FileId};

/// A mount asks what of its leases was recalled, and thereby renews them; answered when there is something, or after a while, and at
/// once where it begins. It says by the next one that it has let go.
#[derive(Clone, PartialEq, Message)]
pub struct LeasePoll {
    /// The mount's session.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// The term of the leader that gave the leases; 0 from one who holds none, and goes by nothing it was told before.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// It has let go of all that was recalled up to this number.
    #[prost(uint64, tag = "3")]
    pub released: u64,
    /// The Raft group that the leases are of.
    #[prost(uint32, tag = "4")]
    pub group: u32,
    /// How often the mount has begun to hold leases, this time counted: questions from before are not taken for later ones.
    #[prost(uint64, tag = "5")]
    pub begun: u64,
}

/// The answer to a mount that asks what was recalled.
#[derive(Clone, PartialEq, Message)]
pub struct LeaseNews {
    /// The term in which leases are given now. Where the mount named another, or none, it holds no leases.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// How long the leases are good, from when the question was sent, in milliseconds; 0 where the mount has lost them.
    #[prost(uint32, tag = "2")]
    pub length_ms: u32,
    /// Inodes that have changed, in the order of the recalls.
    #[prost(message, repeated, tag = "3")]
    pub recalled: Vec<FileId>,
    /// The number of the last of these recalls.
    #[prost(uint64, tag = "4")]
    pub newest: u64,
}

/// What a command of a mount has changed that the mount itself has a lease of. It keeps its lease.
#[derive(Clone, PartialEq, Message)]
pub struct OwnChange {
    /// The inode; where there is a name, the directory of it.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// The name that was entered or removed; empty where the inode itself changed.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
    /// The inode as it is now, where that is what changed and it is still there.
    #[prost(message, optional, tag = "3")]
    pub attributes: Option<FileAttributes>,
}
