//! Directory entries.
//!
//! ```text
//! family dentry   key bucket u64 | parent inode u64 | component → DentryRecord
//! ```
//!
//! The component of a sub-directory carries a trailing `/`, the component of the key `d/` within `d/` is empty; so an
//! in-order walk of a directory and its sub-directories is the byte order of keys. The empty-named child leads to a body
//! that was put under `d/`, or to the directory itself where a mount made it explicit.

use cairn_common::{
    envelope::Record,
    ids::{BucketId, InodeId},
};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    inode::InodeKind,
    key::KeyWriter,
};

/// What a name stands for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DentryRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) inode: u64,
    /// What the inode is, where the component does not say it: unspecified for regular files and for sub-directories, which
    /// need no byte for it; `Directory` for the empty-named child where no body of its own was put under the key `d/`.
    #[prost(enumeration = "InodeKind", tag = "2")]
    pub(crate) kind: i32,
}

impl Record for DentryRecord {
    const VERSION: u8 = 1;
}

/// Bytes of a key in front of the component.
pub(crate) const PREFIX_LEN: usize = 16;

pub(crate) fn key(bucket: BucketId, parent: InodeId, component: &[u8]) -> Vec<u8> {
    KeyWriter::new().u64(bucket.value()).u64(parent.value()).tail(component)
}

/// Whether a component names a sub-directory.
pub(crate) fn is_directory(component: &[u8]) -> bool {
    component.ends_with(b"/")
}

/// A name for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let key = KeyReader::new(key).u64("bucket")?.u64("parent")?.name("component");
    key.with::<DentryRecord>(value)
}
