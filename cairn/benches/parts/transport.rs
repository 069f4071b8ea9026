//! The part of the network between servers: shards sent and pieces fetched over the cluster's own carrier, on loopback.
//!
//! Both ends run in this process and nothing else does, so it is the process's CPU time that counts: packets are sealed, sent,
//! received and opened on threads of the runtime. Invariant: the bytes are handed over as they are, neither kept nor hashed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    ids::{ClusterId, NodeId},
    limits::{CHUNK_SIZE_BYTES, READ_PIECE_BYTES},
    redundancy::Redundancy,
    wire::{
        failure::{Failure, FailureCode},
        kind::RequestKind,
        role::Roles,
    },
};
use cairn_transport::{
    Body, Identity, NodeAddresses, Peer, QuicServer, QuicSettings, QuicTransport, Request, Response, Service, Services,
    TransportMetrics, call, failure, identity::CertificateAuthority, reply,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

use crate::cpu::{MEASURED, per_gb};

const SERVER: NodeId = NodeId::new(1);
const CALLER: NodeId = NodeId::new(2);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Requests under way at once: two chunks of six shards, as writers of large objects have.
const IN_FLIGHT: usize = 12;

/// Before what is counted: connections open, and find the path's packet size.
const WARM_UP: Duration = Duration::from_millis(500);

/// All shards of each chunk, from the writer to the devices' servers.
pub(crate) fn put(scheme: Redundancy) -> Result<f64> {
    let shard_len = scheme.shard_len(CHUNK_SIZE_BYTES);
    let per_byte = measure(RequestKind::PutShard, shard_len)?;
    Ok(per_byte * (scheme.width() * shard_len) as f64 / CHUNK_SIZE_BYTES as f64)
}

/// What is read, from the devices' servers to the reader.
pub(crate) fn get(scheme: Redundancy) -> Result<f64> {
    let piece_len = READ_PIECE_BYTES / scheme.data_shards();
    measure(RequestKind::GetShard, piece_len)
}

/// CPU seconds of both ends per GB carried, in bodies of `len` bytes.
fn measure(kind: RequestKind, len: usize) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let authority = CertificateAuthority::create(ClusterId::new([7; 16]))?;
        let identity = |node| {
            let now = SystemTime::now();
            let validity = now - Duration::from_secs(60)..now + Duration::from_secs(3600);
            Identity::member(authority.make_credentials(node, Roles::MEMBER, validity)?)
        };
        let answers = Answers {
            body: Bytes::from(vec![7; len]),
        };
        let services = Services::new().with(&RequestKind::ALL, Arc::new(answers), IN_FLIGHT);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (settings, metrics) = (QuicSettings::default(), TransportMetrics::default());
        let server = QuicServer::start(&identity(SERVER)?, any_port, &[any_port], services, settings, metrics)?;
        let addresses = NodeAddresses::new();
        addresses.set(SERVER, server.local_address());
        let (settings, metrics) = (QuicSettings::default(), TransportMetrics::default());
        let transport = Arc::new(QuicTransport::new(&identity(CALLER)?, addresses, settings, metrics)?);
        load(&transport, kind, len, WARM_UP).await?;
        let before = process_cpu()?;
        let bodies = load(&transport, kind, len, MEASURED).await?;
        Ok(per_gb(process_cpu()? - before, bodies * len))
    })
}

/// Sends or fetches bodies for `time`; gives how many.
async fn load(transport: &Arc<QuicTransport>, kind: RequestKind, len: usize, time: Duration) -> Result<usize> {
    let body = match kind {
        RequestKind::PutShard => Bytes::from(vec![3; len]),
        _ => Bytes::new(),
    };
    let end = Instant::now() + time;
    let mut senders = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (transport, body) = (Arc::clone(transport), body.clone());
        senders.spawn(async move {
            let mut bodies = 0;
            while Instant::now() < end {
                let sent = Body::from(body.clone());
                let ((), answer) = call(transport.as_ref(), SERVER, kind, &(), sent, TIMEOUT).await?;
                let received = count(answer).await?;
                ensure!(received + body.len() == len, "{received} bytes came back");
                bodies += 1;
            }
            anyhow::Ok(bodies)
        });
    }
    let mut bodies = 0;
    while let Some(sender) = senders.join_next().await {
        bodies += sender.context("a sender panicked")??;
    }
    Ok(bodies)
}

/// Takes what is sent, and answers out of memory.
struct Answers {
    body: Bytes,
}

#[async_trait]
impl Service for Answers {
    async fn handle(&self, _: Peer, request: Request) -> Result<Response, Failure> {
        let body = match request.kind {
            RequestKind::PutShard => {
                let counted = count(request.body).await;
                counted.map_err(|error| failure(FailureCode::Internal, error.to_string()))?;
                Body::empty()
            }
            _ => Body::from(self.body.clone()),
        };
        Ok(reply(&(), body))
    }
}

/// Reads to the end of a body, without copying.
async fn count(mut body: Body) -> Result<usize> {
    let mut len = 0;
    while let Some(piece) = body.next().await {
        len += piece?.len();
    }
    Ok(len)
}

fn process_cpu() -> Result<Duration> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).context("a CPU time below zero")?;
    Ok(Duration::new(
        seconds,
        u32::try_from(time.tv_nsec).context("nanoseconds")?,
    ))
}
