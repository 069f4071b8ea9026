//! Objects, extents and chunks, as commits, reads and records share them.

use bytes::Bytes;
use prost::Message;

use crate::{
    checksum::Hash,
    ids::{ChunkId, DeviceId},
    redundancy::Redundancy,
};

/// A name and a value, both as the client gave them.
#[derive(Clone, PartialEq, Message)]
pub struct Field {
    /// Name, lower case.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A checksum that a client sent or asked for, kept and returned.
#[derive(Clone, PartialEq, Message)]
pub struct ObjectChecksum {
    /// The algorithm as S3 names it: `CRC32`, `CRC32C`, `CRC64NVME`, `SHA1` or `SHA256`.
    #[prost(string, tag = "1")]
    pub algorithm: String,
    /// The value as S3 sends it: base64, for composite ones with `-` and the number of parts.
    #[prost(string, tag = "2")]
    pub value: String,
    /// Whether it is a checksum of the parts' checksums.
    #[prost(bool, tag = "3")]
    pub composite: bool,
}

/// What an object carries beside its bytes.
#[derive(Clone, PartialEq, Message)]
pub struct ObjectAttributes {
    /// The entity tag, without quotes.
    #[prost(string, tag = "1")]
    pub etag: String,
    /// Content headers (`content-type`, `cache-control`, …).
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<Field>,
    /// User metadata; names without `x-amz-meta-`.
    #[prost(message, repeated, tag = "3")]
    pub user_metadata: Vec<Field>,
    /// Checksums of the whole object.
    #[prost(message, repeated, tag = "4")]
    pub checksums: Vec<ObjectChecksum>,
}

/// A chunk as it is committed: enough to find, verify and decode it.
#[derive(Clone, PartialEq, Message)]
pub struct Chunk {
    /// The chunk id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// Data shards; 1 for replicas.
    #[prost(uint32, tag = "2")]
    pub data_shards: u32,
    /// Parity shards, or copies beyond the first.
    #[prost(uint32, tag = "3")]
    pub parity_shards: u32,
    /// Bytes of the chunk, padding not counted.
    #[prost(uint32, tag = "4")]
    pub length: u32,
    /// The chunk hash, 32 bytes.
    #[prost(bytes = "bytes", tag = "5")]
    pub hash: Bytes,
    /// Where the writer placed the shards itself: their devices, in order. Empty where the map's row holds.
    #[prost(uint32, repeated, tag = "6")]
    pub explicit_devices: Vec<u32>,
    /// Epoch of the map that the chunk was written under.
    #[prost(uint64, tag = "7")]
    pub epoch: u64,
    /// Bit i: shard i was not confirmed, or was found missing or damaged since; it is to be made again.
    #[prost(uint32, tag = "8")]
    pub missing: u32,
}

impl Chunk {
    /// The chunk id, or `None` where the bytes are not one.
    pub fn chunk_id(&self) -> Option<ChunkId> {
        ChunkId::from_bytes(&self.id)
    }

    /// The chunk hash, or `None` where the bytes are not one.
    pub fn chunk_hash(&self) -> Option<Hash> {
        Hash::from_slice(&self.hash)
    }

    /// The scheme, or `None` where the numbers are none.
    pub fn redundancy(&self) -> Option<Redundancy> {
        Redundancy::erasure_coded(self.data_shards as usize, self.parity_shards as usize).ok()
    }

    /// The explicit devices, or `None` where the map's row holds.
    pub fn explicit_row(&self) -> Option<Vec<DeviceId>> {
        (!self.explicit_devices.is_empty()).then(|| self.explicit_devices.iter().copied().map(DeviceId::new).collect())
    }
}

/// A byte range of a file mapped to a range of one chunk.
#[derive(Clone, PartialEq, Message)]
pub struct Extent {
    /// First byte of the file.
    #[prost(uint64, tag = "1")]
    pub file_offset: u64,
    /// Bytes.
    #[prost(uint64, tag = "2")]
    pub length: u64,
    /// First byte within the chunk.
    #[prost(uint32, tag = "3")]
    pub chunk_offset: u32,
    /// The chunk; none where the bytes are inline.
    #[prost(message, optional, tag = "4")]
    pub chunk: Option<Chunk>,
    /// The bytes themselves, where they are few.
    #[prost(bytes = "bytes", tag = "5")]
    pub inline: Bytes,
}

/// The bytes of an object or part, as a commit carries them: inline, or as extents from offset 0 without holes.
#[derive(Clone, PartialEq, Message)]
pub struct Body {
    /// Bytes in all.
    #[prost(uint64, tag = "1")]
    pub size: u64,
    /// The bytes themselves, where they are few.
    #[prost(bytes = "bytes", tag = "2")]
    pub inline: Bytes,
    /// Where the bytes lie; empty when inline.
    #[prost(message, repeated, tag = "3")]
    pub extents: Vec<Extent>,
}

/// An object as a reader sees it.
#[derive(Clone, PartialEq, Message)]
pub struct ObjectInfo {
    /// Bytes of the body.
    #[prost(uint64, tag = "1")]
    pub size: u64,
    /// When it was committed, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub modified_ms: u64,
    /// Its attributes.
    #[prost(message, optional, tag = "3")]
    pub attributes: Option<ObjectAttributes>,
    /// Sizes of its parts, for an object that was uploaded in parts.
    #[prost(message, repeated, tag = "4")]
    pub parts: Vec<PartSize>,
    /// The inode that holds this version of the body.
    #[prost(uint64, tag = "5")]
    pub inode: u64,
}

/// A part of a completed multipart object.
#[derive(Clone, PartialEq, Message)]
pub struct PartSize {
    /// The part's number as the client chose it.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// Its bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
}
