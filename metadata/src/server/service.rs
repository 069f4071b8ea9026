//! The server as others see it: started, asked, shut down.
//!
//! It must never carry out a command that only the server itself may give when it comes from outside. Invariant: a reply to
//! a command is sent only after its entry is durable and applied; an answer to a query reflects all that was acknowledged
//! before the query came.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cairn_common::{
    ids::SessionId,
    limits::METADATA_DEADLINE_MS,
    wire::{
        checkpoint::{BackUp, ReadCheckpoint},
        command::{Command, WriteReply, WriteRequest},
        failure::{Failure, FailureCode},
        kind::RequestKind,
        query::{Query, ReadReply, ReadRequest},
    },
};
use cairn_transport::{Body, Peer, Request, Response, Service, Transport, failure, reply};
use parking_lot::Mutex;
use prost::Message;
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use super::{
    barrier::Barrier,
    checkpoints::Checkpoints,
    config::MetadataConfig,
    garbage::GarbageWorker,
    health::Health,
    inventory::InventoryWorker,
    metrics::Metrics,
    proposer::{Proposer, SubmitError},
    sessions::Sessions,
    space::Space,
};
use crate::{
    core::view::ViewError,
    raft::{CoreMachine, Machine, ProposeError, RaftNode, SnapshotPolicy},
    store::StoreError,
};

pub use crate::raft::StartError;

/// A metadata server. Clones share it.
#[derive(Clone)]
pub struct MetadataServer {
    inner: Arc<Inner>,
}

struct Inner {
    node: RaftNode,
    machine: Arc<dyn Machine>,
    proposer: Proposer,
    barrier: Barrier,
    sessions: Sessions,
    health: Arc<Health>,
    space: Space,
    checkpoints: Checkpoints,
    metrics: Metrics,
    garbage_wake: Arc<Notify>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl MetadataServer {
    /// Opens the store, brings it up to date, and serves. `transport` leads to the chunkservers.
    pub async fn start(config: MetadataConfig, transport: Arc<dyn Transport>) -> Result<Self, StartError> {
        Self::start_with(config, transport, Arc::new(CoreMachine)).await
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Why it has stopped answering for good, where it has.
    pub fn failed(&self) -> Option<&str> {
        self.inner.health.failed()
    }

    /// Stops answering, flushes and closes the store, which another process may open then. A second call changes nothing.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        inner.health.shut_down();
        inner.tasks.lock().drain(..).for_each(|task| task.abort());
        match inner.node.shutdown().await {
            Err(StoreError::Closed) => Ok(()),
            outcome => outcome,
        }
    }

    pub(super) async fn start_with(
        config: MetadataConfig,
        transport: Arc<dyn Transport>,
        machine: Arc<dyn Machine>,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::default();
        let observed = metrics.clone();
        let policy = SnapshotPolicy {
            bytes_max: config.snapshot_bytes,
            commands_max: config.snapshot_commands,
        };
        let observe_sync = Box::new(move |took: Duration| observed.observe_sync(took));
        let dir = config.dir.clone();
        let space = Space::new(dir.clone());
        let node = RaftNode::start(dir, config.server_id, Arc::clone(&machine), policy, observe_sync).await?;
        let (proposer, proposer_task) = Proposer::new(node.clone(), metrics.clone());
        let (barrier, barrier_task) = Barrier::new(node.clone(), metrics.clone());
        let inner = Inner {
            checkpoints: Checkpoints::new(Arc::clone(node.state())),
            node,
            machine,
            proposer,
            barrier,
            sessions: Sessions::new(config.session_lease),
            health: Arc::default(),
            space,
            metrics,
            garbage_wake: Arc::default(),
            tasks: Mutex::default(),
        };
        inner.run(proposer_task.run());
        inner.run(barrier_task.run());
        inner.start_workers(&config, &transport);
        Ok(Self { inner: Arc::new(inner) })
    }
}

#[async_trait]
impl Service for MetadataServer {
    async fn handle(&self, _: Peer, request: Request) -> Result<Response, Failure> {
        self.inner.health.check()?;
        let deadline = request
            .deadline
            .min(Instant::now() + Duration::from_millis(METADATA_DEADLINE_MS));
        let too_late = || {
            failure(
                FailureCode::Busy,
                "no answer in time: ask again, a command under the same sequence",
            )
        };
        match request.kind {
            RequestKind::MetadataWrite => {
                let message = WriteRequest::decode(request.header).map_err(|error| malformed(&error))?;
                let answer = timeout_at(deadline, self.inner.write(message)).await;
                Ok(reply(&answer.map_err(|_| too_late())??, Body::empty()))
            }
            RequestKind::MetadataRead => {
                let message = ReadRequest::decode(request.header).map_err(|error| malformed(&error))?;
                let answer = timeout_at(deadline, self.inner.read(message)).await;
                Ok(reply(&answer.map_err(|_| too_late())??, Body::empty()))
            }
            RequestKind::ReadCheckpoint => {
                let message = ReadCheckpoint::decode(request.header).map_err(|error| malformed(&error))?;
                self.inner.checkpoints.read(message, request.deadline).await
            }
            RequestKind::BackUp => {
                let message = BackUp::decode(request.header).map_err(|error| malformed(&error))?;
                self.inner.back_up(message).await
            }
            RequestKind::PutShard
            | RequestKind::GetShard
            | RequestKind::DeleteShard
            | RequestKind::ListShards
            | RequestKind::DeviceStatus
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
    async fn write(&self, request: WriteRequest) -> Result<WriteReply, Failure> {
        let Some(command) = &request.command else {
            return Err(failure(
                FailureCode::Malformed,
                "the request holds no command that this server knows",
            ));
        };
        if is_internal(command) {
            return Err(failure(
                FailureCode::Malformed,
                "only the metadata server itself gives this command",
            ));
        }
        self.space.check(command)?;
        let frees = may_free_chunks(command);
        if request.session != 0 {
            self.sessions.note_sign_of_life(SessionId::new(request.session));
        }
        let outcome = self
            .proposer
            .submit(request)
            .await
            .map_err(|error| self.submit_failure(&error))?;
        if frees {
            self.garbage_wake.notify_one();
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
        self.barrier.pass().await.map_err(|error| self.submit_failure(&error))?;
        let (node, machine) = (self.node.clone(), Arc::clone(&self.machine));
        let may_be_long = may_be_long(&query);
        let answer = move || {
            node.state()
                .read(|view, applied| machine.answer(view, applied.index(), &query))
        };
        let answered = if may_be_long {
            let joined = tokio::task::spawn_blocking(answer).await;
            joined.unwrap_or_else(|error| Err(ViewError::Storage(format!("the query has died: {error}"))))
        } else {
            answer()
        };
        self.metrics.reads.inc();
        answered.map_err(|error| self.read_failure(&error))
    }

    fn submit_failure(&self, error: &SubmitError) -> Failure {
        let code = match error {
            SubmitError::Busy | SubmitError::Propose(ProposeError::Late) => FailureCode::Busy,
            SubmitError::TooLarge(_) => FailureCode::Malformed,
            SubmitError::Propose(ProposeError::NotLeader | ProposeError::Unknown) => FailureCode::NotLeader,
            SubmitError::Propose(ProposeError::Stopped(_)) => {
                return self
                    .health
                    .check()
                    .err()
                    .unwrap_or_else(|| failure(FailureCode::Internal, error.to_string()));
            }
        };
        failure(code, error.to_string())
    }

    fn read_failure(&self, error: &ViewError) -> Failure {
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

    fn start_workers(&self, config: &MetadataConfig, transport: &Arc<dyn Transport>) {
        let (node, machine) = (&self.node, &self.machine);
        let (proposer, metrics) = (self.proposer.clone(), self.metrics.clone());
        self.run(
            self.sessions
                .clone()
                .run(node.clone(), Arc::clone(machine), proposer, metrics),
        );
        let garbage = GarbageWorker {
            node: node.clone(),
            machine: Arc::clone(machine),
            transport: Arc::clone(transport),
            proposer: self.proposer.clone(),
            metrics: self.metrics.clone(),
            wake: Arc::clone(&self.garbage_wake),
            interval: config.garbage_interval,
        };
        self.run(garbage.run());
        let inventory = InventoryWorker {
            node: node.clone(),
            machine: Arc::clone(machine),
            transport: Arc::clone(transport),
            barrier: self.barrier.clone(),
            metrics: self.metrics.clone(),
            schedule: config.inventory,
        };
        self.run(inventory.run());
        self.run(self.checkpoints.clone().remove_unread());
        let keeper = node.clone();
        self.run(async move { keeper.keep_log_short().await });
        let (watched, health) = (node.clone(), Arc::clone(&self.health));
        self.run(async move { health.fail(&watched.stopped().await) });
    }

    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().push(tokio::spawn(task).abort_handle());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }
}

/// Commands that only the server itself gives: from outside they could make garbage be forgotten that is still there.
fn is_internal(command: &Command) -> bool {
    matches!(command, Command::ForgetChunks(_) | Command::ReleaseStep(_))
}

/// Commands after which chunks may have become garbage, or garbage may have become deletable.
fn may_free_chunks(command: &Command) -> bool {
    match command {
        Command::PutObject(_)
        | Command::DeleteObject(_)
        | Command::PutPart(_)
        | Command::CompleteUpload(_)
        | Command::AbortUpload(_)
        | Command::EndSession(_)
        | Command::HoldDeletion(_)
        | Command::Heartbeat(_) => true,
        Command::OpenSession(_)
        | Command::InstallMap(_)
        | Command::CreateBucket(_)
        | Command::DeleteBucket(_)
        | Command::CreateUpload(_)
        | Command::ReleaseStep(_)
        | Command::ForgetChunks(_)
        | Command::RaiseFeatureLevel(_) => false,
    }
}

/// Queries that visit many records, and are answered outside of the reactor.
fn may_be_long(query: &Query) -> bool {
    match query {
        Query::Buckets(_) | Query::List(_) | Query::Parts(_) | Query::Uploads(_) => true,
        Query::Map(_) | Query::Bucket(_) | Query::Object(_) | Query::Plan(_) | Query::Summary(_) => false,
    }
}

fn malformed(error: &prost::DecodeError) -> Failure {
    failure(
        FailureCode::Malformed,
        format!("the request cannot be decoded: {error}"),
    )
}
