//! Answering other nodes: sockets, connections, and the proof of who calls.
//!
//! Invariant: a connection's streams are looked at only after its certificate has been checked; connections and handshakes are
//! bounded in number; a peer that is no longer trusted is cut off while the server runs.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use cairn_common::wire::{
    failure::Failure,
    kind::{RequestKind, TrafficClass},
    node::HelloReply,
    role::Role,
};
use parking_lot::Mutex;
use quinn::{Connection, ServerConfig, crypto::rustls::QuicServerConfig};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    answer::{Caller, answer, refuse_stream},
    codes::CloseCode,
    dial::certificate_chain,
    endpoint::Bound,
    path::connection_figures,
    reason::connection_text,
    settings::{PROTOCOLS, QuicSettings, transport_config},
    socket::BindError,
};
use crate::{
    Body, Identity, IdentityError, Peer, Request, Response, Service, Services, TransportMetrics,
    metrics::{Path, PathFigures, Side},
    reply,
};

/// Handshakes under way at once. Above half of it callers must show first that their address is their own.
const HANDSHAKES_MAX: usize = 256;
/// Connections that one node, or all joiners together, may have: processes that were just restarted included.
const CONNECTIONS_PER_NODE_MAX: usize = 64;
/// How long the connection of a joiner lives.
const JOINER_LIFETIME: Duration = Duration::from_secs(30);
/// Large heads of one connection being gathered at once.
const LARGE_HEADS_MAX: usize = 64;
/// Greetings and signs of life being answered at once.
const HELLOS_MAX: usize = 4096;
/// How often the certificates of live connections are looked at again.
const TRUST_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Why a server cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The node's own certificate does not do.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The TLS library refuses the settings.
    #[error("TLS: {0}")]
    Tls(String),
    /// The system does not tell a socket's address.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Answers requests of other nodes over QUIC.
pub struct QuicServer {
    shared: Arc<Shared>,
    local_address: SocketAddr,
    bulk_addresses: Vec<SocketAddr>,
}

struct Shared {
    identity: Identity,
    settings: QuicSettings,
    metrics: TransportMetrics,
    services: Arc<Services>,
    endpoints: Vec<Bound>,
    /// The newest configuration of new connections, but for what depends on their path.
    config: Mutex<ServerConfig>,
    handshakes: Arc<Semaphore>,
    live: Mutex<HashMap<usize, Arc<Live>>>,
    requests: TaskTracker,
    /// Cancelled once nothing more is taken.
    stop: CancellationToken,
    /// Cancelled once what was taken has been answered, or given up.
    drained: CancellationToken,
}

/// A connection that is served.
struct Live {
    connection: Connection,
    peer: Peer,
    class: TrafficClass,
    chain: Vec<CertificateDer<'static>>,
}

/// Answers greetings.
struct Greeter {
    bulk_ports: Vec<u32>,
}

impl QuicServer {
    /// Answers with `services` at `address` for control and at `bulk_addresses` for bulk bytes; port 0 means any free one.
    /// Runs within a tokio runtime.
    pub fn start(
        identity: &Identity,
        address: SocketAddr,
        bulk_addresses: &[SocketAddr],
        services: Services,
        settings: QuicSettings,
        metrics: TransportMetrics,
    ) -> Result<Self, ServeError> {
        // Before the first use of what it tells changes of.
        let changes = identity.changes();
        let config = server_config(identity)?;
        let bind = |address, class, index: usize| {
            let key = blake3::keyed_hash(&identity.reset_key(), format!("{class:?} {index}").as_bytes());
            Bound::new(address, class, &settings, Some(config.clone()), key.as_bytes())
        };
        let control = bind(address, TrafficClass::Control, 0)?;
        let local_address = control.endpoint.local_addr()?;
        let bulk = bulk_addresses
            .iter()
            .enumerate()
            .map(|(index, address)| bind(*address, TrafficClass::Bulk, index))
            .collect::<Result<Vec<_>, _>>()?;
        let bulk_addresses = bulk
            .iter()
            .map(|bound| bound.endpoint.local_addr())
            .collect::<Result<Vec<_>, _>>()?;
        let greeter = Greeter {
            bulk_ports: bulk_addresses.iter().map(|address| address.port().into()).collect(),
        };
        let services = services.with(&[RequestKind::Hello], Arc::new(greeter), HELLOS_MAX);
        let shared = Arc::new(Shared {
            identity: identity.clone(),
            settings,
            metrics,
            services: Arc::new(services),
            endpoints: std::iter::once(control).chain(bulk).collect(),
            config: Mutex::new(config),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            live: Mutex::default(),
            requests: TaskTracker::new(),
            stop: CancellationToken::new(),
            drained: CancellationToken::new(),
        });
        for (index, bound) in shared.endpoints.iter().enumerate() {
            let accepting = accept(Arc::clone(&shared), index);
            bound.runtime.spawn(accepting);
        }
        tokio::spawn(keep_trust(Arc::clone(&shared), changes));
        Ok(Self {
            shared,
            local_address,
            bulk_addresses,
        })
    }

    /// Where it is called.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Where it takes bulk bytes.
    pub fn bulk_addresses(&self) -> &[SocketAddr] {
        &self.bulk_addresses
    }

    /// Takes no more requests, finishes those under way within `drain`, and closes all connections.
    pub async fn shutdown(&self, drain: Duration) {
        let shared = &self.shared;
        shared.stop.cancel();
        shared.requests.close();
        if tokio::time::timeout(drain, shared.requests.wait()).await.is_err() {
            tracing::warn!(
                requests = shared.requests.len(),
                "requests of other nodes were not finished in time; cutting them off"
            );
        }
        shared.close();
        for bound in &shared.endpoints {
            // What is not told in time, the other end's idle timeout tells.
            let _ = tokio::time::timeout(Duration::from_secs(1), bound.endpoint.wait_idle()).await;
        }
    }
}

impl Drop for QuicServer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.close();
    }
}

impl Live {
    fn close_untrusted(&self) {
        self.connection.close(CloseCode::Untrusted.number(), b"");
    }
}

impl Path for Live {
    fn figures(&self) -> PathFigures {
        connection_figures(&self.connection, self.peer.node, self.class, Side::Server)
    }
}

#[async_trait]
impl Service for Greeter {
    async fn handle(&self, _: Peer, _: Request) -> Result<Response, Failure> {
        let message = HelloReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bulk_ports: self.bulk_ports.clone(),
        };
        Ok(reply(&message, Body::empty()))
    }
}

/// Lets connections in at one socket until the server stops.
async fn accept(shared: Arc<Shared>, index: usize) {
    let bound = &shared.endpoints[index];
    loop {
        let incoming = tokio::select! {
            incoming = bound.endpoint.accept() => incoming,
            () = shared.stop.cancelled() => None,
        };
        let Some(incoming) = incoming else {
            if !shared.stop.is_cancelled() {
                tracing::error!("a socket for other nodes has failed: restart the server");
            }
            return;
        };
        let crowded = shared.handshakes.available_permits() < HANDSHAKES_MAX / 2;
        if crowded && incoming.may_retry() {
            // Refused only where the address has been shown already, which was just looked at.
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = Arc::clone(&shared.handshakes).try_acquire_owned() else {
            shared.metrics.refused_handshake();
            incoming.refuse();
            continue;
        };
        let config = shared.connection_config(bound, incoming.remote_address());
        let (shared, class) = (Arc::clone(&shared), bound.class);
        tokio::spawn(async move {
            let remote = incoming.remote_address();
            let shaken = tokio::time::timeout(shared.settings.connect_timeout, async {
                incoming.accept_with(Arc::new(config))?.await
            });
            let connection = match shaken.await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return shared.refused(remote, &connection_text(&error)),
                Err(_) => return shared.refused(remote, "its handshake was not finished in time"),
            };
            drop(permit);
            serve(&shared, connection, class).await;
        });
    }
}

/// Serves one connection to its end.
async fn serve(shared: &Arc<Shared>, connection: Connection, class: TrafficClass) {
    let chain = certificate_chain(&connection);
    let peer = match shared.identity.identify(&chain) {
        Ok(peer) => peer,
        Err(error) => {
            connection.close(CloseCode::Untrusted.number(), b"");
            return shared.refused(connection.remote_address(), &error.to_string());
        }
    };
    let live = Arc::new(Live {
        connection,
        peer,
        class,
        chain,
    });
    if !shared.enter(&live) {
        live.connection.close(CloseCode::TooMany.number(), b"");
        return shared.refused(live.connection.remote_address(), "there are too many connections");
    }
    // Only now: a list that comes later finds it among the live ones.
    if let Err(error) = shared.identity.check(&live.chain, SystemTime::now()) {
        live.close_untrusted();
        shared.live.lock().remove(&live.connection.stable_id());
        return shared.refused(live.connection.remote_address(), &error.to_string());
    }
    let path: Weak<Live> = Arc::downgrade(&live);
    shared.metrics.add_path(path);
    let caller = Arc::new(Caller {
        peer,
        counts: shared.metrics.of_peer(peer.node, Side::Server),
        services: Arc::clone(&shared.services),
        large_heads: Semaphore::new(LARGE_HEADS_MAX),
    });
    let serving = take_requests(shared, &live, &caller);
    if peer.roles.has(Role::Joiner) {
        // It has one thing to ask.
        let _ = tokio::time::timeout(JOINER_LIFETIME, serving).await;
    } else {
        serving.await;
    }
    shared.live.lock().remove(&live.connection.stable_id());
}

/// Takes requests off a connection to its end. It is held until what was taken is answered: one that nobody holds is closed
/// at once, with all that is on its way.
async fn take_requests(shared: &Shared, live: &Live, caller: &Arc<Caller>) {
    loop {
        let accepted = tokio::select! {
            accepted = live.connection.accept_bi() => accepted,
            () = shared.drained.cancelled() => return,
        };
        match accepted {
            // The library goes on handing out streams that came before a connection was closed: of a peer that was just
            // revoked none may be answered.
            Ok(_) if live.connection.close_reason().is_some() => return,
            Ok((send, receive)) if shared.stop.is_cancelled() => refuse_stream(send, receive),
            Ok((send, receive)) => {
                shared.requests.spawn(answer(Arc::clone(caller), send, receive));
            }
            Err(error) => {
                tracing::debug!(node = %live.peer.node, reason = connection_text(&error), "a connection ended");
                return;
            }
        }
    }
}

impl Shared {
    /// Closes all connections, and says why.
    fn close(&self) {
        for bound in &self.endpoints {
            bound.endpoint.close(CloseCode::Shutdown.number(), b"");
        }
        self.drained.cancel();
    }

    fn connection_config(&self, bound: &Bound, remote: SocketAddr) -> ServerConfig {
        let mut config = self.config.lock().clone();
        config.transport_config(transport_config(
            &self.settings,
            bound.class,
            remote,
            bound.buffer_bytes,
        ));
        config
    }

    fn enter(&self, live: &Arc<Live>) -> bool {
        let mut all = self.live.lock();
        let of_peer = all.values().filter(|other| other.peer.node == live.peer.node).count();
        if all.len() >= self.settings.connections_max || of_peer >= CONNECTIONS_PER_NODE_MAX {
            return false;
        }
        all.insert(live.connection.stable_id(), Arc::clone(live));
        true
    }

    fn refused(&self, remote: SocketAddr, reason: &str) {
        self.metrics.refused_handshake();
        tracing::info!(%remote, reason, "a connection was refused");
    }

    /// Takes up the node's new certificate and list of revoked ones, and closes connections that no longer hold.
    fn renew_trust(&self) {
        match server_config(&self.identity) {
            Ok(config) => {
                for bound in &self.endpoints {
                    bound.endpoint.set_server_config(Some(config.clone()));
                }
                *self.config.lock() = config;
            }
            Err(error) => tracing::error!(%error, "the new certificate cannot be used; going on with the old one"),
        }
        self.close_untrusted();
    }

    fn close_untrusted(&self) {
        let all: Vec<_> = self.live.lock().values().cloned().collect();
        let now = SystemTime::now();
        for live in all {
            if let Err(error) = self.identity.check(&live.chain, now) {
                tracing::warn!(node = %live.peer.node, %error, "closing a connection of a node that is no longer trusted");
                live.close_untrusted();
            }
        }
    }
}

/// Keeps connections to those that are trusted.
async fn keep_trust(shared: Arc<Shared>, mut changes: watch::Receiver<u64>) {
    loop {
        let changed = tokio::select! {
            changed = tokio::time::timeout(TRUST_CHECK_INTERVAL, changes.changed()) => changed,
            () = shared.drained.cancelled() => return,
        };
        match changed {
            Ok(Ok(())) => shared.renew_trust(),
            Err(_) => shared.close_untrusted(),
            Ok(Err(_)) => return,
        }
    }
}

fn server_config(identity: &Identity) -> Result<ServerConfig, ServeError> {
    let protocols: Vec<Vec<u8>> = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    let tls = identity.server_config(&protocols)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| ServeError::Tls(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    // Nodes do not change their address in the middle of a connection.
    config.migration(false);
    config.max_incoming(HANDSHAKES_MAX);
    Ok(config)
}
