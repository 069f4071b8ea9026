//! The client itself: the way to the metadata service, the session kept alive, and the cached cluster map.
//!
//! Invariant: a command is sent again only under its own number, so it happens at most once however often it is sent.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cairn_common::{
    cluster_map::ClusterMap,
    ids::{NodeId, SessionId},
    limits,
    redundancy::Redundancy,
    wire::{
        command::{Command, EndSession, ErrorCode, OpenSession, Outcome, WriteReply, WriteRequest},
        failure::FailureCode,
        kind::RequestKind,
        query::{Answer, BucketInfo, MapQuery, Query, ReadReply, ReadRequest},
    },
};
use cairn_datapath::{ChunkBudget, Datapath, MapSource};
use cairn_transport::{Body, CallError, Transport, call};
use parking_lot::{Mutex, RwLock};
use prost::Message;
use tokio::time::Instant;

use crate::{error::ClientError, session::Session};

/// First pause before a request is sent again; it doubles up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(5);
const BACK_OFF_MAX: Duration = Duration::from_millis(500);

/// What a client needs.
pub struct ClientConfig {
    /// The metadata servers.
    pub metadata: Vec<NodeId>,
    /// The way to all servers.
    pub transport: Arc<dyn Transport>,
    /// Redundancy of buckets that are made without one of their own.
    pub default_redundancy: Redundancy,
    /// Memory for chunk buffers, shared by all that this process sends.
    pub budget: ChunkBudget,
    /// Metrics of the data path.
    pub metrics: cairn_datapath::Metrics,
}

/// Files and objects. Cheap to clone; all clones share one session.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    transport: Arc<dyn Transport>,
    metadata: Vec<NodeId>,
    /// Index of the metadata server that answered last.
    leader: AtomicUsize,
    session: RwLock<Arc<Session>>,
    /// Sessions that another took the place of while uploads or reads still hold them: they are kept alive to their end.
    replaced: Mutex<Vec<Weak<Session>>>,
    map: Arc<RwLock<Arc<ClusterMap>>>,
    pub(crate) default_redundancy: Redundancy,
    pub(crate) datapath: Datapath,
    pub(crate) buckets: Mutex<HashMap<String, BucketInfo>>,
}

impl Client {
    /// Opens a session and fetches the cluster map.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let map = Arc::new(RwLock::new(Arc::new(ClusterMap::default())));
        let source = {
            let map = Arc::clone(&map);
            Arc::new(move || Arc::clone(&map.read())) as MapSource
        };
        let datapath = Datapath::new(Arc::clone(&config.transport), source, config.budget, config.metrics);
        let shared = Arc::new(Shared {
            transport: config.transport,
            metadata: config.metadata,
            leader: AtomicUsize::new(0),
            session: RwLock::new(Arc::new(Session::new(SessionId::default(), 0))),
            replaced: Mutex::default(),
            map,
            default_redundancy: config.default_redundancy,
            datapath,
            buckets: Mutex::default(),
        });
        shared.refresh_map().await?;
        shared.open_session().await?;
        tokio::spawn(keep_alive(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// Ends the session: what it had not committed is given up at once instead of when its lease runs out.
    pub async fn close(&self) -> Result<(), ClientError> {
        let session = self.shared.session();
        let end = EndSession {
            session: session.id().value(),
        };
        self.shared.send_write(&session, 0, 0, Command::EndSession(end)).await?;
        Ok(())
    }

    /// The cluster map as it was last fetched.
    pub fn cluster_map(&self) -> Arc<ClusterMap> {
        Arc::clone(&self.shared.map.read())
    }

    /// Asks the metadata service.
    pub(crate) async fn read(&self, query: Query) -> Result<Answer, ClientError> {
        self.shared.read(query).await
    }

    /// Has a command carried out exactly once, under the present session.
    pub(crate) async fn write(&self, command: Command) -> Result<Outcome, ClientError> {
        let session = self.shared.session();
        self.shared.write(&session, command).await
    }
}

impl Shared {
    pub(crate) fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.read())
    }

    pub(crate) async fn read(&self, query: Query) -> Result<Answer, ClientError> {
        let request = ReadRequest { query: Some(query) };
        let reply: ReadReply = self.send(RequestKind::MetadataRead, &request).await?;
        self.session().observe(reply.log_index);
        match reply.answer {
            Some(Answer::Refused(refusal)) => Err(refusal.into()),
            Some(answer) => Ok(answer),
            None => Err(unexpected()),
        }
    }

    pub(crate) async fn write(&self, session: &Arc<Session>, command: Command) -> Result<Outcome, ClientError> {
        let number = session.next_command();
        let sent = self
            .send_write(session, number.sequence, number.answered_below, command)
            .await;
        let reply = match sent {
            Ok(reply) => reply,
            Err(failed) => {
                if !failed.may_have_happened {
                    number.answered();
                }
                return Err(failed.error);
            }
        };
        number.answered();
        session.observe(reply.log_index);
        match reply.outcome {
            Some(Outcome::Refused(refusal)) => {
                if refusal.code() == ErrorCode::SessionEnded {
                    session.retire();
                }
                Err(refusal.into())
            }
            Some(outcome) => Ok(outcome),
            None => Err(unexpected()),
        }
    }

    async fn send_write(
        &self,
        session: &Session,
        sequence: u64,
        answered_below: u64,
        command: Command,
    ) -> Result<WriteReply, SendFailed> {
        let session = session.id().value();
        let request = WriteRequest {
            session,
            sequence,
            answered_below,
            resent: false,
            command: Some(command),
        };
        self.send(RequestKind::MetadataWrite, &request).await
    }

    /// Sends a request to the metadata service, again and to others as long as that can help.
    async fn send<Reply: Message + Default>(
        &self,
        kind: RequestKind,
        message: &impl Message,
    ) -> Result<Reply, SendFailed> {
        let mut may_have_happened = false;
        let deadline = Instant::now() + Duration::from_millis(limits::METADATA_DEADLINE_MS);
        let mut pause = BACK_OFF_MIN;
        loop {
            let leader = self.leader.load(Ordering::Relaxed);
            let server = *self
                .metadata
                .get(leader % self.metadata.len().max(1))
                .ok_or_else(unexpected)?;
            let timeout = deadline.saturating_duration_since(Instant::now());
            let sent = call(self.transport.as_ref(), server, kind, message, Body::empty(), timeout).await;
            let error = match sent {
                Ok((reply, _)) => return Ok(reply),
                Err(error) => error,
            };
            may_have_happened |= is_uncertain(&error);
            if !may_help_to_retry(&error) || Instant::now() + pause >= deadline {
                let error = error.into();
                return Err(SendFailed {
                    error,
                    may_have_happened,
                });
            }
            if is_about_server(&error) {
                self.leader.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    async fn open_session(&self) -> Result<(), ClientError> {
        let none = Session::new(SessionId::default(), 0);
        let reply = self
            .send_write(&none, 0, 0, Command::OpenSession(OpenSession {}))
            .await?;
        match reply.outcome {
            Some(Outcome::Session(id)) => {
                let opened = Arc::new(Session::new(SessionId::new(id), reply.log_index));
                let old = std::mem::replace(&mut *self.session.write(), opened);
                self.replaced.lock().push(Arc::downgrade(&old));
                Ok(())
            }
            Some(Outcome::Refused(refusal)) => Err(refusal.into()),
            _ => Err(unexpected()),
        }
    }

    async fn refresh_map(&self) -> Result<(), ClientError> {
        let Answer::Map(message) = self.read(Query::Map(MapQuery {})).await? else {
            return Err(unexpected());
        };
        let map = ClusterMap::try_from(message).map_err(|error| ClientError::Internal(error.to_string()))?;
        let mut current = self.map.write();
        if map.epoch >= current.epoch {
            *current = Arc::new(map);
        }
        Ok(())
    }

    /// Keeps alive the replaced sessions that are still held.
    async fn keep_replaced(&self) -> Result<(), ClientError> {
        let held: Vec<Arc<Session>> = {
            let mut replaced = self.replaced.lock();
            replaced.retain(|session| session.strong_count() > 0);
            replaced.iter().filter_map(Weak::upgrade).collect()
        };
        for session in held {
            // One whose lease ran out is refused; who holds it learns that from its own command.
            let heartbeat = Command::Heartbeat(session.heartbeat());
            self.send_write(&session, 0, 0, heartbeat).await?;
        }
        Ok(())
    }

    /// Keeps the session alive, or opens another in its place.
    async fn heartbeat(&self) -> Result<(), ClientError> {
        self.keep_replaced().await?;
        let session = self.session();
        if session.is_retired() {
            return self.open_session().await;
        }
        let heartbeat = Command::Heartbeat(session.heartbeat());
        let reply = self.send_write(&session, 0, 0, heartbeat).await?;
        session.observe(reply.log_index);
        match reply.outcome {
            Some(Outcome::Refused(refusal)) if refusal.code() == ErrorCode::SessionEnded => {
                tracing::warn!(session = %session.id(), "the session's lease ran out; opening another");
                session.retire();
                self.open_session().await
            }
            _ => self.refresh_map().await,
        }
    }
}

/// A request that brought no answer.
struct SendFailed {
    error: ClientError,
    /// Whether a server may have carried it out all the same.
    may_have_happened: bool,
}

impl From<SendFailed> for ClientError {
    fn from(failed: SendFailed) -> Self {
        failed.error
    }
}

impl From<ClientError> for SendFailed {
    fn from(error: ClientError) -> Self {
        Self {
            error,
            may_have_happened: false,
        }
    }
}

/// Sends heartbeats as long as the client lives.
async fn keep_alive(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(limits::SESSION_HEARTBEAT_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = shared.heartbeat().await {
            tracing::warn!(%error, "the heartbeat was not answered; trying again");
        }
    }
}

/// Whether the same request may yet be answered. A repeated command keeps its number, so sending it again is safe.
fn may_help_to_retry(error: &CallError) -> bool {
    match error {
        CallError::Unreachable { .. } | CallError::ConnectionLost { .. } | CallError::DeadlineExceeded => true,
        CallError::Failed(failure) => matches!(
            failure.code(),
            FailureCode::Busy | FailureCode::NotLeader | FailureCode::DeadlineExceeded
        ),
        CallError::Malformed(_) | CallError::Body(_) => false,
    }
}

/// Whether a command that met this error may have been carried out. A server that says why it failed did not, unless it
/// stopped in the middle.
fn is_uncertain(error: &CallError) -> bool {
    match error {
        CallError::Unreachable { .. } => false,
        CallError::ConnectionLost { .. }
        | CallError::DeadlineExceeded
        | CallError::Malformed(_)
        | CallError::Body(_) => true,
        CallError::Failed(failure) => match failure.code() {
            // The server answers "busy" also where it stopped waiting for its own proposal.
            FailureCode::Busy
            | FailureCode::NotLeader
            | FailureCode::Internal
            | FailureCode::DeadlineExceeded
            | FailureCode::Unspecified => true,
            FailureCode::NotFound
            | FailureCode::Corrupt
            | FailureCode::DeviceDown
            | FailureCode::DeviceFull
            | FailureCode::WrongDevice
            | FailureCode::Forbidden
            | FailureCode::Unsupported
            | FailureCode::Malformed => false,
        },
    }
}

fn is_about_server(error: &CallError) -> bool {
    match error {
        CallError::Unreachable { .. } | CallError::ConnectionLost { .. } => true,
        CallError::Failed(failure) => failure.code() == FailureCode::NotLeader,
        CallError::DeadlineExceeded | CallError::Malformed(_) | CallError::Body(_) => false,
    }
}

pub(crate) fn unexpected() -> ClientError {
    ClientError::Internal("the metadata service gave an answer of another kind than was asked for".to_owned())
}
