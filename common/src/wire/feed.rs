//! The change feed of a bucket: what changed, in the order in which it did.
//!
//! Invariant: positions only grow; a reader that goes on from the position it was given misses nothing, or is told that what
//! follows is gone and that it must start anew.

use bytes::Bytes;
use prost::Message;

/// A place in a feed: behind every change of a smaller or equal position. A state that was read at log index X is followed
/// by what lies behind (X, `u32::MAX`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct FeedPosition {
    /// Log index of the entry.
    #[prost(uint64, tag = "1")]
    pub log_index: u64,
    /// Number of the change within its entry.
    #[prost(uint32, tag = "2")]
    pub number: u32,
}

/// A page of a bucket's changes. Refused with [`super::command::ErrorCode::FeedTrimmed`] where changes behind the position
/// are gone, and where the bucket keeps no feed: the reader reads the state anew and goes on from there.
#[derive(Clone, PartialEq, Message)]
pub struct FeedQuery {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket_id: u64,
    /// Only changes behind this position.
    #[prost(message, optional, tag = "2")]
    pub after: Option<FeedPosition>,
    /// Changes at most.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
}

/// A page of changes.
#[derive(Clone, PartialEq, Message)]
pub struct FeedPage {
    /// The changes, oldest first.
    #[prost(message, repeated, tag = "1")]
    pub changes: Vec<FeedChange>,
    /// Where to go on: the position of the last change of the page, or the one asked for.
    #[prost(message, optional, tag = "2")]
    pub next: Option<FeedPosition>,
    /// Whether more changes follow now.
    #[prost(bool, tag = "3")]
    pub more: bool,
}

/// One change.
#[derive(Clone, PartialEq, Message)]
pub struct FeedChange {
    /// Its position.
    #[prost(message, optional, tag = "1")]
    pub position: Option<FeedPosition>,
    /// When, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub time_ms: u64,
    /// What changed.
    #[prost(message, optional, tag = "3")]
    pub change: Option<Change>,
}

/// What changed.
#[derive(Clone, PartialEq, Message)]
pub struct Change {
    /// How.
    #[prost(enumeration = "ChangeKind", tag = "1")]
    pub kind: i32,
    /// The inode that it is about.
    #[prost(uint64, tag = "2")]
    pub inode: u64,
    /// Of names: the directory.
    #[prost(uint64, tag = "3")]
    pub parent: u64,
    /// Of names: the component, with a trailing `/` for a directory's.
    #[prost(bytes = "bytes", tag = "4")]
    pub component: Bytes,
    /// Of a renamed one: the directory it went to.
    #[prost(uint64, tag = "5")]
    pub to_parent: u64,
    /// Of a renamed one: its component there.
    #[prost(bytes = "bytes", tag = "6")]
    pub to_component: Bytes,
    /// Of an entered or renamed name: the inode that stood there before; 0 for none.
    #[prost(uint64, tag = "7")]
    pub replaced: u64,
    /// The whole key, where the change came by key.
    #[prost(bytes = "bytes", tag = "8")]
    pub key: Bytes,
}

/// How something changed. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ChangeKind {
    /// Not a kind.
    Unspecified = 0,
    /// A name was entered, or stands for another inode.
    Entered = 1,
    /// A name was removed.
    Removed = 2,
    /// A name was moved.
    Renamed = 3,
    /// An inode's attributes changed.
    Attributes = 4,
    /// An inode's data changed in place.
    Data = 5,
}
