//! The way of an operator's command to the metadata service: from the node of a directory to whoever leads, or to the store
//! that runs on the directory.
//!
//! Invariant: what is asked of the leader is asked until it is answered for good.

use std::{
    fmt,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use cairn_common::{
    ids::NodeId,
    limits::METADATA_DEADLINE_MS,
    wire::{
        command::{ErrorCode, Outcome, Refusal, WriteReply, WriteRequest},
        failure::{Failure, FailureCode},
        kind::RequestKind,
        query::{Answer, Query, ReadReply, ReadRequest},
    },
};
use cairn_transport::{
    Addresses, Body, CallError, LocalTransport, NodeAddresses, QuicSettings, QuicTransport, Transport,
    TransportMetrics, call,
};
use prost::Message;

use super::{ClusterDir, Contacts};
use crate::{metadata_state::Place, running::Running};

/// How long one request may take: a learner that is to be promoted is brought up to date first.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(240);

/// How long a node may take over a page of its inventory.
const NODE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the leader is asked in all.
const CHANGE_DEADLINE: Duration = Duration::from_secs(3600);

/// All parts of a store in one process are this node to an operator on its machine.
const LOCAL: NodeId = NodeId::new(1);

/// Pause before the leader is looked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// The way to some member of the group.
pub(crate) struct Way {
    transport: Arc<dyn Transport>,
    /// The same where it leads to other nodes.
    quic: Option<Arc<QuicTransport>>,
    addresses: NodeAddresses,
    node: NodeId,
    /// Members that are asked where that one cannot be reached.
    others: Vec<NodeId>,
    /// Bounds of one request, and of asking until there is an answer for good.
    request_timeout: Duration,
    deadline: Duration,
    /// Whether a person is told what is waited for.
    tells: bool,
}

/// What the metadata service said no to.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    detail: String,
}

impl Way {
    /// From the node of the directory `data`: to the member that runs there, or to one of those that the node has met.
    pub(crate) async fn from(data: &Path) -> anyhow::Result<Self> {
        let directory = ClusterDir::of(data);
        let identity = directory.identity()?;
        let (own, addresses) = (identity.peer().node, NodeAddresses::new());
        let mut members = match Contacts::of(&directory) {
            Ok(contacts) => contacts.announce(&addresses),
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "no other metadata servers are known here");
                Vec::new()
            }
        };
        members.retain(|member| *member != own);
        if let Some(address) = Running::load(data).ok().and_then(|running| running.cluster) {
            Addresses::set(&addresses, own, &address);
            members.insert(0, own);
        }
        ensure!(!members.is_empty(), "no server has run here that could be asked");
        let node = members.remove(0);
        let (settings, metrics) = (QuicSettings::default(), TransportMetrics::default());
        let transport = Arc::new(QuicTransport::new(&identity, addresses.clone(), settings, metrics)?);
        Ok(Self {
            transport: Arc::clone(&transport) as _,
            quic: Some(transport),
            addresses,
            node,
            others: members,
            request_timeout: REQUEST_TIMEOUT,
            deadline: CHANGE_DEADLINE,
            tells: true,
        })
    }

    /// The same, or, where the directory `data` is no node of a cluster, to the store that runs on it. Commands that are done
    /// within one entry of the log are asked this way: nobody waits an hour for them.
    pub(crate) async fn to_service(data: &Path) -> anyhow::Result<Self> {
        let mut way = if ClusterDir::of(data).exists() {
            Self::from(data).await?
        } else {
            let local = LocalTransport::new(data);
            ensure!(
                local.answers().await,
                "no `cairn server` runs on {}: start it first, or name the directory of a node of a cluster",
                data.display()
            );
            Self {
                transport: Arc::new(local),
                quic: None,
                addresses: NodeAddresses::new(),
                node: LOCAL,
                others: Vec::new(),
                request_timeout: REQUEST_TIMEOUT,
                deadline: CHANGE_DEADLINE,
                tells: true,
            }
        };
        way.request_timeout = Duration::from_millis(METADATA_DEADLINE_MS);
        way.deadline = 2 * way.request_timeout;
        Ok(way)
    }

    /// To the metadata server of this process, which is asked as long as it leads.
    pub(crate) fn within(transport: Arc<dyn Transport>, node: NodeId) -> Self {
        Self {
            transport,
            quic: None,
            addresses: NodeAddresses::new(),
            node,
            others: Vec::new(),
            request_timeout: Duration::from_millis(METADATA_DEADLINE_MS),
            deadline: Duration::ZERO,
            tells: false,
        }
    }

    /// The same for a server, which nobody watches.
    pub(super) fn in_silence(mut self) -> Self {
        self.tells = false;
        self
    }

    pub(crate) async fn ask<Reply: Message + Default>(
        &self,
        kind: RequestKind,
        message: &impl Message,
        timeout: Duration,
    ) -> Result<Reply, CallError> {
        let asked = call(
            self.transport.as_ref(),
            self.node,
            kind,
            message,
            Body::empty(),
            timeout,
        )
        .await;
        asked.map(|(reply, _)| reply)
    }

    /// Asks whoever leads, until there is an answer for good.
    pub(crate) async fn ask_leader<Reply: Message + Default>(
        &mut self,
        kind: RequestKind,
        message: &impl Message,
    ) -> anyhow::Result<Reply> {
        let deadline = Instant::now() + self.deadline;
        loop {
            let failure = match self.ask(kind, message, self.request_timeout).await {
                Ok(reply) => return Ok(reply),
                Err(CallError::Failed(failure)) => failure,
                Err(error @ CallError::Unreachable { .. }) => {
                    let Some(other) = self.others.pop() else {
                        return Err(error.into());
                    };
                    tracing::debug!(%error, %other, "another metadata server is asked");
                    self.node = other;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let turned = failure.code() == FailureCode::NotLeader
                && failure.leader != 0
                && self.turn(failure.leader, &failure.leader_address);
            if turned {
                continue;
            }
            if !may_pass(&failure) || Instant::now() >= deadline {
                bail!("{}", failure.detail);
            }
            if self.tells {
                writeln!(io::stderr().lock(), "cairn: {}; going on", failure.detail)?;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The answer to a query.
    pub(crate) async fn query(&mut self, query: Query) -> anyhow::Result<Answer> {
        let request = ReadRequest {
            query: Some(query),
            ..ReadRequest::default()
        };
        let reply: ReadReply = self.ask_leader(RequestKind::MetadataRead, &request).await?;
        match reply.answer {
            Some(Answer::Refused(refusal)) => Err(Refused::from(refusal).into()),
            Some(answer) => Ok(answer),
            None => bail!("the metadata service gave an empty answer"),
        }
    }

    /// Where a node is called.
    pub(crate) fn announce(&self, node: u64, address: &str) {
        if !address.is_empty() {
            Addresses::set(&self.addresses, NodeId::new(node), address);
        }
    }

    /// Asks a node, whichever the way leads to.
    pub(crate) async fn ask_node<Reply: Message + Default>(
        &self,
        node: NodeId,
        kind: RequestKind,
        message: &impl Message,
    ) -> Result<Reply, CallError> {
        let transport = self.transport.as_ref();
        let asked = call(transport, node, kind, message, Body::empty(), NODE_TIMEOUT).await;
        asked.map(|(reply, _)| reply)
    }

    /// The state of the metadata server that the way leads to, fetched into `scratch`.
    pub(crate) async fn fetch_state(&self, scratch: PathBuf) -> anyhow::Result<Place> {
        Place::fetched(self.transport.as_ref(), self.node, scratch).await
    }

    /// Has a command carried out.
    pub(crate) async fn command(&mut self, request: &WriteRequest) -> anyhow::Result<Outcome> {
        let reply: WriteReply = self.ask_leader(RequestKind::MetadataWrite, request).await?;
        match reply.outcome {
            Some(Outcome::Refused(refusal)) => Err(Refused::from(refusal).into()),
            Some(outcome) => Ok(outcome),
            None => bail!("the metadata service gave an empty answer"),
        }
    }

    /// Asks `node` from now on; `false` where it is asked already.
    pub(crate) fn turn(&mut self, node: u64, address: &str) -> bool {
        let node = NodeId::new(node);
        if node == self.node {
            return false;
        }
        Addresses::set(&self.addresses, node, address);
        self.node = node;
        true
    }

    pub(crate) async fn close(&self) {
        if let Some(quic) = &self.quic {
            quic.close(Duration::from_millis(200)).await;
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code(),
            detail: refusal.detail,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refused {}

/// Whether asking again can help.
fn may_pass(failure: &Failure) -> bool {
    matches!(
        failure.code(),
        FailureCode::Busy | FailureCode::NotLeader | FailureCode::DeadlineExceeded
    )
}
