//! The metadata servers of a process, as everybody else sees them: one.
//!
//! Invariant: a request goes to the one that leads, where one does; the others are asked by each other only.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cairn_common::{
    ids::NodeId,
    wire::{
        failure::{Failure, FailureCode},
        kind::RequestKind,
    },
};
use cairn_metadata::MetadataServer;
use cairn_transport::{Peer, Request, Response, Service, failure};
use parking_lot::RwLock;
use tokio::task::{AbortHandle, JoinSet};

/// The metadata servers of a process.
#[derive(Default)]
pub(crate) struct Voters {
    /// The one in the store's directory first, where it runs.
    members: RwLock<Vec<Member>>,
    /// What a person should know about those that do not run.
    remarks: RwLock<Vec<String>>,
    keeper: RwLock<Option<AbortHandle>>,
    /// How many the group counts on, those included that do not run.
    counted: AtomicUsize,
}

#[derive(Clone)]
struct Member {
    node: NodeId,
    server: MetadataServer,
}

impl Voters {
    /// Takes in one that was started; that of the store's directory is the first, whenever it comes.
    pub(super) fn take_in(&self, node: NodeId, server: MetadataServer, is_own: bool) {
        let at = if is_own { 0 } else { self.members.read().len() };
        self.members.write().insert(at, Member { node, server });
    }

    /// Lets one go, stopped.
    pub(super) async fn let_go(&self, node: NodeId) {
        let gone: Vec<Member> = self
            .members
            .write()
            .extract_if(.., |member| member.node == node)
            .collect();
        for member in gone {
            // It is out of the group: what it may not have written nobody needs.
            if let Err(error) = member.server.stop().await {
                tracing::warn!(voter = %node, %error, "a metadata voter was not stopped in order");
            }
        }
    }

    pub(super) fn runs(&self, node: NodeId) -> bool {
        self.members.read().iter().any(|member| member.node == node)
    }

    /// How many run, and have not failed.
    pub(crate) fn working(&self) -> usize {
        let members = self.members.read();
        members.iter().filter(|member| member.server.failed().is_none()).count()
    }

    /// Whether `node` runs and is up to date, while another of them leads.
    pub(super) fn could_lead(&self, node: NodeId) -> bool {
        let members = self.members.read();
        let leads = |member: &Member| member.server.leads_in().is_some();
        let is_ready = |member: &Member| member.node == node && member.server.is_ready() && !leads(member);
        members.iter().any(is_ready) && members.iter().any(leads)
    }

    /// Tells what a person should know about those that do not run.
    pub(super) fn note_remarks(&self, remarks: Vec<String>) {
        *self.remarks.write() = remarks;
    }

    pub(super) fn keep_by(&self, keeper: AbortHandle) {
        *self.keeper.write() = Some(keeper);
    }

    /// What a person should know: voters that do not run, or have failed.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = self.remarks.read().clone();
        for member in &*self.members.read() {
            if let Some(reason) = member.server.failed() {
                remarks.push(format!("metadata voter {} has stopped: {reason}", member.node));
            }
        }
        remarks
    }

    /// Why they answer no more, where those that work are no majority: the others may come back with a restart.
    pub(crate) fn failed(&self) -> Option<String> {
        let (working, counted) = (self.working(), self.counted.load(Ordering::Acquire).max(1));
        (working * 2 <= counted).then(|| {
            let remarks = self.remarks().join("; ");
            format!("{working} of {counted} metadata voters work, which is no majority: {remarks}")
        })
    }

    /// Notes how many the group counts on.
    pub(super) fn count_on(&self, voters: usize) {
        self.counted.store(voters, Ordering::Release);
    }

    /// Whether this process has all members that the group counts on, so that nobody else has to understand what it does.
    pub(crate) fn are_all(&self) -> bool {
        let told = self.answering().map(|server| server.status().members);
        let members = self.members.read();
        let runs = |node: u64| members.iter().any(|member| member.node.value() == node);
        told.is_some_and(|told| told.iter().all(|member| runs(member.node)))
    }

    /// The one whose counters are shown: that of the store's directory, or else the first.
    pub(crate) fn shown(&self) -> Option<MetadataServer> {
        self.members.read().first().map(|member| member.server.clone())
    }

    /// Stops them all, and tells of the first trouble.
    pub(crate) async fn shutdown(&self) -> anyhow::Result<()> {
        if let Some(keeper) = self.keeper.write().take() {
            keeper.abort();
        }
        let members = self.members.read().clone();
        if let [only] = members.as_slice() {
            return Ok(only.server.shutdown().await?);
        }
        // Nobody is left to hand leadership to.
        let mut stopping: JoinSet<_> = (members.into_iter())
            .map(|member| async move { member.server.stop().await })
            .collect();
        let mut outcome = Ok(());
        while let Some(stopped) = stopping.join_next().await {
            outcome = outcome.and(stopped?.map_err(anyhow::Error::from));
        }
        outcome
    }

    /// Whichever leads; where nobody does, one that still answers.
    fn answering(&self) -> Option<MetadataServer> {
        let members = self.members.read();
        if let [only] = members.as_slice() {
            return Some(only.server.clone());
        }
        // Of two the one of the earlier term does not know yet that it leads no more.
        let leading = members.iter().filter(|member| member.server.leads_in().is_some());
        let leading = leading.max_by_key(|member| member.server.leads_in());
        leading.map(|member| member.server.clone()).or_else(|| self.steady())
    }

    /// One that answers, the same as long as it does.
    fn steady(&self) -> Option<MetadataServer> {
        let members = self.members.read_recursive();
        let working = members.iter().find(|member| member.server.failed().is_none());
        working.or_else(|| members.first()).map(|member| member.server.clone())
    }
}

/// What is asked of the process's metadata server.
#[async_trait]
impl Service for Voters {
    async fn handle(&self, from: Peer, request: Request) -> Result<Response, Failure> {
        // A checkpoint that is read page by page is one member's.
        let is_paged = matches!(request.kind, RequestKind::ReadCheckpoint | RequestKind::BackUp);
        let Some(server) = (if is_paged { self.steady() } else { self.answering() }) else {
            let text = "the metadata servers of this process are not running yet";
            return Err(failure(FailureCode::Busy, text));
        };
        server.handle(from, request).await
    }
}
