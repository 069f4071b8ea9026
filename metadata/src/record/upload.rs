//! Multipart uploads under way.
//!
//! ```text
//! family upload   key bucket u64 | key, escaped | upload u64 → UploadRecord
//! ```

use bytes::Bytes;
use cairn_common::{
    envelope::Record,
    ids::{BucketId, UploadId},
    wire::object::ObjectAttributes,
};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

/// An upload.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UploadRecord {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(uint64, tag = "2")]
    pub(crate) upload: u64,
    #[prost(message, optional, tag = "3")]
    pub(crate) attributes: Option<ObjectAttributes>,
    /// Grows with each part put.
    #[prost(uint64, tag = "4")]
    pub(crate) revision: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) started_ms: u64,
}

impl Record for UploadRecord {
    const VERSION: u8 = 1;
}

pub(crate) fn key(bucket: BucketId, object_key: &[u8], upload: UploadId) -> Vec<u8> {
    KeyWriter::new()
        .u64(bucket.value())
        .bytes(object_key)
        .u64(upload.value())
        .finish()
}

/// The first bytes of the keys of a bucket's uploads.
pub(crate) fn bucket_prefix(bucket: BucketId) -> Vec<u8> {
    KeyWriter::new().u64(bucket.value()).finish()
}

/// The least key of an upload whose object key starts with `prefix`.
pub(crate) fn scan_start(bucket: BucketId, prefix: &[u8]) -> Vec<u8> {
    let mut start = KeyWriter::new().u64(bucket.value()).bytes(prefix).finish();
    start.truncate(start.len() - 2);
    start
}

/// An upload for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let key = KeyReader::new(key).u64("bucket")?.escaped("key")?.u64("upload")?;
    key.with::<UploadRecord>(value)
}
