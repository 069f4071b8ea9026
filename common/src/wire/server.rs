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
    /// Drawn at random by each process that is the server: two at once are a server and its copy.
    #[prost(uint64, tag = "3")]
    pub run: u64,
    /// Whether it ends now: it is not to be waited for.
    #[prost(bool, tag = "4")]
    pub is_leaving: bool,
}

/// The answer to a [`ServerReport`].
#[derive(Clone, PartialEq, Message)]
pub struct ServerReportReply {
    /// Whom to tell from now on.
    #[prost(message, optional, tag = "1")]
    pub group: Option<GroupMembers>,
    /// Devices that are not to be served.
    #[prost(message, repeated, tag = "2")]
    pub refused: Vec<RefusedDevice>,
    /// Whether the replicated state holds what the server says of itself.
    #[prost(bool, tag = "3")]
    pub is_registered: bool,
}

/// A device that contradicts what the cluster knows of it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RefusedDevice {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub device: u32,
    /// For a person: why.
    #[prost(string, tag = "2")]
    pub reason: String,
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
    /// The number that its newest opening drew; 0 where it could not be opened.
    #[prost(fixed64, tag = "5")]
    pub opening: u64,
    /// That of the opening before; 0 at the first. An old copy of a device knows the newest opening by neither.
    #[prost(fixed64, tag = "6")]
    pub opening_before: u64,
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
