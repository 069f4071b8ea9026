//! Locks of files: whole-file locks (`flock`) and byte-range locks (`fcntl`), each kind apart, as on Linux.
//!
//! A lock belongs to an owner of a session and goes with either. Invariant: no command waits: a lock that conflicts with
//! another's is not granted, and the answer names one that stands in the way.

use prost::{Message, Oneof};

/// A change of locks. Numbered: it happens exactly once, on behalf of the session that sends it.
#[derive(Clone, PartialEq, Message)]
pub struct LockCommand {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket_id: u64,
    /// The inode: a file or a directory.
    #[prost(uint64, tag = "2")]
    pub inode: u64,
    /// What is to change.
    #[prost(oneof = "LockAction", tags = "10, 11")]
    pub action: Option<LockAction>,
}

/// A change of locks.
#[derive(Clone, PartialEq, Oneof)]
pub enum LockAction {
    /// Sets a lock in place of what the owner held of the same range: takes, upgrades or downgrades it, all or nothing.
    #[prost(message, tag = "10")]
    Set(LockRange),
    /// Releases what the owner holds of a range; `exclusive` and `pid` mean nothing then.
    #[prost(message, tag = "11")]
    Release(LockRange),
}

/// A lock that is wanted, or a range that is to be free of the owner's.
#[derive(Clone, PartialEq, Message)]
pub struct LockRange {
    /// Which kind of lock.
    #[prost(enumeration = "LockKind", tag = "1")]
    pub kind: i32,
    /// Who holds it within the session: an open file for [`LockKind::WholeFile`], a process's table of files for
    /// [`LockKind::Range`].
    #[prost(uint64, tag = "2")]
    pub owner: u64,
    /// The process, as `F_GETLK` tells others.
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    /// Whether nobody else may hold a lock of the range; shared otherwise.
    #[prost(bool, tag = "4")]
    pub exclusive: bool,
    /// First byte; 0 for whole-file locks.
    #[prost(uint64, tag = "5")]
    pub first: u64,
    /// Last byte, itself included; `u64::MAX` for all to come, and for whole-file locks.
    #[prost(uint64, tag = "6")]
    pub last: u64,
}

/// Kinds of locks. They do not see each other. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum LockKind {
    /// Not a kind; a lock without one is malformed.
    Unspecified = 0,
    /// `flock`.
    WholeFile = 1,
    /// `fcntl`.
    Range = 2,
}

impl LockCommand {
    /// Whether the command adds records.
    pub const fn adds_data(&self) -> bool {
        match &self.action {
            Some(LockAction::Set(_)) => true,
            None | Some(LockAction::Release(_)) => false,
        }
    }
}

/// What a lock command came to.
#[derive(Clone, PartialEq, Message)]
pub struct LockOutcome {
    /// The lock that stands in the way; nothing was changed then. Where there is none, it was done.
    #[prost(message, optional, tag = "1")]
    pub conflict: Option<HeldLock>,
}

/// A lock that someone holds.
#[derive(Clone, PartialEq, Message)]
pub struct HeldLock {
    /// The session.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// The lock.
    #[prost(message, optional, tag = "2")]
    pub lock: Option<LockRange>,
}

/// A question about locks.
#[derive(Clone, PartialEq, Message)]
pub struct LockQuery {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket_id: u64,
    /// The inode.
    #[prost(uint64, tag = "2")]
    pub inode: u64,
    /// What is asked.
    #[prost(oneof = "LockQuestion", tags = "10, 11")]
    pub question: Option<LockQuestion>,
}

/// A question about locks.
#[derive(Clone, PartialEq, Oneof)]
pub enum LockQuestion {
    /// Which lock would stand in the way of this one, the owner's own not counted (`F_GETLK`).
    #[prost(message, tag = "10")]
    Test(HeldLock),
    /// A page of the inode's locks.
    #[prost(message, tag = "11")]
    Page(LockPageQuery),
}

/// A page of an inode's locks, in order of (kind, first byte, session, owner).
#[derive(Clone, PartialEq, Message)]
pub struct LockPageQuery {
    /// Only locks behind this one, as a page gave it; none for the first page.
    #[prost(message, optional, tag = "1")]
    pub after: Option<HeldLock>,
    /// Locks at most.
    #[prost(uint32, tag = "2")]
    pub limit: u32,
}

/// The answer to a question about locks.
#[derive(Clone, PartialEq, Message)]
pub struct LockAnswer {
    /// The lock in the way (one at most), or the page.
    #[prost(message, repeated, tag = "1")]
    pub locks: Vec<HeldLock>,
    /// Whether more follow the page.
    #[prost(bool, tag = "2")]
    pub more: bool,
}
