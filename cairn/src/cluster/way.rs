//! The way of an operator's command to the metadata service: from the node of a directory to whoever leads.
//!
//! Invariant: what is asked of the leader is asked until it is answered for good.

use std::{
    io::{self, Write as _},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use cairn_common::{
    ids::NodeId,
    wire::{
        failure::{Failure, FailureCode},
        kind::RequestKind,
        query::{Answer, Query, ReadReply, ReadRequest},
    },
};
use cairn_transport::{Addresses, Body, CallError, NodeAddresses, QuicSettings, QuicTransport, TransportMetrics, call};
use prost::Message;

use super::ClusterDir;
use crate::running::Running;

/// How long one request may take: a learner that is to be promoted is brought up to date first.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(240);

/// How long a node may take over a page of its inventory.
const NODE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the leader is asked in all.
const CHANGE_DEADLINE: Duration = Duration::from_secs(3600);

/// Pause before the leader is looked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// The way to some member of the group.
pub(crate) struct Way {
    transport: Arc<QuicTransport>,
    addresses: NodeAddresses,
    node: NodeId,
}

impl Way {
    /// From the node of the directory `data`: to the member that runs there, or to the node that let it in.
    pub(crate) async fn from(data: &Path) -> anyhow::Result<Self> {
        let directory = ClusterDir::of(data);
        let identity = directory.identity()?;
        let addresses = NodeAddresses::new();
        let own = Running::load(data).ok().and_then(|running| running.cluster);
        let node = match own {
            Some(address) => {
                Addresses::set(&addresses, identity.peer().node, &address);
                identity.peer().node
            }
            None => {
                let admitted_by = directory
                    .admitted_by()
                    .context("no server has run here that could be asked")?;
                let node = NodeId::new(admitted_by.node);
                for address in &admitted_by.addresses {
                    Addresses::set(&addresses, node, address);
                }
                node
            }
        };
        let (settings, metrics) = (QuicSettings::default(), TransportMetrics::default());
        let transport = QuicTransport::new(&identity, addresses.clone(), settings, metrics)?;
        Ok(Self {
            transport: Arc::new(transport),
            addresses,
            node,
        })
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
        let deadline = Instant::now() + CHANGE_DEADLINE;
        loop {
            let failure = match self.ask(kind, message, REQUEST_TIMEOUT).await {
                Ok(reply) => return Ok(reply),
                Err(CallError::Failed(failure)) => failure,
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
            writeln!(io::stderr().lock(), "cairn: {}; going on", failure.detail)?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The answer to a query.
    pub(crate) async fn query(&mut self, query: Query) -> anyhow::Result<Answer> {
        let request = ReadRequest {
            query: Some(query),
            group: 0,
        };
        let reply: ReadReply = self.ask_leader(RequestKind::MetadataRead, &request).await?;
        match reply.answer {
            Some(Answer::Refused(refusal)) => bail!("{}", refusal.detail),
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
        self.transport.close(Duration::from_millis(200)).await;
    }
}

/// Whether asking again can help.
fn may_pass(failure: &Failure) -> bool {
    matches!(
        failure.code(),
        FailureCode::Busy | FailureCode::NotLeader | FailureCode::DeadlineExceeded
    )
}
