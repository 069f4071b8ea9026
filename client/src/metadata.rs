//! The client itself: the way to the metadata service, the session kept alive, and the cached cluster map.
//!
//! Invariant: a command is sent again only under its own number, so it happens at most once however often it is sent.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::{BucketId, Epoch, NodeId, SessionId},
    limits,
    redundancy::Redundancy,
    wire::{
        about::AboutBucket,
        chunk::{ChunkChange, ChunkCommand, ChunkQuery, ChunkQuestion, ChunkReply, ReportShards, ShardPlace},
        command::{Command, EndSession, ErrorCode, OpenSession, Outcome, Refusal, WriteReply, WriteRequest},
        file::{FileAction, FileCommand},
        kind::RequestKind,
        object::Chunk,
        query::{Answer, BucketInfo, MapQuery, Query, ReadReply, ReadRequest},
        server::ServersQuery,
    },
};
use cairn_datapath::{ChunkBudget, Datapath, Finding, MapSource, ReadError};
use cairn_transport::{Addresses, Transport};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::{
    error::{ClientError, unexpected},
    leases::Leases,
    open_files::OpenFiles,
    router::{Router, SendFailed},
    session::Session,
};

/// Pause before a command that brought no answer is sent again.
const RESEND_PAUSE: Duration = Duration::from_millis(100);

/// Heartbeats of a mount that follow each other at once, while there are more files without a name to be compared.
const HEARTBEATS_AT_ONCE_MAX: usize = 16;

/// What a client needs.
pub struct ClientConfig {
    /// Metadata servers to begin with: one that answers is enough.
    pub metadata: Vec<NodeId>,
    /// The way to all servers.
    pub transport: Arc<dyn Transport>,
    /// Is told where metadata servers are called that the client learns of; none where the transport knows them all.
    pub addresses: Option<Arc<dyn Addresses>>,
    /// Redundancy of buckets that are made without one of their own, where the cluster map says none.
    pub default_redundancy: Option<Redundancy>,
    /// Memory for chunk buffers, shared by all that this process sends.
    pub budget: ChunkBudget,
    /// Metrics of the data path.
    pub metrics: cairn_datapath::Metrics,
    /// Whether this is a mount, whose open files stay though they lose their names.
    pub mounts: bool,
}

/// Files and objects. Cheap to clone; all clones share one session.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) router: Router,
    pub(crate) leases: Leases,
    addresses: Option<Arc<dyn Addresses>>,
    session: RwLock<Arc<Session>>,
    /// Sessions that another took the place of while uploads or reads still hold them: they are kept alive to their end.
    replaced: Mutex<Vec<Weak<Session>>>,
    map: Arc<RwLock<Arc<ClusterMap>>>,
    pub(crate) default_redundancy: Option<Redundancy>,
    pub(crate) datapath: Datapath,
    pub(crate) buckets: Mutex<HashMap<String, BucketInfo>>,
    /// What a mount holds open; none for any other client.
    pub(crate) open_files: Option<Arc<OpenFiles>>,
    /// One opens a session at a time.
    opening: tokio::sync::Mutex<()>,
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
            router: Router::new(config.transport, config.addresses.clone(), config.metadata),
            leases: Leases::new(),
            addresses: config.addresses,
            session: RwLock::new(Arc::new(Session::new(SessionId::default(), 0))),
            replaced: Mutex::default(),
            map,
            default_redundancy: config.default_redundancy,
            datapath,
            buckets: Mutex::default(),
            open_files: config.mounts.then(Arc::default),
            opening: tokio::sync::Mutex::default(),
        });
        shared.router.refresh().await?;
        shared.refresh_servers().await?;
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
        let mut request = unnumbered(&session, Command::EndSession(end));
        self.shared.send_write(&mut request).await?;
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
        match self.ask(query).await?.answer {
            Some(Answer::Refused(refusal)) => Err(refusal.into()),
            Some(answer) => Ok(answer),
            None => Err(unexpected()),
        }
    }

    /// Asks; what is refused is told apart from what failed.
    pub(crate) async fn ask(&self, query: Query) -> Result<ReadReply, ClientError> {
        self.ask_under(query, 0).await
    }

    /// The same, for a session that wants leases of what is answered; of none where that is 0.
    pub(crate) async fn ask_under(&self, query: Query, lease_session: u64) -> Result<ReadReply, ClientError> {
        let bucket = self.bucket_of(query.bucket());
        let mut request = ReadRequest {
            query: Some(query),
            group: 0,
            lease_session,
        };
        let reply: ReadReply = self
            .router
            .send_about(bucket, RequestKind::MetadataRead, &mut request)
            .await?;
        self.session().observe(reply.log_index);
        Ok(reply)
    }

    pub(crate) async fn write(&self, session: &Arc<Session>, command: Command) -> Result<Outcome, ClientError> {
        Ok(self.write_until(session, command, Instant::now()).await??)
    }

    /// Has a command carried out exactly once, and goes on to ask for its answer until `patience` is over, or a little longer. What
    /// is refused is told apart from what failed.
    pub(crate) async fn write_until(
        &self,
        session: &Arc<Session>,
        command: Command,
        patience: Instant,
    ) -> Result<Result<Outcome, Refusal>, ClientError> {
        let own = self.leases.begin_command();
        let number = session.next_command();
        let mut request = WriteRequest {
            sequence: number.sequence,
            answered_below: number.answered_below,
            settles: is_settling(&command) && self.leases.may_be_waited_for(),
            ..unnumbered(session, command)
        };
        let reply = loop {
            match self.send_write(&mut request).await {
                Ok(reply) => break reply,
                Err(failed) if is_passing(&failed.error) && Instant::now() < patience => {
                    tracing::debug!(error = %failed.error, "a command is sent again");
                    tokio::time::sleep(RESEND_PAUSE).await;
                }
                // `resent` also holds what earlier rounds met.
                Err(failed) if failed.may_have_happened || request.resent => {
                    return Err(ClientError::OutcomeUnknown(failed.error.to_string()));
                }
                Err(failed) => {
                    number.answered();
                    own.not_carried_out();
                    return Err(failed.error);
                }
            }
        };
        number.answered();
        // The answer to one that was sent again does not say what it changed the first time.
        if let Some(command) = request.command.as_ref().filter(|_| !request.resent) {
            own.answered(command, &reply);
        }
        session.observe(reply.log_index);
        match reply.outcome {
            Some(Outcome::Refused(refusal)) => {
                // The second is what one that was sent before is told by a session that has ended.
                if matches!(refusal.code(), ErrorCode::SessionEnded | ErrorCode::OutcomeUnknown) {
                    session.retire();
                }
                Ok(Err(refusal))
            }
            Some(outcome) => Ok(Ok(outcome)),
            None => Err(unexpected()),
        }
    }

    async fn send_write(&self, request: &mut WriteRequest) -> Result<WriteReply, SendFailed> {
        let bucket = self.bucket_of(request.command.as_ref().and_then(Command::bucket));
        self.router
            .send_about(bucket, RequestKind::MetadataWrite, request)
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
        let mounts = self.open_files.is_some();
        let mut request = unnumbered(&none, Command::OpenSession(OpenSession { mounts }));
        let reply = self.send_write(&mut request).await?;
        match reply.outcome {
            Some(Outcome::Session(id)) => {
                let opened = Arc::new(Session::new(SessionId::new(id), reply.log_index));
                let old = std::mem::replace(&mut *self.session.write(), opened);
                self.replaced.lock().push(Arc::downgrade(&old));
                // What is opened while open files are looked for must not be known from before.
                self.leases.forget_all();
                self.take_over_open_files(reply.log_index).await;
                Ok(())
            }
            Some(Outcome::Refused(refusal)) => Err(refusal.into()),
            _ => Err(unexpected()),
        }
    }

    /// Opens another session in the place of `ended`, unless somebody has done so meanwhile.
    pub(crate) async fn renew_session(&self, ended: &Arc<Session>) -> Result<(), ClientError> {
        let _one = self.opening.lock().await;
        if Arc::ptr_eq(&self.session(), ended) {
            self.open_session().await?;
        }
        Ok(())
    }

    /// Learns where the chunkservers are called.
    async fn refresh_servers(&self) -> Result<(), ClientError> {
        let Some(addresses) = &self.addresses else {
            return Ok(());
        };
        let Answer::Servers(page) = self.read(Query::Servers(ServersQuery {})).await? else {
            return Err(unexpected());
        };
        for info in page.servers.into_iter().filter_map(|server| server.info) {
            if !info.address.is_empty() {
                addresses.set(NodeId::new(info.node), &info.address);
            }
        }
        Ok(())
    }

    async fn refresh_map(&self) -> Result<(), ClientError> {
        let known_epoch = self.map.read().epoch.value();
        let Answer::Map(message) = self.read(Query::Map(MapQuery { known_epoch })).await? else {
            return Err(unexpected());
        };
        if message.epoch == known_epoch && known_epoch > 0 {
            return Ok(());
        }
        let map = ClusterMap::try_from(message).map_err(|error| ClientError::Internal(error.to_string()))?;
        let mut current = self.map.write();
        if map.epoch >= current.epoch {
            *current = Arc::new(map);
        }
        Ok(())
    }

    /// Reads a range of a chunk, whose shards may move meanwhile: by a map that is no older than what the chunk's record says, and
    /// where they are not found any more, once more by what its record says now.
    pub(crate) async fn read_chunk(&self, chunk: &Chunk, range: Range<u32>) -> Result<Vec<Bytes>, ReadError> {
        // Before the read: the map may be fetched by another while this one still asks by the old.
        let known = self.map.read().epoch;
        match self.read_planned(chunk, range.clone()).await {
            Err(error) => match self.moved_chunk(chunk, known).await {
                Some(moved) => self.read_planned(&moved, range).await,
                None => Err(error),
            },
            read => read,
        }
    }

    /// The chunk as its record has it, where that names other places than `chunk` does, or the map is another than that of `known`.
    async fn moved_chunk(&self, chunk: &Chunk, known: Epoch) -> Option<Chunk> {
        let question = Some(ChunkQuestion::Chunk(chunk.id.clone()));
        let answer = self.read(Query::Chunk(ChunkQuery { question })).await;
        let answer = answer.inspect_err(|error| {
            tracing::debug!(%error, "where a chunk lies now was not told");
        });
        let Ok(Answer::Chunk(answer)) = answer else { return None };
        let Some(ChunkReply::Chunk(info)) = answer.reply else {
            return None;
        };
        let moved = info.chunk?;
        if let Err(error) = self.refresh_map().await {
            tracing::debug!(%error, "the cluster map is as old as it was");
        }
        (moved != *chunk || self.map.read().epoch > known).then_some(moved)
    }

    async fn read_planned(&self, chunk: &Chunk, range: Range<u32>) -> Result<Vec<Bytes>, ReadError> {
        let known = self.map.read().epoch.value();
        if chunk.epoch > known
            && let Err(error) = self.refresh_map().await
        {
            tracing::debug!(%error, "the cluster map is older than a chunk that is read");
        }
        self.datapath.read_chunk(chunk, range).await
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
            let heartbeat = Command::Heartbeat(self.heartbeat_of(&session));
            self.send_write(&mut unnumbered(&session, heartbeat)).await?;
        }
        Ok(())
    }

    /// Tells the metadata service of shards that readers found missing or damaged. What cannot be told is found again.
    async fn report_findings(&self) -> Result<(), ClientError> {
        let findings = self.datapath.take_findings();
        for some in findings.chunks(limits::REPAIR_BATCH_MAX) {
            let place = |finding: &Finding| ShardPlace {
                chunk_id: Bytes::copy_from_slice(&finding.chunk.to_bytes()),
                shard_index: u32::try_from(finding.shard).unwrap_or(u32::MAX),
                device: finding.device.value(),
            };
            let change = Some(ChunkChange::Report(ReportShards {
                shards: some.iter().map(place).collect(),
            }));
            let session = self.session();
            let report = Command::Chunk(ChunkCommand { change });
            self.send_write(&mut unnumbered(&session, report)).await?;
        }
        Ok(())
    }

    /// Keeps the session alive, or opens another in its place.
    async fn heartbeat(&self) -> Result<(), ClientError> {
        if let Err(error) = self.report_findings().await {
            tracing::debug!(%error, "shards that were found missing are not reported");
        }
        self.keep_replaced().await?;
        let session = self.session();
        if session.is_retired() {
            return self.renew_session(&session).await;
        }
        for _ in 0..HEARTBEATS_AT_ONCE_MAX {
            let heartbeat = Command::Heartbeat(self.heartbeat_of(&session));
            let reply = self.send_write(&mut unnumbered(&session, heartbeat)).await?;
            session.observe(reply.log_index);
            match reply.outcome {
                Some(Outcome::Refused(refusal)) if refusal.code() == ErrorCode::SessionEnded => {
                    tracing::warn!(session = %session.id(), "the session's lease ran out; opening another");
                    session.retire();
                    return self.renew_session(&session).await;
                }
                Some(Outcome::Orphans(page)) if self.compare_orphans(&page) => {}
                _ => break,
            }
        }
        self.router.refresh().await?;
        self.refresh_servers().await?;
        self.refresh_map().await
    }
}

/// A command without a number: one that may be carried out twice.
fn unnumbered(session: &Session, command: Command) -> WriteRequest {
    WriteRequest {
        session: session.id().value(),
        command: Some(command),
        ..WriteRequest::default()
    }
}

/// Whether a command tells of what was done in a directory that a mount used alone.
const fn is_settling(command: &Command) -> bool {
    matches!(
        command,
        Command::File(FileCommand {
            action: Some(FileAction::CreateWritten(_)),
            ..
        })
    )
}

/// Whether asking later may bring an answer.
pub(crate) const fn is_passing(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Unavailable(_) | ClientError::SlowDown(_) | ClientError::OutcomeUnknown(_)
    )
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
