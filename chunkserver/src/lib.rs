//! The shard store: durable shards on devices, served over the transport.
//!
//! A server has devices, each with a store of its own behind [`ShardStore`]; today's store keeps one file per shard. It knows
//! shards and devices, and nothing of placement, chunks' other shards or files. Invariants: a shard is acknowledged only
//! once it is synced and will be found after a power cut; a shard that is stored never changes; a device that lost an
//! operation to an I/O error serves nothing more until restart, and the others do not notice.

mod file_store;
mod metrics;
mod server;
mod shard;
mod shard_directories;
mod store;
mod superblock;

pub use metrics::Metrics;
pub use server::{ChunkServer, ChunkServerConfig, DeviceConfig};
pub use shard::{NewShard, ShardKey, ShardPage, StoredShard};
pub use store::{ShardStore, StoreError, StoreStatus};
pub use superblock::{DeviceIdentity, FormatError, format_device};
