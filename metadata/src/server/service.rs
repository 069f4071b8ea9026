//! The server as others see it: started, asked, shut down.
//!
//! It must never carry out a command that only the server itself may give when it comes from outside. Invariant: a reply to
//! a command is sent only after its entry is durable and applied; an answer to a query reflects all that was acknowledged
//! before the query came.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::SessionId,
    limits::{FEATURE_LEVEL, METADATA_DEADLINE_MS},
    wire::{
        checkpoint::{BackUp, ReadCheckpoint},
        command::{Command, WriteReply, WriteRequest},
        failure::{Failure, FailureCode},
        group::{GroupChange, GroupStatus, GroupStatusRequest},
        kind::RequestKind,
        lease::LeasePoll,
        query::{Answer, Query, ReadReply, ReadRequest},
        role::Roles,
        server::ServerReport,
    },
};
use cairn_transport::{Body, Peer, Request, Response, Service, answer_gathered, failure, reply};
use parking_lot::Mutex;
use prost::Message;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    barrier::Barrier,
    checkpoints::Checkpoints,
    clock::Clock,
    config::{MetadataConfig, Surroundings},
    file_leases::FileLeases,
    health::Health,
    leader,
    members::Members,
    metrics::Metrics,
    proposer::{Proposer, SubmitError},
    quarantine,
    servers::Servers,
    sessions::Sessions,
    space::Space,
};
use crate::{
    core::view::ViewError,
    raft::{CoreMachine, GROUP, Identity, Links, Machine, ProposeError, RaftNode, RaftSettings, SnapshotPolicy},
    store::StoreError,
};

pub use crate::raft::StartError;

/// What clients ask a metadata server.
pub const CLIENT_KINDS: &[RequestKind] = &[
    RequestKind::MetadataWrite,
    RequestKind::MetadataWrites,
    RequestKind::MetadataRead,
];

/// What members and operators ask a metadata server: under a bound of its own, so that clients' load never takes its place.
pub const GROUP_KINDS: &[RequestKind] = &[
    RequestKind::RaftAppend,
    RequestKind::RaftVote,
    RequestKind::RaftSnapshot,
    RequestKind::ReadIndex,
    RequestKind::GroupChange,
    RequestKind::GroupStatus,
    RequestKind::ReadCheckpoint,
    RequestKind::BackUp,
    RequestKind::ServerReport,
];

/// What each mount asks a metadata server all the time: under a bound of its own, since others wait for what mounts say by it.
pub const LEASE_KINDS: &[RequestKind] = &[RequestKind::LeasePoll];

/// How long a server that shuts down waits for another to take leadership up.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(3);

/// When to ask again where nobody leads, or commands are refused for now, in milliseconds.
const NO_LEADER_RETRY_MS: u32 = 100;

/// When to ask again for the reply to a command that waits for mounts to let go of what they know, in milliseconds.
const HELD_RETRY_MS: u32 = 20;

/// How long what a member said of its disk counts.
const SPACE_REPORT_AGE: Duration = Duration::from_secs(30);

/// A metadata server. Clones share it; its tasks end with the last.
#[derive(Clone)]
pub struct MetadataServer {
    inner: Arc<Inner>,
    tasks: Arc<Tasks>,
}

/// What the parts of a server share.
pub(super) struct Inner {
    pub(super) node: RaftNode,
    pub(super) machine: Arc<dyn Machine>,
    pub(super) proposer: Proposer,
    pub(super) barrier: Barrier,
    pub(super) sessions: Sessions,
    pub(super) file_leases: Arc<FileLeases>,
    pub(super) members: Members,
    pub(super) servers: Servers,
    /// The cluster map as it was last read; of epoch 0 before.
    pub(super) map: Mutex<Arc<ClusterMap>>,
    pub(super) health: Arc<Health>,
    pub(super) ready: watch::Sender<bool>,
    pub(super) space: Space,
    checkpoints: Checkpoints,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    /// The highest feature level that was seen in force.
    pub(super) level_seen: AtomicU32,
    pub(super) dir: PathBuf,
}

/// The tasks of a server.
#[derive(Default)]
struct Tasks(Mutex<Vec<AbortHandle>>);

impl MetadataServer {
    /// Opens the store and takes part in the group. A sole voter leads and is up to date when this returns; any other may not
    /// answer yet: see [`MetadataServer::readiness`].
    pub async fn start(config: MetadataConfig, surroundings: Surroundings) -> Result<Self, StartError> {
        Self::start_with(config, surroundings, Arc::new(CoreMachine)).await
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The term in which it leads its group, as far as it knows, where it does.
    pub fn leads_in(&self) -> Option<u64> {
        self.inner.node.leading_term().filter(|_| self.failed().is_none())
    }

    /// Why it has stopped answering for good, where it has.
    pub fn failed(&self) -> Option<&str> {
        self.inner.health.failed()
    }

    /// Whether it answers: it knows a leader, and lately held all that was committed.
    pub fn is_ready(&self) -> bool {
        *self.inner.ready.borrow()
    }

    /// Told whenever [`MetadataServer::is_ready`] changes.
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.inner.ready.subscribe()
    }

    /// Waits until it answers, at most so long; whether it does.
    pub async fn ready(&self, within: Duration) -> bool {
        let mut readiness = self.readiness();
        timeout(within, readiness.wait_for(|ready| *ready)).await.is_ok()
    }

    /// How this member and its group are.
    pub fn status(&self) -> GroupStatus {
        self.inner.status()
    }

    /// Hands leadership to another where there is one, stops answering, flushes and closes the store, which another process
    /// may open then. A second call changes nothing.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        if self.failed().is_none()
            && self.inner.node.leading_term().is_some()
            && self.inner.node.voters().len() > 1
            && let Err(error) = self.inner.hand_over(HAND_OVER_DEADLINE).await
        {
            tracing::warn!(%error, "leadership was not handed over; the others will elect a leader");
        }
        self.stop().await
    }

    /// As a server that is killed, but for the store, which is closed. For when nobody is left to hand leadership to, since all
    /// members end together.
    pub async fn stop(&self) -> Result<(), StoreError> {
        self.inner.health.shut_down();
        self.inner.ready.send_replace(false);
        self.tasks.end();
        match self.inner.node.shutdown().await {
            Err(StoreError::Closed) => Ok(()),
            outcome => outcome,
        }
    }

    pub(super) async fn start_with(
        config: MetadataConfig,
        surroundings: Surroundings,
        machine: Arc<dyn Machine>,
    ) -> Result<Self, StartError> {
        if let Some(reason) = quarantine::reason(&config.dir) {
            return Err(StartError::Differs(reason));
        }
        let metrics = Metrics::default();
        let observed = metrics.clone();
        let observe_sync = Box::new(move |took: Duration| observed.observe_sync(took));
        let links = Links {
            identity: Identity {
                cluster: config.cluster,
                server: config.server_id,
            },
            transport: Arc::clone(&surroundings.transport),
            addresses: surroundings.addresses,
        };
        let file_leases = Arc::new(FileLeases::new(metrics.clone()));
        let (observed, observer) = (Arc::clone(&machine), Arc::clone(&file_leases));
        let node = RaftNode::start(raft_settings(&config), observed, observer, links, observe_sync).await?;
        let clock = surroundings.clock;
        let (proposer, proposer_task) = Proposer::new(node.clone(), Arc::clone(&clock), metrics.clone());
        let (barrier, barrier_task) = Barrier::new(node.clone(), metrics.clone());
        let inner = Arc::new(Inner {
            checkpoints: Checkpoints::new(Arc::clone(node.state())),
            machine,
            proposer,
            barrier,
            sessions: Sessions::new(config.session_lease),
            file_leases,
            members: Members::default(),
            servers: Servers::default(),
            map: Mutex::default(),
            health: Arc::default(),
            ready: watch::Sender::new(false),
            space: Space::new(config.dir.clone()),
            clock,
            metrics,
            level_seen: AtomicU32::new(0),
            dir: config.dir.clone(),
            node: node.clone(),
        });
        if let Some(level) = inner.feature_level().filter(|level| *level > FEATURE_LEVEL) {
            return Err(StartError::Newer(level));
        }
        let tasks = Tasks::default();
        tasks.run(proposer_task.run());
        tasks.run(barrier_task.run());
        tasks.run(leader::run(Arc::clone(&inner), config, surroundings.transport));
        tasks.run(leader::attend(Arc::clone(&inner)));
        tasks.run(inner.checkpoints.clone().remove_unread());
        let (keeper, watched, health) = (node.clone(), node, Arc::clone(&inner.health));
        tasks.run(async move { keeper.keep_log_short().await });
        tasks.run(async move { health.fail(&watched.stopped().await) });
        Ok(Self {
            inner,
            tasks: Arc::new(tasks),
        })
    }
}

#[async_trait]
impl Service for MetadataServer {
    async fn handle(&self, from: Peer, request: Request) -> Result<Response, Failure> {
        let deadline = request
            .deadline
            .min(Instant::now() + Duration::from_millis(METADATA_DEADLINE_MS));
        match request.kind {
            RequestKind::MetadataWrite => {
                let header = self.inner.answer_write(from, request.header, deadline).await?;
                Ok(Response {
                    header,
                    body: Body::empty(),
                })
            }
            RequestKind::MetadataWrites => {
                let answer = |message| self.inner.answer_write(from, message, deadline);
                Box::pin(answer_gathered(request.header, answer)).await
            }
            RequestKind::MetadataRead => {
                self.inner.health.check()?;
                let message = decode::<ReadRequest>(request.header)?;
                check_reader(from, &message)?;
                let answer = timeout_at(deadline, self.inner.read(message)).await;
                Ok(reply(&answer.map_err(|_| too_late())??, Body::empty()))
            }
            // Boxed: the future of a command is made and moved thousands of times a second, and theirs are large.
            _ => Box::pin(self.handle_group(from, request)).await,
        }
    }
}

impl MetadataServer {
    /// Answers what members and operators ask.
    async fn handle_group(&self, from: Peer, request: Request) -> Result<Response, Failure> {
        match request.kind {
            RequestKind::RaftAppend | RequestKind::RaftVote | RequestKind::RaftSnapshot | RequestKind::ReadIndex => {
                self.inner.health.check()?;
                self.inner.node.handle(from.node, request).await
            }
            RequestKind::GroupChange => {
                self.inner.health.check()?;
                let message = decode::<GroupChange>(request.header)?;
                let changed = self.inner.change_group(message, request.deadline).await?;
                Ok(reply(&changed, Body::empty()))
            }
            // Also of a server that has stopped answering: it says why.
            RequestKind::GroupStatus => {
                let status = self
                    .inner
                    .answer_status(from, &decode::<GroupStatusRequest>(request.header)?)?;
                Ok(reply(&status, Body::empty()))
            }
            RequestKind::ReadCheckpoint => {
                let message = decode::<ReadCheckpoint>(request.header)?;
                self.inner.checkpoints.read(message, request.deadline).await
            }
            RequestKind::ServerReport => {
                self.inner.health.check()?;
                let message = decode::<ServerReport>(request.header)?;
                let taken = timeout_at(request.deadline, self.inner.take_report(from, message)).await;
                Ok(reply(&taken.map_err(|_| too_late())??, Body::empty()))
            }
            RequestKind::LeasePoll => {
                self.inner.health.check()?;
                let polled = self.inner.poll_leases(decode::<LeasePoll>(request.header)?);
                let news = timeout_at(request.deadline, polled).await;
                Ok(reply(&news.map_err(|_| too_late())??, Body::empty()))
            }
            RequestKind::BackUp => {
                self.inner.health.check()?;
                self.inner.back_up(decode::<BackUp>(request.header)?).await
            }
            RequestKind::MetadataWrite
            | RequestKind::MetadataWrites
            | RequestKind::MetadataRead
            | RequestKind::PutShard
            | RequestKind::GetShard
            | RequestKind::DeleteShard
            | RequestKind::ListShards
            | RequestKind::DeviceStatus
            | RequestKind::RepairShard
            | RequestKind::RecodeChunk
            | RequestKind::Hello
            | RequestKind::Join
            | RequestKind::RenewCertificate
            | RequestKind::Revocations => {
                let detail = format!("a metadata server does not answer {}", request.kind.name());
                Err(failure(FailureCode::Malformed, detail))
            }
        }
    }
}

impl Inner {
    /// Carries out an encoded command.
    async fn answer_write(self: &Arc<Self>, from: Peer, message: Bytes, deadline: Instant) -> Result<Bytes, Failure> {
        self.health.check()?;
        let answer = timeout_at(deadline, self.write(from, decode(message)?)).await;
        Ok(Bytes::from(answer.map_err(|_| too_late())??.encode_to_vec()))
    }

    async fn write(self: &Arc<Self>, from: Peer, request: WriteRequest) -> Result<WriteReply, Failure> {
        let Some(command) = &request.command else {
            return Err(failure(
                FailureCode::Malformed,
                "the request holds no command that this server knows",
            ));
        };
        check_sender(from, command)?;
        check_group(request.group)?;
        // Boxed: it is seldom needed, and would make the future of every command large.
        if self.may_be_above_level(command)
            && let Some(refusal) = Box::pin(self.above_level(command)).await?
        {
            return Ok(refusal);
        }
        if let Some(trouble) = self.members.clock_trouble() {
            return Err(for_now(trouble));
        }
        let other_is_low = self.members.any_low_on_space(SPACE_REPORT_AGE);
        self.space.check(command, other_is_low)?;
        let lets_go = may_let_go(command);
        if request.session != 0 {
            self.sessions.note_sign_of_life(SessionId::new(request.session));
        }
        let entered = self.enter(&request, command).await?;
        let outcome = self.proposer.submit(request).await;
        entered.answered();
        let outcome = outcome.map_err(|error| self.submit_failure(&error))?;
        if lets_go {
            self.node.progress().garbage_is_due();
        }
        Ok(outcome)
    }

    /// A checkpoint of all that was acknowledged until now; or lets go of one.
    async fn back_up(&self, request: BackUp) -> Result<Response, Failure> {
        if let Some(number) = request.done_with {
            return self.checkpoints.release(number).await;
        }
        self.barrier.pass().await.map_err(|error| self.submit_failure(&error))?;
        self.checkpoints.make().await
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadReply, Failure> {
        let query = request.query;
        let query =
            query.ok_or_else(|| failure(FailureCode::Malformed, "the request holds no query this server knows"))?;
        if matches!(query, Query::Groups(_)) {
            return Ok(self.group_table());
        }
        check_group(request.group)?;
        self.barrier.pass().await.map_err(|error| self.submit_failure(&error))?;
        // Until the leases are given.
        let _asked = match &query {
            Query::File(query) => {
                let session = SessionId::new(request.lease_session);
                self.settle_asked(session, query).await?
            }
            _ => None,
        };
        let (node, machine) = (self.node.clone(), Arc::clone(&self.machine));
        let may_be_long = may_be_long(&query);
        let leased = match &query {
            Query::File(query) if request.lease_session != 0 => Some(query.clone()),
            _ => None,
        };
        let answer = move || {
            node.state()
                .read(|view, applied| machine.answer(view, applied.index(), &query))
        };
        let mut answered = if may_be_long {
            let joined = tokio::task::spawn_blocking(answer).await;
            joined.unwrap_or_else(|error| Err(ViewError::Storage(format!("the query has died: {error}"))))
        } else {
            answer()
        };
        self.metrics.reads.inc();
        if let Ok(ReadReply {
            answer: Some(Answer::Servers(page)),
            ..
        }) = &mut answered
        {
            self.servers.complete(page);
        }
        let mut reply = answered.map_err(|error| self.read_failure(&error))?;
        if let Some(query) = leased {
            let session = SessionId::new(request.lease_session);
            self.lease(session, &query, &mut reply).await?;
        }
        Ok(reply)
    }

    pub(super) fn submit_failure(&self, error: &SubmitError) -> Failure {
        match error {
            SubmitError::Busy | SubmitError::Propose(ProposeError::Late) => Failure {
                retry_after_ms: self.proposer.retry_after_ms(),
                ..failure(FailureCode::Busy, error.to_string())
            },
            SubmitError::Held => Failure {
                retry_after_ms: HELD_RETRY_MS,
                ..failure(FailureCode::Busy, error.to_string())
            },
            SubmitError::TooLarge(_) => failure(FailureCode::Malformed, error.to_string()),
            SubmitError::Propose(ProposeError::Stopped(_)) => self
                .health
                .check()
                .err()
                .unwrap_or_else(|| failure(FailureCode::Internal, error.to_string())),
            SubmitError::Propose(error @ (ProposeError::NotLeader | ProposeError::Unknown)) => {
                let mut told = self.node.failure(error);
                if told.leader == 0 {
                    // Nobody better is known: ask anyone in a moment.
                    told.retry_after_ms = NO_LEADER_RETRY_MS;
                }
                told
            }
        }
    }

    pub(super) fn read_failure(&self, error: &ViewError) -> Failure {
        if let Err(stopped) = self.health.check() {
            return stopped;
        }
        tracing::error!(%error, "a query met records that cannot be read: check the disk, then restore this server");
        let code = match error {
            ViewError::Storage(_) => FailureCode::Internal,
            ViewError::Corrupt { .. } => FailureCode::Corrupt,
        };
        failure(code, error.to_string())
    }
}

impl Tasks {
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.lock().push(tokio::spawn(task).abort_handle());
    }

    fn end(&self) {
        self.0.lock().drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.end();
    }
}

fn raft_settings(config: &MetadataConfig) -> RaftSettings {
    RaftSettings {
        directory: config.dir.clone(),
        address: config.address.clone(),
        start: config.start,
        policy: SnapshotPolicy {
            bytes_max: config.snapshot_bytes,
            commands_max: config.snapshot_commands,
        },
        timing: config.timing,
        memory_bytes: config.memory_bytes,
    }
}

/// Refuses what is meant for another group.
pub(super) fn check_group(group: u32) -> Result<(), Failure> {
    if group == GROUP {
        return Ok(());
    }
    let text = format!("this is Raft group {GROUP}, not {group}: fetch the group table again");
    Err(failure(FailureCode::WrongGroup, text))
}

/// Refuses a command that its sender may not give.
fn check_sender(from: Peer, command: &Command) -> Result<(), Failure> {
    let senders = command.senders();
    if senders.is_empty() {
        return Err(failure(
            FailureCode::Malformed,
            "only the metadata server itself gives this command",
        ));
    }
    if !from.roles.has_any(senders) {
        let text = format!(
            "node {} has the roles [{}], and this command may be given by [{senders}] only",
            from.node, from.roles
        );
        return Err(failure(FailureCode::Forbidden, text));
    }
    Ok(())
}

/// Refuses a query that its sender may not ask.
fn check_reader(from: Peer, request: &ReadRequest) -> Result<(), Failure> {
    let senders = request.query.as_ref().map_or(Roles::MEMBER, Query::senders);
    if from.roles.has_any(senders) {
        return Ok(());
    }
    let text = format!(
        "node {} has the roles [{}], and this may be asked by [{senders}] only",
        from.node, from.roles
    );
    Err(failure(FailureCode::Forbidden, text))
}

/// Commands that let garbage go which was kept for somebody, without queueing any.
const fn may_let_go(command: &Command) -> bool {
    matches!(
        command,
        Command::Heartbeat(_) | Command::EndSession(_) | Command::HoldDeletion(_)
    )
}

/// Queries that visit many records, and are answered outside of the reactor.
fn may_be_long(query: &Query) -> bool {
    match query {
        Query::Buckets(_)
        | Query::List(_)
        | Query::Parts(_)
        | Query::Uploads(_)
        | Query::Lock(_)
        | Query::Account(_)
        | Query::Chunk(_)
        | Query::Servers(_)
        | Query::Feed(_) => true,
        Query::File(query) => query.may_be_long(),
        Query::Map(_)
        | Query::Bucket(_)
        | Query::Object(_)
        | Query::Plan(_)
        | Query::Summary(_)
        | Query::Groups(_)
        | Query::Authority(_)
        | Query::Document(_)
        | Query::Documents(_) => false,
    }
}

fn decode<M: Message + Default>(message: Bytes) -> Result<M, Failure> {
    M::decode(message).map_err(|error| {
        failure(
            FailureCode::Malformed,
            format!("the request cannot be decoded: {error}"),
        )
    })
}

fn too_late() -> Failure {
    failure(
        FailureCode::Busy,
        "no answer in time: ask again, a command under the same sequence",
    )
}

pub(super) fn for_now(reason: String) -> Failure {
    Failure {
        retry_after_ms: NO_LEADER_RETRY_MS,
        ..failure(FailureCode::Busy, reason)
    }
}
