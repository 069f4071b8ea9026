//! Parts of uploads, and of the objects that were made of them.
//!
//! ```text
//! family part   key bucket u64 | upload u64 | number u32 → PartRecord
//! ```

use bytes::Bytes;
use cairn_common::{
    envelope::Record,
    ids::{BucketId, UploadId},
    wire::object::ObjectChecksum,
};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    extent::ExtentRecord,
    key::KeyWriter,
};

/// A part.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) size: u64,
    #[prost(string, tag = "2")]
    pub(crate) etag: String,
    #[prost(uint64, tag = "3")]
    pub(crate) modified_ms: u64,
    #[prost(message, repeated, tag = "4")]
    pub(crate) checksums: Vec<ObjectChecksum>,
    /// The whole part, where it is small.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) inline: Bytes,
    /// Its extents, offsets counted from the part's first byte.
    #[prost(message, repeated, tag = "6")]
    pub(crate) extents: Vec<ExtentRecord>,
}

impl Record for PartRecord {
    const VERSION: u8 = 1;
}

pub(crate) fn key(bucket: BucketId, upload: UploadId, number: u32) -> Vec<u8> {
    KeyWriter::new()
        .u64(bucket.value())
        .u64(upload.value())
        .u32(number)
        .finish()
}

/// Bytes of a key in front of the part's number.
pub(crate) const PREFIX_LEN: usize = 16;

/// The part's number in its key.
pub(crate) fn number_of(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(PREFIX_LEN..)?.try_into().ok()?))
}

/// A part for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let key = KeyReader::new(key).u64("bucket")?.u64("upload")?.u32("part")?;
    key.with::<PartRecord>(value)
}
