//! Extended attributes.
//!
//! ```text
//! family xattr   key bucket u64 | inode u64 | name → XattrRecord
//! ```

use bytes::Bytes;
use cairn_common::{
    envelope::Record,
    ids::{BucketId, InodeId},
};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

/// The value of an extended attribute.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct XattrRecord {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) value: Bytes,
}

impl Record for XattrRecord {
    const VERSION: u8 = 1;
}

/// Bytes of a key in front of the name.
pub(crate) const PREFIX_LEN: usize = 16;

pub(crate) fn key(bucket: BucketId, inode: InodeId, name: &[u8]) -> Vec<u8> {
    KeyWriter::new().u64(bucket.value()).u64(inode.value()).tail(name)
}

/// An extended attribute for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let key = KeyReader::new(key).u64("bucket")?.u64("inode")?.name("name");
    key.with::<XattrRecord>(value)
}
