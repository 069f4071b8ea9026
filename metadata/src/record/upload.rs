//! Multipart uploads under way.
//!
//! ```text
//! family upload   key bucket u64 | key, escaped | upload u64                       → UploadRecord
//!                 key ff×8 | bucket u64 | time of the last part u64 | upload u64  → UploadActivity
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
    key::{KeyWriter, u64_at},
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
    /// When its last part was put; 0 before the first.
    #[prost(uint64, tag = "6")]
    pub(crate) last_part_ms: u64,
    /// Bytes of its parts.
    #[prost(uint64, tag = "7")]
    pub(crate) bytes: u64,
}

impl UploadRecord {
    /// When someone last went on with it.
    pub(crate) fn active_ms(&self) -> u64 {
        self.started_ms.max(self.last_part_ms)
    }
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

/// An upload in the order in which uploads were last gone on with.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UploadActivity {
    /// The object's key.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
}

impl Record for UploadActivity {
    const VERSION: u8 = 1;
}

/// Stands for a bucket's number in front of all activity keys; no bucket has it.
const ACTIVITY: u64 = u64::MAX;

pub(crate) fn activity_key(bucket: BucketId, active_ms: u64, upload: UploadId) -> Vec<u8> {
    KeyWriter::new()
        .u64(ACTIVITY)
        .u64(bucket.value())
        .u64(active_ms)
        .u64(upload.value())
        .finish()
}

/// The first bytes of the activity keys of a bucket's uploads.
pub(crate) fn activity_prefix(bucket: BucketId) -> Vec<u8> {
    KeyWriter::new().u64(ACTIVITY).u64(bucket.value()).finish()
}

/// The time and the upload in an activity key.
pub(crate) fn activity_of(key: &[u8]) -> Option<(u64, UploadId)> {
    Some((u64_at(key, 16)?, UploadId::new(u64_at(key, 24)?)))
}

/// Whether a key is of the order in which uploads were gone on with.
pub(crate) fn is_activity(key: &[u8]) -> bool {
    u64_at(key, 0) == Some(ACTIVITY)
}

/// An upload, or its place in the order of activity, for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    if is_activity(key) {
        let key = KeyReader::new(key).u64("activity")?.u64("bucket")?;
        return key.u64("time")?.u64("upload")?.with::<UploadActivity>(value);
    }
    let key = KeyReader::new(key).u64("bucket")?.escaped("key")?.u64("upload")?;
    key.with::<UploadRecord>(value)
}
