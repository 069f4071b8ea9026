//! Extents beyond those that an inode record holds, and the parts of a multipart object.
//!
//! ```text
//! family extent   key bucket u64 | inode u64 | end offset u64 → ExtentRecord
//!                 key bucket u64 | inode u64 | ff×8           → ManifestRecord
//! ```
//!
//! Keyed by where an extent ends, so that the first key behind an offset is the extent that holds it.

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

/// A byte range of a file mapped to a range of one chunk.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExtentRecord {
    /// First byte of the file (of the part, in a part's record).
    #[prost(uint64, tag = "1")]
    pub(crate) file_offset: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) length: u64,
    #[prost(uint32, tag = "3")]
    pub(crate) chunk_offset: u32,
    /// 16 bytes; empty where the bytes are inline, or for a hole.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) chunk_id: Bytes,
    /// The data version of the file at which the extent was written: truncations of a later one cut it.
    #[prost(uint64, tag = "5")]
    pub(crate) generation: u64,
    /// The bytes themselves, where they are few.
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) inline: Bytes,
}

impl Record for ExtentRecord {
    const VERSION: u8 = 1;
}

impl ExtentRecord {
    pub(crate) const fn end(&self) -> u64 {
        self.file_offset + self.length
    }

    /// Neither in a chunk nor inline: zeros that hide what parts of a multipart object lie under them.
    pub(crate) fn is_hole(&self) -> bool {
        self.chunk_id.is_empty() && self.inline.is_empty()
    }

    /// What of the extent lies within `from..to`, if anything does.
    pub(crate) fn clipped(&self, from: u64, to: u64) -> Option<Self> {
        let (start, end) = (self.file_offset.max(from), self.end().min(to));
        if start >= end {
            return None;
        }
        let skipped = start - self.file_offset;
        let length = end - start;
        let inline = if self.inline.is_empty() {
            Bytes::new()
        } else {
            let first = usize::try_from(skipped).ok()?;
            self.inline.slice(first..first + usize::try_from(length).ok()?)
        };
        let chunk_offset = if self.chunk_id.is_empty() {
            0
        } else {
            self.chunk_offset + u32::try_from(skipped).ok()?
        };
        Some(Self {
            file_offset: start,
            length,
            chunk_offset,
            inline,
            ..self.clone()
        })
    }

    /// Whether `next` goes on where this extent ends, in the file and in what it maps to.
    pub(crate) fn is_continued_by(&self, next: &Self) -> bool {
        let in_chunk = !self.chunk_id.is_empty()
            && self.chunk_id == next.chunk_id
            && u64::from(self.chunk_offset) + self.length == u64::from(next.chunk_offset);
        self.end() == next.file_offset && (in_chunk || (self.is_hole() && next.is_hole()))
    }
}

/// The parts that a multipart object is made of, in order.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ManifestRecord {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) numbers: Vec<u32>,
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) sizes: Vec<u64>,
}

impl Record for ManifestRecord {
    const VERSION: u8 = 1;
}

const MANIFEST_END: u64 = u64::MAX;

pub(crate) fn key(bucket: BucketId, inode: InodeId, end: u64) -> Vec<u8> {
    KeyWriter::new()
        .u64(bucket.value())
        .u64(inode.value())
        .u64(end)
        .finish()
}

pub(crate) fn manifest_key(bucket: BucketId, inode: InodeId) -> Vec<u8> {
    key(bucket, inode, MANIFEST_END)
}

/// Whether a key is that of a manifest.
pub(crate) fn is_manifest_key(key: &[u8]) -> bool {
    key.ends_with(&MANIFEST_END.to_be_bytes())
}

/// An extent or manifest for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let is_manifest = is_manifest_key(key);
    let key = KeyReader::new(key).u64("bucket")?.u64("inode")?;
    if is_manifest {
        return key.u64("manifest")?.with::<ManifestRecord>(value);
    }
    key.u64("end")?.with::<ExtentRecord>(value)
}
