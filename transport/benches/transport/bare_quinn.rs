//! quinn with the least code around it: the floor that Cairn's own carrier is held against.
//!
//! Owns: the endpoints and their settings. It must never gain a feature: each would hide what the carrier costs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, RecvStream, SendStream, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};

use crate::contender::{Contender, Lane, MAX_BODY_BYTES, REQUEST_BYTES, Request, Target};
use crate::pacer::Pacer;
use crate::socket::{MAX_RECEIVE_BYTES, SegmentedSocket, path_payload_bytes};
use crate::tls::{self, SERVER_NAME};

/// Kernel buffers of each socket, and what one connection may have under way: what the buffer does not hold is lost. Below 4 MiB datagrams are lost at these speeds; above 8 MiB nothing is gained.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// What one stream may have under way: the whole of a usual body, so that no round trip is spent on credit.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Enough for the heartbeat scenario's 1,000 streams.
const MAX_STREAMS: u32 = 2_048;

/// Bursts of loss at a large MTU now and then look like a black hole; at 1,200 bytes for quinn's 60 s, all would crawl.
const BLACK_HOLE_COOLDOWN: Duration = Duration::from_secs(5);

/// One connection on a socket of its own.
pub(crate) struct BareQuinn {
    connection: Connection,
    /// Drives the connection's socket while it is held.
    _endpoint: Endpoint,
}

#[async_trait]
impl Contender for BareQuinn {
    async fn connect(target: &Target, lane: Lane) -> Result<Self> {
        let address = target.addresses(lane).quic;
        let crypto = QuicClientConfig::try_from(tls::client_config(target)?)?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport_config(path_payload_bytes(address)?));
        let endpoint = open_endpoint(IpAddr::V4(Ipv4Addr::UNSPECIFIED), None)?;
        let connection = endpoint.connect_with(config, address, SERVER_NAME)?.await?;
        Ok(Self {
            connection,
            _endpoint: endpoint,
        })
    }

    async fn upload(&self, bytes: Bytes) -> Result<()> {
        let (mut send, receive) = self.connection.open_bi().await?;
        let header = Bytes::copy_from_slice(&Request::Upload(bytes.len()).encode());
        send.write_all_chunks(&mut [header, bytes]).await?;
        send.finish()?;
        skip(receive, REQUEST_BYTES).await
    }

    async fn paced_upload(&self, chunk: Bytes, chunks: usize, pacer: &Pacer) -> Result<()> {
        let (mut send, receive) = self.connection.open_bi().await?;
        send.write_all(&Request::Upload(chunk.len() * chunks).encode()).await?;
        for _ in 0..chunks {
            pacer.turn(chunk.len()).await;
            send.write_chunk(chunk.clone()).await?;
        }
        send.finish()?;
        skip(receive, REQUEST_BYTES).await
    }

    async fn download(&self, len: usize) -> Result<()> {
        let receive = self.ask(Request::Download(len)).await?;
        skip(receive, len).await
    }

    async fn small_request(&self) -> Result<()> {
        let receive = self.ask(Request::Small).await?;
        skip(receive, REQUEST_BYTES).await
    }
}

impl BareQuinn {
    async fn ask(&self, request: Request) -> Result<RecvStream> {
        let (mut send, receive) = self.connection.open_bi().await?;
        send.write_all(&request.encode()).await?;
        send.finish()?;
        Ok(receive)
    }
}

/// A server's endpoint; it accepts for as long as the process lives.
///
/// # Errors
/// When the socket cannot be had.
pub(crate) fn listen(address: IpAddr, config: rustls::ServerConfig) -> Result<SocketAddr> {
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config)?));
    let endpoint = open_endpoint(address, Some(config.clone()))?;
    let listening = endpoint.local_addr()?;
    tokio::spawn(async move {
        let body = Bytes::from(vec![7; MAX_BODY_BYTES]);
        while let Some(incoming) = endpoint.accept().await {
            let (body, mut config) = (body.clone(), config.clone());
            tokio::spawn(async move {
                // The path differs from client to client, and with it the datagram size to look for.
                config.transport_config(transport_config(path_payload_bytes(incoming.remote_address())?));
                serve(incoming.accept_with(Arc::new(config))?.await?, body).await
            });
        }
    });
    Ok(listening)
}

/// The settings that the tuning study found: measure again before changing one.
fn transport_config(udp_payload_bytes: u16) -> Arc<TransportConfig> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery
        .upper_bound(udp_payload_bytes)
        .black_hole_cooldown(BLACK_HOLE_COOLDOWN);
    let mut config = TransportConfig::default();
    config
        .mtu_discovery_config(Some(discovery))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::try_from(SOCKET_BUFFER_BYTES as u64).expect("a small number"))
        .send_window(SOCKET_BUFFER_BYTES as u64)
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS));
    Arc::new(config)
}

fn open_endpoint(address: IpAddr, server: Option<ServerConfig>) -> Result<Endpoint> {
    let address = SocketAddr::new(address, 0);
    let socket = SegmentedSocket::bind(address, SOCKET_BUFFER_BYTES, &TokioRuntime)?;
    ensure!(
        socket.buffer_bytes() == SOCKET_BUFFER_BYTES,
        "the kernel grants too little buffer for this benchmark"
    );
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(MAX_RECEIVE_BYTES)?;
    Ok(Endpoint::new_with_abstract_socket(
        config,
        server,
        socket,
        Arc::new(TokioRuntime),
    )?)
}

async fn serve(connection: Connection, body: Bytes) -> Result<()> {
    loop {
        let (send, receive) = connection.accept_bi().await?;
        // A client that goes away ends its stream with an error, which is nobody's loss.
        tokio::spawn(answer(send, receive, body.clone()));
    }
}

async fn answer(mut send: SendStream, mut receive: RecvStream, body: Bytes) -> Result<()> {
    let mut header = [0; REQUEST_BYTES];
    receive.read_exact(&mut header).await?;
    match Request::decode(&header)? {
        Request::Upload(len) => {
            skip(receive, len).await?;
            send.write_all(&header).await?;
        }
        Request::Download(len) => send.write_chunk(body.slice(..len)).await?,
        Request::Small => send.write_all(&header).await?,
    }
    send.finish()?;
    Ok(())
}

/// Reads to the end of a stream, without copying, and checks its length.
async fn skip(mut receive: RecvStream, len: usize) -> Result<()> {
    let mut read = 0;
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        read += chunk.bytes.len();
    }
    ensure!(read == len, "{read} bytes instead of {len}");
    Ok(())
}
