//! Request kinds: what a request asks for, stated before its header is decoded.

/// The kind of a request. The numbers are persistent: they go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum RequestKind {
    /// A command to the metadata service ([`super::command::WriteRequest`]).
    MetadataWrite = 1,
    /// A linearizable read of the metadata service ([`super::query::Query`]).
    MetadataRead = 2,
    /// Stores a shard durably ([`super::shard::PutShard`], the shard's bytes behind it).
    PutShard = 16,
    /// Reads blocks of a shard ([`super::shard::GetShard`]).
    GetShard = 17,
    /// Deletes a shard ([`super::shard::DeleteShard`]).
    DeleteShard = 18,
    /// Lists the shards that a device holds ([`super::shard::ListShards`]).
    ListShards = 19,
    /// State and space of a server's devices ([`super::shard::DeviceStatusRequest`]).
    DeviceStatus = 20,
}

impl RequestKind {
    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MetadataWrite => "metadata_write",
            Self::MetadataRead => "metadata_read",
            Self::PutShard => "put_shard",
            Self::GetShard => "get_shard",
            Self::DeleteShard => "delete_shard",
            Self::ListShards => "list_shards",
            Self::DeviceStatus => "device_status",
        }
    }
}
