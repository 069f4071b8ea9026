//! Buckets, by name and by number.
//!
//! ```text
//! family bucket   key 00 | bucket u64 → BucketRecord      key 01 | name → BucketName
//!                 key 02 | bucket u64 | name → DocumentRecord
//! ```

use bytes::Bytes;
use cairn_common::{envelope::Record, ids::BucketId, wire::query::BucketSettings};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::{KeyWriter, u64_at},
};

/// A bucket.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BucketRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint64, tag = "2")]
    pub(crate) created_ms: u64,
    #[prost(uint32, tag = "3")]
    pub(crate) data_shards: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) parity_shards: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) chunk_size_bytes: u32,
    /// Number of the inode made last.
    #[prost(uint64, tag = "6")]
    pub(crate) last_inode: u64,
    /// Number of the upload started last.
    #[prost(uint64, tag = "7")]
    pub(crate) last_upload: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) objects: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) object_bytes: u64,
    /// Uploads under way.
    #[prost(uint64, tag = "10")]
    pub(crate) uploads: u64,
    /// Bytes of their parts.
    #[prost(uint64, tag = "11")]
    pub(crate) upload_bytes: u64,
    #[prost(message, optional, tag = "12")]
    pub(crate) settings: Option<BucketSettings>,
    /// Inodes that have a name, the root included.
    #[prost(uint64, tag = "20")]
    pub(crate) inodes: u64,
}

impl Record for BucketRecord {
    const VERSION: u8 = 1;
}

/// Which bucket has a name.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BucketName {
    #[prost(uint64, tag = "1")]
    pub(crate) bucket: u64,
}

impl Record for BucketName {
    const VERSION: u8 = 1;
}

/// A named settings document of a bucket.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DocumentRecord {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) content: Bytes,
    #[prost(uint64, tag = "2")]
    pub(crate) modified_ms: u64,
}

impl Record for DocumentRecord {
    const VERSION: u8 = 1;
}

pub(crate) fn key(bucket: BucketId) -> Vec<u8> {
    KeyWriter::new().u8(0).u64(bucket.value()).finish()
}

/// The first bytes of the keys of all buckets.
pub(crate) fn key_prefix() -> Vec<u8> {
    KeyWriter::new().u8(0).finish()
}

/// The bucket in a key.
pub(crate) fn id_of(key: &[u8]) -> Option<BucketId> {
    u64_at(key, 1).map(BucketId::new)
}

pub(crate) fn name_key(name: &str) -> Vec<u8> {
    KeyWriter::new().u8(1).tail(name.as_bytes())
}

/// The name in a name key.
pub(crate) fn is_name_key(key: &[u8]) -> bool {
    key.first() == Some(&1)
}

/// Whether a key is that of a settings document.
pub(crate) fn is_document_key(key: &[u8]) -> bool {
    key.first() == Some(&2)
}

pub(crate) fn document_key(bucket: BucketId, name: &str) -> Vec<u8> {
    KeyWriter::new().u8(2).u64(bucket.value()).tail(name.as_bytes())
}

/// The name in a document's key.
pub(crate) fn document_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(9..)?).ok()
}

/// A bucket's record for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let mut key = KeyReader::new(key);
    match key.tag()? {
        0 => key.u64("bucket")?.with::<BucketRecord>(value),
        1 => key.name("name").with::<BucketName>(value),
        2 => key.u64("bucket")?.name("document").with::<DocumentRecord>(value),
        tag => Err(Unreadable(format!("a key of unknown kind {tag}"))),
    }
}
