//! A cluster's CA, servers and callers on loopback, and a service that does what a request's message says.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::{
        failure::{Failure, FailureCode},
        kind::RequestKind,
        role::{Role, Roles},
    },
};
use cairn_transport::{
    Body, CallError, NodeAddresses, Peer, QuicServer, QuicSettings, QuicTransport, Request, Response, Service,
    Services, Transport, TransportMetrics, failure,
    identity::{CertificateAuthority, Identity, NodeCredentials, NodeKey},
};
use tokio::time::Instant;

pub(crate) const SERVER: NodeId = NodeId::new(1);
pub(crate) const CALLER: NodeId = NodeId::new(2);
/// Longest wait of any test: a bound, not a speed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A cluster's CA.
pub(crate) struct Cluster {
    pub(crate) id: ClusterId,
    pub(crate) authority: CertificateAuthority,
}

/// Does what the message says: `echo`, `count` the body, `silent`, `stall` after the first piece, `big` answer.
#[derive(Default)]
pub(crate) struct Puppet {
    /// Requests being handled.
    pub(crate) handling: AtomicUsize,
    /// Requests whose handling ended, also by being dropped.
    pub(crate) ended: AtomicUsize,
}

struct Handling<'a>(&'a Puppet);

impl Cluster {
    pub(crate) fn new(number: u8) -> Self {
        let id = ClusterId::new([number; 16]);
        let authority = CertificateAuthority::create(id).expect("a CA");
        Self { id, authority }
    }

    pub(crate) fn credentials(
        &self,
        node: NodeId,
        roles: Roles,
        validity: Range<SystemTime>,
    ) -> (NodeCredentials, Vec<u8>) {
        let key = NodeKey::make().expect("a key");
        let request = key.certificate_request(self.id).expect("a request");
        let issued = self
            .authority
            .issue(&request, node, roles, validity)
            .expect("a certificate");
        let revocations = self
            .authority
            .revocations(Vec::<Vec<u8>>::new(), 1, SystemTime::now())
            .expect("a list");
        let credentials = NodeCredentials {
            certificate: issued.certificate,
            key,
            ca_certificate: self.authority.certificate().clone(),
            revocations,
        };
        (credentials, issued.serial.to_vec())
    }

    pub(crate) fn identity(&self, node: NodeId, roles: Roles) -> Identity {
        Identity::member(self.credentials(node, roles, around_now()).0).expect("an identity")
    }
}

pub(crate) fn around_now() -> Range<SystemTime> {
    let now = SystemTime::now();
    now - Duration::from_secs(60)..now + Duration::from_secs(3600)
}

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A server with a puppet that answers all kinds, `in_flight_max` requests at a time.
pub(crate) fn serve_at(
    identity: &Identity,
    address: SocketAddr,
    bulk: SocketAddr,
    puppet: &Arc<Puppet>,
    in_flight_max: usize,
) -> QuicServer {
    let services = Services::new().with(&RequestKind::ALL, puppet.clone(), in_flight_max);
    let settings = QuicSettings::default();
    QuicServer::start(
        identity,
        address,
        &[bulk],
        services,
        settings,
        TransportMetrics::default(),
    )
    .expect("a server")
}

pub(crate) fn serve(identity: &Identity, puppet: &Arc<Puppet>) -> QuicServer {
    serve_at(identity, loopback(), loopback(), puppet, 1000)
}

/// A caller that knows where the server is.
pub(crate) fn caller(identity: &Identity, server: &QuicServer) -> QuicTransport {
    caller_of(identity, server.local_address(), QuicSettings::default())
}

pub(crate) fn caller_of(identity: &Identity, address: SocketAddr, settings: QuicSettings) -> QuicTransport {
    let addresses = NodeAddresses::new();
    addresses.set(SERVER, address);
    QuicTransport::new(identity, addresses, settings, TransportMetrics::default()).expect("a caller")
}

pub(crate) fn request(kind: RequestKind, message: &'static str, body: Body, timeout: Duration) -> Request {
    Request {
        kind,
        header: Bytes::from_static(message.as_bytes()),
        body,
        deadline: Instant::now() + timeout,
        trace: None,
    }
}

pub(crate) async fn echo(transport: &QuicTransport) -> Result<Bytes, CallError> {
    let asked = request(RequestKind::DeviceStatus, "echo", Body::empty(), DEADLINE);
    transport.send(SERVER, asked).await.map(|response| response.header)
}

/// As a reader of bulk bytes: their number, or why they ended.
pub(crate) async fn length_of(mut body: Body) -> Result<usize, cairn_transport::BodyError> {
    let mut length = 0;
    while let Some(piece) = body.next().await {
        length += piece?.len();
    }
    Ok(length)
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(DEADLINE, waiting).await.is_ok(),
        "not in time: {what}"
    );
}

pub(crate) fn all_members() -> Roles {
    Roles::MEMBER
}

pub(crate) fn only(role: Role) -> Roles {
    Roles::of(&[role])
}

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        self.0.handling.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Service for Puppet {
    async fn handle(&self, _: Peer, mut request: Request) -> Result<Response, Failure> {
        self.handling.fetch_add(1, Ordering::SeqCst);
        let _handling = Handling(self);
        match request.header.as_ref() {
            b"echo" => Ok(Response {
                header: request.header,
                body: request.body,
            }),
            b"count" => {
                let length = length_of(request.body).await;
                let length = length.map_err(|error| failure(FailureCode::Malformed, error.to_string()))?;
                Ok(Response {
                    header: Bytes::from(length.to_string()),
                    body: Body::empty(),
                })
            }
            b"stall" => {
                let _ = request.body.next().await;
                std::future::pending().await
            }
            b"big" => Ok(Response {
                header: Bytes::new(),
                body: Body::from(Bytes::from(vec![7; 32 << 20])),
            }),
            _ => std::future::pending().await,
        }
    }
}
