//! The UDP socket under every QUIC endpoint.
//!
//! Owns: making the socket, the size of its kernel buffers, keeping each segmented send (GSO) within what the kernel takes
//! in one call, and what a path's MTU leaves for a datagram. It never looks into a datagram and never waits.
//!
//! Why quinn's own socket is not enough: quinn hands over up to ten datagrams of one path MTU in one send. From an MTU
//! of 6,551 bytes on that passes 65,507 bytes, the most one UDP send can hold; the kernel refuses it with EMSGSIZE,
//! quinn-udp takes that for a lost MTU probe and says nothing, every such send is lost, and the connection falls back
//! to 1,200 bytes per datagram.
//!
//! Invariant: no call to the kernel carries more than [`MAX_SEND_BYTES`], whatever quinn asks for.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Once,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, Runtime, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

/// Most bytes of UDP payload in one send, segmented or not: 65,535 less the IPv4 header (20) and the UDP header (8).
/// For IPv6 the limit is the same or higher, so one number serves both.
pub(super) const MAX_SEND_BYTES: usize = 65_507;

/// The datagram size that every QUIC path must carry (RFC 9000, section 14), and with which quinn begins.
const SMALLEST_MTU_BYTES: usize = 1_200;

/// What IP and UDP take of a path's MTU.
const IPV4_UDP_HEADER_BYTES: u32 = 20 + 8;
const IPV6_UDP_HEADER_BYTES: u32 = 40 + 8;

/// Largest datagram an endpoint accepts. With [`SegmentedSocket`] it is also the size of each receive slot: a coalesced
/// receive (GRO) holds at most 64 KiB less headers in all, so one slot of this size holds any of them.
pub(super) const MAX_RECEIVE_BYTES: u16 = 65_527;

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, is not ours, or needs a right that we lack: choose another.
    #[error("cannot bind a UDP socket to {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel gave no socket, or refused an option without which nothing works.
    #[error("cannot set up a UDP socket: {0}")]
    Setup(#[from] io::Error),
}

/// A UDP socket that quinn drives: see the module's header.
#[derive(Debug)]
pub(super) struct SegmentedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// Size of the latest full datagram sent. It only steers how much quinn packs into the next one, so a stale value, or one
    /// from another connection of this endpoint, costs a second system call and never a datagram.
    segment_bytes: AtomicUsize,
    /// Bytes that the kernel lets wait at it, in the direction where it is less.
    buffer_bytes: usize,
}

impl SegmentedSocket {
    /// Binds to `address` and asks for kernel buffers of `buffer_bytes` each way. `runtime` drives the socket.
    pub(super) fn bind(
        address: SocketAddr,
        buffer_bytes: usize,
        runtime: &dyn Runtime,
    ) -> Result<Arc<Self>, BindError> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        let granted = size_buffers(&socket, buffer_bytes)?;
        if granted < buffer_bytes {
            warn_of_small_buffers(buffer_bytes, granted);
        }
        socket
            .bind(&address.into())
            .map_err(|source| BindError::Bind { address, source })?;
        Ok(Arc::new(Self {
            inner: runtime.wrap_udp_socket(socket.into())?,
            segment_bytes: AtomicUsize::new(SMALLEST_MTU_BYTES),
            buffer_bytes: granted,
        }))
    }

    /// Bytes that the kernel lets wait at it, in the direction where it is less.
    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }
}

impl AsyncUdpSocket for SegmentedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment_bytes = transmit.segment_size.unwrap_or(transmit.contents.len());
        // Below this it may be an acknowledgement, which says nothing about the path's MTU.
        if segment_bytes > SMALLEST_MTU_BYTES {
            self.segment_bytes.store(segment_bytes, Ordering::Relaxed);
        }
        // A single datagram above the limit can only be an MTU probe: the kernel's refusal is the answer quinn needs.
        if transmit.segment_size.is_none() || transmit.contents.len() <= MAX_SEND_BYTES {
            return self.inner.try_send(transmit);
        }
        // Only the first send after the MTU grew, or one between connections of unlike MTU, comes here. If the socket
        // fills up half way, quinn sends the whole again: the peer drops the datagrams that it has by their numbers.
        let bytes_per_send = segments_per_send(segment_bytes) * segment_bytes;
        for contents in transmit.contents.chunks(bytes_per_send) {
            self.inner.try_send(&Transmit {
                destination: transmit.destination,
                ecn: transmit.ecn,
                contents,
                segment_size: (contents.len() > segment_bytes).then_some(segment_bytes),
                src_ip: transmit.src_ip,
            })?;
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        let fitting = segments_per_send(self.segment_bytes.load(Ordering::Relaxed));
        self.inner.max_transmit_segments().min(fitting)
    }

    /// quinn allocates `max_udp_payload_size * this * 32` bytes for each endpoint. The kernel's own limit of 64 segments
    /// would make that 128 MiB, though a coalesced receive never holds more than one slot of [`MAX_RECEIVE_BYTES`].
    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// How many segments of this size one send can hold; at least one.
fn segments_per_send(segment_bytes: usize) -> usize {
    (MAX_SEND_BYTES / segment_bytes.max(1)).max(1)
}

/// The largest UDP payload worth looking for on the way to `peer`: what the route's MTU leaves, as the kernel knows it.
/// It is the upper bound for quinn's MTU discovery, which then needs a few round trips; a bound far above the path costs
/// three lost probes for each halving (half a second at least) and ends up to 22 bytes short.
///
/// # Errors
/// When there is no route, or no socket to ask with.
pub(super) fn path_payload_bytes(peer: SocketAddr) -> io::Result<u16> {
    let ip = peer.ip().to_canonical();
    let unspecified: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((unspecified, 0))?;
    // Connecting a UDP socket sends nothing: it only looks up the route.
    socket.connect((ip, peer.port()))?;
    let payload = match ip {
        IpAddr::V4(_) => sockopt::ip_mtu(&socket)?.saturating_sub(IPV4_UDP_HEADER_BYTES),
        IpAddr::V6(_) => sockopt::ipv6_mtu(&socket)?.saturating_sub(IPV6_UDP_HEADER_BYTES),
    };
    let bounded = usize::try_from(payload)
        .unwrap_or(MAX_SEND_BYTES)
        .clamp(SMALLEST_MTU_BYTES, MAX_SEND_BYTES);
    Ok(u16::try_from(bounded).unwrap_or(MAX_RECEIVE_BYTES))
}

/// Asks for buffers of `wanted_bytes`; returns what the smaller of the two got.
///
/// With CAP_NET_ADMIN the kernel's cap (`net.core.rmem_max`, `wmem_max`) is passed over. Without it the cap is applied
/// silently, so only reading back tells. The kernel reports twice the payload room, for it books its own overhead there.
fn size_buffers(socket: &Socket, wanted_bytes: usize) -> io::Result<usize> {
    if sockopt::set_socket_recv_buffer_size_force(socket, wanted_bytes).is_err() {
        socket.set_recv_buffer_size(wanted_bytes)?;
    }
    if sockopt::set_socket_send_buffer_size_force(socket, wanted_bytes).is_err() {
        socket.set_send_buffer_size(wanted_bytes)?;
    }
    let (receive, send) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
    Ok((receive.min(send) / 2).min(wanted_bytes))
}

/// Once in the life of the process: every socket gets the same.
fn warn_of_small_buffers(wanted: usize, granted: usize) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "the kernel grants UDP sockets {granted} bytes of buffer where {wanted} were asked for, so traffic between nodes \
             is slower than it could be: set net.core.rmem_max and net.core.wmem_max to {wanted} (sysctl), and start again"
        );
    });
}
