//! Messages to a chunkserver. Every request names its device and, where it matters, a shard of a chunk.

use prost::Message;

use super::{map::DeviceMessage, object::Chunk, server::ServerAddress};

/// Stores one shard; its bytes follow the header. Answered by [`PutShardReply`] once the shard is durable.
#[derive(Clone, PartialEq, Message)]
pub struct PutShard {
    /// The device.
    #[prost(uint32, tag = "1")]
    pub device: u32,
    /// The life of the device that the cluster map names.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// The chunk id, 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub chunk_id: bytes::Bytes,
    /// Which shard of the chunk, from 0.
    #[prost(uint32, tag = "4")]
    pub shard_index: u32,
    /// Bytes of the shard that follow.
    #[prost(uint32, tag = "5")]
    pub shard_len: u32,
    /// Bytes of the whole chunk, padding not counted.
    #[prost(uint32, tag = "6")]
    pub chunk_len: u32,
    /// The hash of each 64 KiB block of the shard, 32 bytes each, in order.
    #[prost(bytes = "bytes", tag = "7")]
    pub block_hashes: bytes::Bytes,
    /// The hash of every shard of the chunk, 32 bytes each, in order.
    #[prost(bytes = "bytes", tag = "8")]
    pub shard_hashes: bytes::Bytes,
}

/// The shard is synced.
#[derive(Clone, PartialEq, Message)]
pub struct PutShardReply {}

/// Reads `block_count` blocks of a shard from block `first_block` on.
#[derive(Clone, PartialEq, Message)]
pub struct GetShard {
    /// The device.
    #[prost(uint32, tag = "1")]
    pub device: u32,
    /// The life of the device that the cluster map names.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// The chunk id, 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub chunk_id: bytes::Bytes,
    /// Which shard of the chunk, from 0.
    #[prost(uint32, tag = "4")]
    pub shard_index: u32,
    /// First block wanted.
    #[prost(uint32, tag = "5")]
    pub first_block: u32,
    /// Blocks wanted; fewer come where the shard ends.
    #[prost(uint32, tag = "6")]
    pub block_count: u32,
}

/// Describes the shard; the blocks asked for follow.
#[derive(Clone, PartialEq, Message)]
pub struct GetShardReply {
    /// Bytes of the whole shard.
    #[prost(uint32, tag = "1")]
    pub shard_len: u32,
    /// The hash of each block of the shard, all of them, 32 bytes each.
    #[prost(bytes = "bytes", tag = "2")]
    pub block_hashes: bytes::Bytes,
    /// The hash of every shard of the chunk, 32 bytes each.
    #[prost(bytes = "bytes", tag = "3")]
    pub shard_hashes: bytes::Bytes,
}

/// Has the server make a shard again and store it durably: it reads it from where it lies, or makes it from others. Answered
/// by [`RepairShardReply`].
#[derive(Clone, PartialEq, Message)]
pub struct RepairShard {
    /// The chunk, with the devices that hold its shards, and the shards that are missing there.
    #[prost(message, optional, tag = "1")]
    pub chunk: Option<Chunk>,
    /// Which shard.
    #[prost(uint32, tag = "2")]
    pub shard_index: u32,
    /// The device that is to hold it: one of the server's.
    #[prost(uint32, tag = "3")]
    pub device: u32,
    /// Its life.
    #[prost(uint64, tag = "4")]
    pub incarnation: u64,
    /// The devices that hold the chunk's shards, as far as the map knows them.
    #[prost(message, repeated, tag = "5")]
    pub holders: Vec<DeviceMessage>,
    /// Where their servers are called; none of those that every carrier knows.
    #[prost(message, repeated, tag = "6")]
    pub servers: Vec<ServerAddress>,
    /// Of the map that wants the shard there: whoever wants it gone by an older one is not heeded from now on.
    #[prost(uint64, tag = "7")]
    pub epoch: u64,
    /// MiB a second that the server may read for such work; 0 leaves it to the server.
    #[prost(uint32, tag = "8")]
    pub rate_mib: u32,
}

/// The shard is synced.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RepairShardReply {
    /// Bytes that were read for it.
    #[prost(uint64, tag = "1")]
    pub read_bytes: u64,
}

/// Deletes a shard; deleting one that is not there succeeds. A stray is kept where the device was given a copy of anything under a
/// later map: answered by [`FailureCode::WrongEpoch`](super::failure::FailureCode::WrongEpoch).
#[derive(Clone, PartialEq, Message)]
pub struct DeleteShard {
    /// The device.
    #[prost(uint32, tag = "1")]
    pub device: u32,
    /// The life of the device that the cluster map names.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// The chunk id, 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub chunk_id: bytes::Bytes,
    /// Which shard of the chunk, from 0.
    #[prost(uint32, tag = "4")]
    pub shard_index: u32,
    /// Of a stray, whose chunk lies elsewhere: the map by which it does. 0 for a shard whose chunk is gone for good.
    #[prost(uint64, tag = "5")]
    pub stray_epoch: u64,
}

/// The shard is gone for good.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteShardReply {}

/// One page of a device's inventory, in order of (placement hash, chunk id, shard).
#[derive(Clone, PartialEq, Message)]
pub struct ListShards {
    /// The device.
    #[prost(uint32, tag = "1")]
    pub device: u32,
    /// The life of the device that the cluster map names.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Where the page before said to go on; empty at the start.
    #[prost(bytes = "bytes", tag = "3")]
    pub cursor: bytes::Bytes,
}

/// Shards of a device.
#[derive(Clone, PartialEq, Message)]
pub struct ListShardsReply {
    /// The shards of this page.
    #[prost(message, repeated, tag = "1")]
    pub shards: Vec<ShardName>,
    /// Where to go on; empty when this was the last page.
    #[prost(bytes = "bytes", tag = "2")]
    pub next_cursor: bytes::Bytes,
}

/// Names one shard.
#[derive(Clone, PartialEq, Message)]
pub struct ShardName {
    /// The chunk id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub chunk_id: bytes::Bytes,
    /// Which shard of the chunk, from 0.
    #[prost(uint32, tag = "2")]
    pub shard_index: u32,
    /// Whether the device found it damaged.
    #[prost(bool, tag = "3")]
    pub damaged: bool,
}

/// Asks for the state of all devices of a server.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceStatusRequest {}

/// The devices of a server.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceStatusReply {
    /// One entry for each device the server was told to serve.
    #[prost(message, repeated, tag = "1")]
    pub devices: Vec<DeviceStatus>,
}

/// One device.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceStatus {
    /// The device.
    #[prost(uint32, tag = "1")]
    pub device: u32,
    /// Its life.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Where it lies.
    #[prost(string, tag = "3")]
    pub path: String,
    /// Whether it serves.
    #[prost(bool, tag = "4")]
    pub up: bool,
    /// Why it does not serve, for a person.
    #[prost(string, tag = "5")]
    pub reason: String,
    /// Bytes of the file system it lies on.
    #[prost(uint64, tag = "6")]
    pub total_bytes: u64,
    /// Bytes of it that are free.
    #[prost(uint64, tag = "7")]
    pub free_bytes: u64,
    /// Bytes that shards take, with their headers.
    #[prost(uint64, tag = "8")]
    pub used_bytes: u64,
    /// Shards found damaged and not replaced since.
    #[prost(uint64, tag = "9")]
    pub corrupt_shards: u64,
    /// When the last whole pass of the scrub ended, in milliseconds since 1970; 0 before the first has.
    #[prost(uint64, tag = "10")]
    pub scrub_finished_ms: u64,
    /// The number that its newest opening drew; 0 where it could not be opened.
    #[prost(fixed64, tag = "11")]
    pub opening: u64,
    /// That of the opening before; 0 at the first.
    #[prost(fixed64, tag = "12")]
    pub opening_before: u64,
}
