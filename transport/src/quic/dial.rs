//! Making one connection: socket, handshake, greeting.
//!
//! Invariant: a member's connection is handed out only after the other side has answered on it: until then it may still
//! refuse our certificate. (A joiner has nothing to ask but to join.)

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cairn_common::{
    ids::NodeId,
    wire::{
        kind::{RequestKind, TrafficClass},
        node::{Hello, HelloReply},
        role::{Role, Roles},
    },
};
use prost::Message;
use quinn::{ClientConfig, Connection, ConnectionError, crypto::rustls::QuicClientConfig};
use rustls::pki_types::CertificateDer;

use super::{
    codes::CloseCode,
    endpoint::Bound,
    reason::connection_text,
    settings::{PROTOCOLS, QuicSettings, transport_config},
    socket::BindError,
    stream::{Incoming, Outgoing},
};
use crate::{Body, Identity, frame};

/// Who may answer requests.
const SERVING: Roles = Roles::of(&[Role::Metadata, Role::Chunkserver]);

/// Makes connections from this node.
pub(super) struct Dialer {
    identity: Identity,
    settings: QuicSettings,
    control: Bound,
    bulk: Vec<Bound>,
}

/// A connection whose other end has proved who it is and has answered.
pub(super) struct Dialed {
    pub(super) connection: Connection,
    /// The certificates that the other end showed.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Its answer to the greeting; none where we are only about to join.
    pub(super) hello: Option<HelloReply>,
}

/// Sockets that connections for bulk bytes are made from, as few from the same as can be. A node sends as much as one
/// socket's buffer holds; what several sent at once to the same would be lost, and lost large datagrams look like a path that
/// does not carry them. One that nobody uses costs a file descriptor.
const BULK_SOCKETS: usize = 8;

/// How long a node may take to answer a greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no connection.
enum Refusal {
    /// The other side says that it knows nothing of it.
    Forgotten,
    /// For a person.
    Because(String),
}

impl Dialer {
    /// Binds the sockets. Runs within a tokio runtime.
    pub(super) fn new(identity: Identity, settings: QuicSettings) -> Result<Self, BindError> {
        let bind = |class| {
            let bind = |ip| Bound::new(SocketAddr::new(ip, 0), class, &settings, None, &random_key()?);
            match settings.local_address {
                Some(ip) => bind(ip),
                // Both families where the kernel has them.
                None => bind(Ipv6Addr::UNSPECIFIED.into()).or_else(|_| bind(Ipv4Addr::UNSPECIFIED.into())),
            }
        };
        let bulk = (0..settings.bulk_connections.max(BULK_SOCKETS)).map(|_| bind(TrafficClass::Bulk));
        Ok(Self {
            bulk: bulk.collect::<Result<_, _>>()?,
            control: bind(TrafficClass::Control)?,
            identity,
            settings,
        })
    }

    /// Connections to each peer for bulk bytes.
    pub(super) fn bulk_connections(&self) -> usize {
        self.settings.bulk_connections.max(1)
    }

    /// Connects to `node` at `address`. An error says why not, for a person.
    pub(super) async fn dial(&self, node: NodeId, address: SocketAddr, class: TrafficClass) -> Result<Dialed, String> {
        let from = match class {
            TrafficClass::Control => &self.control,
            TrafficClass::Bulk => self.least_used(),
        };
        let dialing = async {
            match self.connect(from, node, address).await {
                // Its reason may have been overtaken: the other side forgets a connection soon after closing it.
                Err(Refusal::Forgotten) => self.connect(from, node, address).await,
                outcome => outcome,
            }
        };
        let dialed = tokio::time::timeout(self.settings.connect_timeout, dialing).await;
        let within = self.settings.connect_timeout.as_secs_f64();
        let dialed = dialed.unwrap_or_else(|_| Err(Refusal::Because(format!("no connection within {within} s"))));
        dialed.map_err(|refusal| match refusal {
            Refusal::Forgotten => format!("{address}: {}", connection_text(&ConnectionError::Reset)),
            Refusal::Because(reason) => format!("{address}: {reason}"),
        })
    }

    /// Closes all connections at once, and tells the other ends.
    pub(super) async fn close(&self, within: Duration) {
        let all: Vec<&Bound> = std::iter::once(&self.control).chain(&self.bulk).collect();
        for bound in &all {
            bound.endpoint.close(CloseCode::Shutdown.number(), b"");
        }
        for bound in all {
            // What is not told in time, the other end's idle timeout tells.
            let _ = tokio::time::timeout(within, bound.endpoint.wait_idle()).await;
        }
    }

    /// The socket for bulk bytes with the fewest connections.
    fn least_used(&self) -> &Bound {
        let connections = |bound: &&Bound| bound.endpoint.open_connections();
        self.bulk.iter().min_by_key(connections).expect("there is one at least")
    }

    async fn connect(&self, from: &Bound, node: NodeId, address: SocketAddr) -> Result<Dialed, Refusal> {
        let config = self.client_config(from, address)?;
        let name = self.identity.server_name(node).to_str().into_owned();
        let connecting = from
            .endpoint
            .connect_with(config, address, &name)
            .map_err(|error| error.to_string())?;
        let connection = connecting.await?;
        let chain = certificate_chain(&connection);
        let answering = self.identity.identify(&chain).map_err(|error| error.to_string())?;
        if !answering.roles.has_any(SERVING) {
            let text = format!(
                "its certificate has the roles [{}], none of which serves",
                answering.roles
            );
            return Err(Refusal::Because(text));
        }
        let hello = if self.identity.peer().roles.has(Role::Joiner) {
            None
        } else {
            Some(greet(&connection).await?)
        };
        Ok(Dialed {
            connection,
            chain,
            hello,
        })
    }

    fn client_config(&self, from: &Bound, address: SocketAddr) -> Result<ClientConfig, String> {
        let protocols: Vec<Vec<u8>> = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
        let tls = self
            .identity
            .client_config(&protocols)
            .map_err(|error| error.to_string())?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport_config(&self.settings, from.class, address, from.buffer_bytes));
        Ok(config)
    }
}

/// Nobody keeps connections to a caller's socket beyond its process.
fn random_key() -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(key)
}

/// The certificates that the other end of a connection has shown.
pub(super) fn certificate_chain(connection: &Connection) -> Vec<CertificateDer<'static>> {
    connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .map_or_else(Vec::new, |chain| *chain)
}

async fn greet(connection: &Connection) -> Result<HelloReply, Refusal> {
    let (send, receive) = connection.open_bi().await?;
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let message = hello.encode_to_vec().into();
    let head = frame::encode_request_head(RequestKind::Hello, GREETING_TIMEOUT, &message, None);
    // Where it cannot be sent, the answer tells why.
    let _ = Outgoing::new(send, RequestKind::Hello.priority())
        .send(head, Body::empty())
        .await;
    let head = match Incoming::new(receive).head(None).await {
        Ok(head) => head,
        Err(fault) => {
            let unanswered = || Refusal::Because(format!("the greeting was not answered: {fault:?}"));
            return Err(connection.close_reason().map_or_else(unanswered, Refusal::from));
        }
    };
    let undecodable = |error: &dyn std::fmt::Display| format!("the greeting's answer cannot be decoded: {error}");
    let answer = frame::decode_response_head(head).map_err(|error| undecodable(&error))?;
    let message = answer.map_err(|failure| failure.detail)?;
    Ok(HelloReply::decode(message).map_err(|error| undecodable(&error))?)
}

impl From<ConnectionError> for Refusal {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Reset => Self::Forgotten,
            error => Self::Because(connection_text(&error)),
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Because(reason)
    }
}
