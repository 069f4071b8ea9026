//! Cairn's own carrier as a contender, behind the same trait as the others.
//!
//! Owns: the certificates of both sides, made anew for each run, and a service that does as the others' servers do.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::ids::{ClusterId, NodeId};
use cairn_common::wire::failure::{Failure, FailureCode};
use cairn_common::wire::kind::RequestKind;
use cairn_common::wire::role::Roles;
use cairn_transport::identity::{CertificateAuthority, Identity, load_credentials, save_credentials};
use cairn_transport::{
    Body, NodeAddresses, Peer, QuicServer, QuicSettings, QuicTransport, Response, Service, Services, Transport,
    TransportMetrics, failure,
};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::contender::{Contender, Lane, MAX_BODY_BYTES, REQUEST_BYTES, Request, Target};
use crate::pacer::Pacer;

/// The name that the ratio lines look for.
pub(crate) const NAME: &str = "cairn";

const SERVER: NodeId = NodeId::new(1);
const CALLER: NodeId = NodeId::new(2);
const TIMEOUT: Duration = Duration::from_secs(60);
/// More than any workload has under way.
const IN_FLIGHT_MAX: usize = 4096;

/// The carrier of one lane.
pub(crate) struct Cairn {
    transport: QuicTransport,
}

/// What the server answers.
struct Answers {
    body: Bytes,
}

/// Makes a CA and the certificates of both sides, each in its folder of `directory`.
pub(crate) fn make_certificates(directory: &Path) -> Result<()> {
    let authority = CertificateAuthority::create(ClusterId::new([7; 16]))?;
    let now = SystemTime::now();
    for node in [SERVER, CALLER] {
        let validity = now - Duration::from_secs(60)..now + Duration::from_secs(86_400);
        let credentials = authority.make_credentials(node, Roles::MEMBER, validity)?;
        let folder = directory.join(node.to_string());
        std::fs::create_dir(&folder)?;
        save_credentials(&folder, &credentials)?;
    }
    Ok(())
}

/// A server that answers until it is dropped.
pub(crate) fn listen(address: IpAddr, certificates: &Path, control: &Handle) -> Result<QuicServer> {
    let identity = identity_of(SERVER, certificates)?;
    let answers = Answers {
        body: Bytes::from(vec![7; MAX_BODY_BYTES]),
    };
    let services = Services::new().with(&RequestKind::ALL, Arc::new(answers), IN_FLIGHT_MAX);
    let settings = QuicSettings {
        control_runtime: Some(control.clone()),
        ..QuicSettings::default()
    };
    let any_port = SocketAddr::new(address, 0);
    let metrics = TransportMetrics::default();
    Ok(QuicServer::start(
        &identity,
        any_port,
        &[any_port],
        services,
        settings,
        metrics,
    )?)
}

#[async_trait]
impl Contender for Cairn {
    async fn connect(target: &Target, _: Lane) -> Result<Self> {
        let addresses = NodeAddresses::new();
        addresses.set(SERVER, target.cairn);
        let identity = identity_of(CALLER, &target.certificates)?;
        let transport = QuicTransport::new(
            &identity,
            addresses,
            QuicSettings::default(),
            TransportMetrics::default(),
        )?;
        let cairn = Self { transport };
        cairn.small_request().await?;
        Ok(cairn)
    }

    async fn upload(&self, bytes: Bytes) -> Result<()> {
        self.put(bytes.len(), Body::from(bytes)).await
    }

    async fn paced_upload(&self, chunk: Bytes, chunks: usize, pacer: &Pacer) -> Result<()> {
        let (sender, body) = Body::channel(1);
        let len = chunk.len() * chunks;
        let sending = async {
            for _ in 0..chunks {
                pacer.turn(chunk.len()).await;
                sender.send(chunk.clone()).await?;
            }
            sender.finish();
            Ok(())
        };
        let (put, sent) = tokio::join!(self.put(len, body), sending);
        put.and(sent)
    }

    async fn download(&self, len: usize) -> Result<()> {
        let response = self
            .ask(RequestKind::GetShard, Request::Download(len), Body::empty())
            .await?;
        ensure!(count(response.body).await? == len, "a short download");
        Ok(())
    }

    async fn small_request(&self) -> Result<()> {
        let response = self
            .ask(RequestKind::DeviceStatus, Request::Small, Body::empty())
            .await?;
        ensure!(response.header.len() == REQUEST_BYTES, "a short answer");
        Ok(())
    }
}

impl Cairn {
    async fn put(&self, len: usize, body: Body) -> Result<()> {
        let response = self.ask(RequestKind::PutShard, Request::Upload(len), body).await?;
        ensure!(response.header.len() == REQUEST_BYTES, "a short answer");
        Ok(())
    }

    async fn ask(&self, kind: RequestKind, request: Request, body: Body) -> Result<Response> {
        let request = cairn_transport::Request {
            kind,
            header: Bytes::copy_from_slice(&request.encode()),
            body,
            deadline: Instant::now() + TIMEOUT,
            trace: None,
        };
        Ok(self.transport.send(SERVER, request).await?)
    }
}

#[async_trait]
impl Service for Answers {
    async fn handle(&self, _: Peer, request: cairn_transport::Request) -> Result<Response, Failure> {
        let malformed = |text: String| failure(FailureCode::Malformed, text);
        let bytes = request.header.as_ref().try_into();
        let asked = Request::decode(bytes.map_err(|_| malformed("a request of another length".to_owned()))?);
        let mut response = Response::default();
        match asked.map_err(|error| malformed(error.to_string()))? {
            Request::Upload(len) => {
                let received = count(request.body)
                    .await
                    .map_err(|error| malformed(error.to_string()))?;
                if received != len {
                    return Err(malformed(format!("{received} bytes instead of {len}")));
                }
                response.header = request.header;
            }
            Request::Download(len) => response.body = Body::from(self.body.slice(..len)),
            Request::Small => response.header = request.header,
        }
        Ok(response)
    }
}

/// Reads to the end of a body, without copying.
async fn count(mut body: Body) -> Result<usize> {
    let mut length = 0;
    while let Some(piece) = body.next().await {
        length += piece?.len();
    }
    Ok(length)
}

fn identity_of(node: NodeId, certificates: &Path) -> Result<Identity> {
    Ok(Identity::member(load_credentials(
        &certificates.join(node.to_string()),
    )?)?)
}
