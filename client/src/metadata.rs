//! The client itself: the way to the metadata service, the session kept alive, and the cached cluster map.
//!
//! Invariant: a command is sent again only under its own number, so it happens at most once however often it is sent.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use cairn_common::{
    cluster_map::ClusterMap,
    ids::{BucketId, NodeId, SessionId},
    limits,
    redundancy::Redundancy,
    wire::{
        about::AboutBucket,
        command::{Command, EndSession, ErrorCode, OpenSession, Outcome, WriteReply, WriteRequest},
        kind::RequestKind,
        query::{Answer, BucketInfo, MapQuery, Query, ReadReply, ReadRequest},
    },
};
use cairn_datapath::{ChunkBudget, Datapath, MapSource};
use cairn_transport::{Addresses, Transport};
use parking_lot::{Mutex, RwLock};

use crate::{
    error::{ClientError, unexpected},
    router::{Router, SendFailed},
    session::Session,
};

/// What a client needs.
pub struct ClientConfig {
    /// Metadata servers to begin with: one that answers is enough.
    pub metadata: Vec<NodeId>,
    /// The way to all servers.
    pub transport: Arc<dyn Transport>,
    /// Is told where metadata servers are called that the client learns of; none where the transport knows them all.
    pub addresses: Option<Arc<dyn Addresses>>,
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
    router: Router,
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
            router: Router::new(config.transport, config.addresses, config.metadata),
            session: RwLock::new(Arc::new(Session::new(SessionId::default(), 0))),
            replaced: Mutex::default(),
            map,
            default_redundancy: config.default_redundancy,
            datapath,
            buckets: Mutex::default(),
        });
        shared.router.refresh().await?;
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
        let bucket = self.bucket_of(query.bucket());
        let mut request = ReadRequest {
            query: Some(query),
            group: 0,
        };
        let reply: ReadReply = self
            .router
            .send_about(bucket, RequestKind::MetadataRead, &mut request)
            .await?;
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
                if failed.may_have_happened {
                    return Err(ClientError::OutcomeUnknown(failed.error.to_string()));
                }
                number.answered();
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
        let bucket = self.bucket_of(command.bucket());
        let mut request = WriteRequest {
            session: session.id().value(),
            sequence,
            answered_below,
            resent: false,
            command: Some(command),
            group: 0,
        };
        self.router
            .send_about(bucket, RequestKind::MetadataWrite, &mut request)
            .await
    }

    /// The number of a bucket that was met before; where it was not, the first group finds it.
    fn bucket_of(&self, name: Option<AboutBucket<'_>>) -> Option<BucketId> {
        match name? {
            AboutBucket::Id(id) => Some(id),
            AboutBucket::Name(name) => self.buckets.lock().get(name).map(|info| BucketId::new(info.id)),
        }
    }

    async fn open_session(&self) -> Result<(), ClientError> {
        let none = Session::new(SessionId::default(), 0);
        let reply = self
            .send_write(&none, 0, 0, Command::OpenSession(OpenSession { mounts: false }))
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
            _ => {
                self.router.refresh().await?;
                self.refresh_map().await
            }
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
