//! How QUIC is run: sizes, windows and times, each as measured (docs/decisions/0004-quic-settings.md).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cairn_common::wire::kind::TrafficClass;
use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use tokio::runtime::Handle;

use super::socket::{MAX_RECEIVE_BYTES, path_payload_bytes};

/// Protocol versions, newest first: the version of a connection is chosen in its handshake.
pub(super) const PROTOCOLS: &[&[u8]] = &[b"cairn/1"];

/// Streams that a peer may have open on a bulk connection at once; further requests wait at the caller.
const BULK_STREAMS_MAX: u32 = 2_048;
/// The same on a control connection, whose requests are small.
const CONTROL_STREAMS_MAX: u32 = 4_096;
/// Bytes of one stream that wait for their reader. Below 1 MiB a stream is slower.
const STREAM_WINDOW_BYTES: usize = 5 << 18;
/// Bytes of all streams of a bulk connection that wait for their readers: so many streams may be left unread before they
/// hold up the others. Wider ones cost speed: what waits falls out of the processor's cache.
const BULK_WINDOW_BYTES: usize = 12 * STREAM_WINDOW_BYTES;
/// The same of a control connection.
const CONTROL_WINDOW_BYTES: usize = 12 * STREAM_WINDOW_BYTES;
/// How soon a path that lost large datagrams is searched for its size again.
const BLACK_HOLE_COOLDOWN: Duration = Duration::from_secs(5);

/// What may be set.
#[derive(Clone, Debug)]
pub struct QuicSettings {
    /// The address that connections are made from.
    pub local_address: Option<IpAddr>,
    /// Connections to each peer for bulk bytes.
    pub bulk_connections: usize,
    /// Largest UDP payload to send, in bytes, whatever the path would carry.
    pub mtu_max: u16,
    /// Bytes to ask the kernel for, for what waits in each direction at a socket.
    pub socket_buffer_bytes: usize,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a connection lives without a sign of life.
    pub idle_timeout: Duration,
    /// Connections that a server keeps at once.
    pub connections_max: usize,
    /// What drives control connections and answers their requests, where it is not to be the runtime of all the rest. With a
    /// runtime of its own a sign of life takes a tenth of the time beside much bulk traffic; services that answer control
    /// requests must not block it.
    pub control_runtime: Option<Handle>,
}

impl Default for QuicSettings {
    fn default() -> Self {
        Self {
            local_address: None,
            bulk_connections: 1,
            mtu_max: u16::MAX,
            socket_buffer_bytes: 8 << 20,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(10),
            connections_max: 4096,
            control_runtime: None,
        }
    }
}

/// The settings of a connection of that class with `peer`, over a socket with `buffer_bytes` of buffer.
pub(super) fn transport_config(
    settings: &QuicSettings,
    class: TrafficClass,
    peer: SocketAddr,
    buffer_bytes: usize,
) -> Arc<TransportConfig> {
    // More in flight than the socket's buffer holds is lost, and lost large datagrams look like a path that does not carry
    // them. What is in flight is the sender's to bound; the receiver's window holds what came and was not read.
    let in_flight = buffer_bytes as u64;
    let idle = IdleTimeout::try_from(settings.idle_timeout).expect("an idle time far below the format's bound");
    let mut discovery = MtuDiscoveryConfig::default();
    // Where the route is not known the connection will say so; the default bound serves until then.
    let path = path_payload_bytes(peer).unwrap_or(1452);
    discovery
        .upper_bound(path.min(settings.mtu_max))
        .black_hole_cooldown(BLACK_HOLE_COOLDOWN);
    let (streams, window) = match class {
        TrafficClass::Control => (CONTROL_STREAMS_MAX, CONTROL_WINDOW_BYTES),
        TrafficClass::Bulk => (BULK_STREAMS_MAX, BULK_WINDOW_BYTES),
    };
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(narrow(STREAM_WINDOW_BYTES))
        .receive_window(narrow(window))
        .send_window(in_flight)
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(settings.idle_timeout / 3))
        .mtu_discovery_config(Some(discovery));
    Arc::new(config)
}

/// The settings of an endpoint. Derived from `key`, which outlives the process, it can tell peers after a restart that it
/// knows nothing of their connections.
/// None of a node's endpoints may share it: one would tell how to end the connections of another.
pub(super) fn endpoint_config(key: &[u8; 32]) -> EndpointConfig {
    let reset_key = blake3::derive_key("cairn transport 2026-11 stateless reset", key);
    let id_key = blake3::derive_key("cairn transport 2026-11 connection ids", key);
    let id_key = u64::from_le_bytes(*id_key.first_chunk().expect("32 bytes hold 8"));
    let mut config = EndpointConfig::new(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &reset_key)));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
    config
        .max_udp_payload_size(MAX_RECEIVE_BYTES)
        .expect("the largest size that the format allows");
    config
}

fn narrow(bytes: usize) -> VarInt {
    VarInt::from_u32(u32::try_from(bytes).unwrap_or(u32::MAX))
}
