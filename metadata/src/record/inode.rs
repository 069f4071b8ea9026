//! Inodes: object bodies and directories.
//!
//! ```text
//! family inode   key bucket u64 | inode u64 → InodeRecord
//! ```

use bytes::Bytes;
use cairn_common::{
    envelope::Record,
    ids::{BucketId, InodeId},
    wire::object::ObjectAttributes,
};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    extent::ExtentRecord,
    key::KeyWriter,
};

/// A body with its attributes, or a directory.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InodeRecord {
    #[prost(enumeration = "InodeKind", tag = "1")]
    pub(crate) kind: i32,
    /// When it was committed, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub(crate) modified_ms: u64,
    /// Bytes of the body.
    #[prost(uint64, tag = "3")]
    pub(crate) size: u64,
    #[prost(message, optional, tag = "4")]
    pub(crate) attributes: Option<ObjectAttributes>,
    /// The whole body, where it is small.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) inline: Bytes,
    /// The first extents.
    #[prost(message, repeated, tag = "6")]
    pub(crate) extents: Vec<ExtentRecord>,
    /// Whether more extents have records of their own.
    #[prost(bool, tag = "7")]
    pub(crate) more_extents: bool,
    /// The upload whose parts are the body; 0 for none.
    #[prost(uint64, tag = "8")]
    pub(crate) upload: u64,
    /// Entries of a directory.
    #[prost(uint64, tag = "9")]
    pub(crate) children: u64,
    /// The directory that a directory lies in.
    #[prost(uint64, tag = "10")]
    pub(crate) parent: u64,
}

impl Record for InodeRecord {
    const VERSION: u8 = 1;
}

/// What an inode is. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum InodeKind {
    Unspecified = 0,
    File = 1,
    Directory = 2,
}

pub(crate) fn key(bucket: BucketId, inode: InodeId) -> Vec<u8> {
    KeyWriter::new().u64(bucket.value()).u64(inode.value()).finish()
}

/// An inode for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    KeyReader::new(key)
        .u64("bucket")?
        .u64("inode")?
        .with::<InodeRecord>(value)
}
