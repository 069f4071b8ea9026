//! Chunkservers as the cluster knows them: who they are, where they are called, which devices they hold, and how those are.
//!
//! Invariant: a server speaks for itself alone. Who it is goes into the state when it changes; that it lives is only remembered
//! by those whom it tells, so that signs of life cost no entry of the log.

use prost::Message;

use super::{group::GroupMembers, shard::DeviceStatus};
use crate::envelope::Record;

/// A chunkserver tells a metadata server that it lives, and how its devices are. It tells all of them.
#[derive(Clone, PartialEq, Message)]
pub struct ServerReport {
    /// Who it is.
    #[prost(message, optional, tag = "1")]
    pub server: Option<ServerInfo>,
    /// How its devices are.
    #[prost(message, repeated, tag = "2")]
    pub devices: Vec<DeviceStatus>,
}

/// The answer to a [`ServerReport`].
#[derive(Clone, PartialEq, Message)]
pub struct ServerReportReply {
    /// Whom to tell from now on.
    #[prost(message, optional, tag = "1")]
    pub group: Option<GroupMembers>,
}

/// A chunkserver.
#[derive(Clone, PartialEq, Message)]
pub struct ServerInfo {
    /// Its node.
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// Where it is called: host and port.
    #[prost(string, tag = "2")]
    pub address: String,
    /// The zone that it is in; empty where none is told.
    #[prost(string, tag = "3")]
    pub zone: String,
    /// The rack that it is in; empty where none is told.
    #[prost(string, tag = "4")]
    pub rack: String,
    /// The machine that it runs on.
    #[prost(string, tag = "5")]
    pub host: String,
    /// Its devices, in order of their numbers.
    #[prost(message, repeated, tag = "6")]
    pub devices: Vec<HeldDevice>,
}

impl Record for ServerInfo {
    const VERSION: u8 = 1;
}

/// Where a server is called.
#[derive(Clone, PartialEq, Message)]
pub struct ServerAddress {
    /// Its node.
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// Host and port.
    #[prost(string, tag = "2")]
    pub address: String,
}

/// A device as its server describes it.
#[derive(Clone, PartialEq, Message)]
pub struct HeldDevice {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Its life.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Bytes of its file system; 0 where it could not be opened since its server started.
    #[prost(uint64, tag = "3")]
    pub capacity_bytes: u64,
    /// The disk under it, as far as its server can tell.
    #[prost(string, tag = "4")]
    pub disk: String,
}

/// Writes down who a chunkserver is. Only the metadata service gives it, upon a report.
#[derive(Clone, PartialEq, Message)]
pub struct RegisterServer {
    /// The server.
    #[prost(message, optional, tag = "1")]
    pub server: Option<ServerInfo>,
}

/// All chunkservers.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ServersQuery {}

/// Chunkservers, in order of their nodes.
#[derive(Clone, PartialEq, Message)]
pub struct ServersPage {
    /// The servers.
    #[prost(message, repeated, tag = "1")]
    pub servers: Vec<ServerState>,
}

/// A chunkserver and how it is.
#[derive(Clone, PartialEq, Message)]
pub struct ServerState {
    /// Who it is.
    #[prost(message, optional, tag = "1")]
    pub info: Option<ServerInfo>,
    /// Whether it has told lately that it lives.
    #[prost(bool, tag = "2")]
    pub is_up: bool,
    /// How its devices were when it last told; none where the metadata server that answers was not told since its start.
    #[prost(message, repeated, tag = "3")]
    pub devices: Vec<DeviceStatus>,
    /// Milliseconds since then.
    #[prost(uint64, tag = "4")]
    pub silent_ms: u64,
}
