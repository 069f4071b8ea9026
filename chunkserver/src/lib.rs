//! The shard store: durable shards on devices, served over the transport.
//!
//! A server has devices. Each is a log of segments with an index over it: `core` decides, `engine` does it on a disk as blocking
//! calls, `device` runs it with threads of the device's own. It knows shards and devices, and nothing of placement, chunks'
//! other shards or files. Invariants: a shard is acknowledged only once it is synced and will be found after a power cut; a
//! shard that is stored never changes; a device that lost an operation to an I/O error serves nothing more until restart,
//! and the others do not notice.

mod core;
mod device;
mod directory;
mod engine;
mod fence;
#[doc(hidden)]
pub mod fuzzing;
pub mod maintenance;
mod metrics;
mod opening;
mod repair;
mod report;
mod server;
mod shard;
mod store;
mod superblock;

pub use device::DeviceSettings;
pub use metrics::Metrics;
pub use report::{Reporter, Whereabouts, disk_of};
pub use server::{ChunkServer, ChunkServerConfig, DeviceConfig};
pub use superblock::{DeviceIdentity, FormatError, format_device};
