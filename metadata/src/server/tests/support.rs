//! A server, a fake chunkserver behind the in-process transport, and commands in short form.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{ChunkId, DeviceId, Epoch, Incarnation, NodeId, SessionId},
    planner::plan_rows,
    wire::{
        command::{
            Command, CreateBucket, DeleteObject, Heartbeat, InstallMap, OpenSession, Outcome, PutObject, WriteReply,
            WriteRequest,
        },
        failure::{Failure, FailureCode},
        kind::RequestKind,
        map::MapMessage,
        object::{Body as ObjectBody, Chunk, Extent, ObjectAttributes},
        query::{Answer, ObjectQuery, Query, ReadReply, ReadRequest, Summary, SummaryQuery},
        shard::{DeleteShard, DeleteShardReply, GetShard, GetShardReply, ListShards, ListShardsReply, ShardName},
    },
};
use cairn_transport::{Body, CallError, InProcess, Peer, Request, Response, Service, Transport, call, failure, reply};
use parking_lot::Mutex;
use prost::Message;
use tempfile::TempDir;

use crate::{InventorySchedule, MetadataConfig, MetadataServer, StartError, Surroundings};

pub(super) const DEADLINE: Duration = Duration::from_secs(20);
pub(super) const METADATA: NodeId = NodeId::new(1);
pub(super) const METADATA_KINDS: [RequestKind; 4] = [
    RequestKind::MetadataWrite,
    RequestKind::MetadataRead,
    RequestKind::ReadCheckpoint,
    RequestKind::BackUp,
];
pub(super) const CHUNKS: NodeId = NodeId::new(2);
pub(super) const BUCKET: &str = "bucket";
const DEVICES: u32 = 3;
pub(super) const GROUP_BITS: u8 = 4;

/// Shards that devices hold, and devices that do not answer.
#[derive(Default)]
pub(super) struct FakeChunkserver {
    pub(super) shards: Mutex<BTreeSet<(u32, ChunkId, u32)>>,
    pub(super) silent: Mutex<BTreeSet<u32>>,
    /// Devices that are still empty when they are listed next.
    pub(super) empty_once: Mutex<BTreeSet<u32>>,
    pub(super) deletes: AtomicU64,
}

#[async_trait]
impl Service for FakeChunkserver {
    async fn handle(&self, _: Peer, request: Request) -> Result<Response, Failure> {
        match request.kind {
            RequestKind::DeleteShard => self.delete(&DeleteShard::decode(request.header).expect("a message")),
            RequestKind::ListShards => self.list(&ListShards::decode(request.header).expect("a message")),
            RequestKind::GetShard => self.has(&GetShard::decode(request.header).expect("a message")),
            other => panic!("the metadata server asks for {}", other.name()),
        }
    }
}

impl FakeChunkserver {
    fn delete(&self, message: &DeleteShard) -> Result<Response, Failure> {
        self.deletes.fetch_add(1, Ordering::SeqCst);
        if self.silent.lock().contains(&message.device) {
            return Err(failure(FailureCode::DeviceDown, "silent"));
        }
        let chunk = ChunkId::from_bytes(&message.chunk_id).expect("a chunk id");
        if !self.shards.lock().remove(&(message.device, chunk, message.shard_index)) {
            return Err(failure(FailureCode::NotFound, "no such shard"));
        }
        Ok(reply(&DeleteShardReply {}, Body::empty()))
    }

    fn has(&self, message: &GetShard) -> Result<Response, Failure> {
        let chunk = ChunkId::from_bytes(&message.chunk_id).expect("a chunk id");
        if self
            .shards
            .lock()
            .contains(&(message.device, chunk, message.shard_index))
        {
            return Ok(reply(&GetShardReply::default(), Body::empty()));
        }
        Err(failure(FailureCode::NotFound, "no such shard"))
    }

    /// Pages of two shards; the cursor is the number of shards behind.
    fn list(&self, message: &ListShards) -> Result<Response, Failure> {
        if self.silent.lock().contains(&message.device) {
            return Err(failure(FailureCode::DeviceDown, "silent"));
        }
        if self.empty_once.lock().remove(&message.device) {
            return Ok(reply(&ListShardsReply::default(), Body::empty()));
        }
        let skip = message.cursor.first().map_or(0, |byte| usize::from(*byte));
        let shards = self.shards.lock();
        let mut of_device: Vec<_> = shards.iter().filter(|(device, ..)| *device == message.device).collect();
        of_device.sort_by_key(|(_, chunk, index)| (chunk.placement_hash().value(), *chunk, *index));
        let mut of_device = of_device.into_iter().skip(skip);
        let name = |(_, chunk, index): &(u32, ChunkId, u32)| ShardName {
            chunk_id: Bytes::copy_from_slice(&chunk.to_bytes()),
            shard_index: *index,
            damaged: false,
        };
        let page: Vec<_> = of_device.by_ref().take(2).map(name).collect();
        let at = u8::try_from(skip + page.len()).expect("few shards");
        let next_cursor = if of_device.next().is_some() {
            Bytes::from(vec![at])
        } else {
            Bytes::new()
        };
        let listed = ListShardsReply {
            shards: page,
            next_cursor,
        };
        Ok(reply(&listed, Body::empty()))
    }
}

pub(super) fn cluster_map() -> ClusterMap {
    let device = |id| Device {
        id: DeviceId::new(id),
        incarnation: Incarnation::new(1),
        server: CHUNKS,
        weight_bytes: 1,
        failure_domain: format!("domain {id}"),
        disk: "disk".to_owned(),
    };
    let devices: BTreeMap<DeviceId, Device> = (1..=DEVICES).map(|id| (DeviceId::new(id), device(id))).collect();
    let rows = plan_rows(&devices, 2, 1 << GROUP_BITS).expect("devices enough");
    ClusterMap {
        epoch: Epoch::new(1),
        group_bits: GROUP_BITS,
        devices,
        rows: [(2, rows)].into(),
        ..ClusterMap::default()
    }
}

/// Workers that find their work at once.
pub(super) fn config(directory: &Path) -> MetadataConfig {
    let hour = Duration::from_secs(3600);
    MetadataConfig {
        garbage_interval: Duration::from_millis(10),
        inventory: InventorySchedule {
            first_after: hour,
            every: hour,
            page_every: Duration::from_millis(1),
        },
        ..MetadataConfig::new(directory, METADATA)
    }
}

/// A running server with a map, a session and a bucket.
pub(super) struct Rig {
    pub(super) server: MetadataServer,
    pub(super) chunkserver: Arc<FakeChunkserver>,
    pub(super) session: u64,
    sequence: AtomicU64,
    counter: AtomicU64,
    pub(super) carrier: InProcess,
    pub(super) directory: TempDir,
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut MetadataConfig)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut rig = Self::on(directory, Arc::default(), change).await.expect("a start");
        rig.prepare().await;
        rig
    }

    /// A server on what is in `directory` already, without a session.
    pub(super) async fn on(
        directory: TempDir,
        chunkserver: Arc<FakeChunkserver>,
        change: impl FnOnce(&mut MetadataConfig),
    ) -> Result<Self, StartError> {
        let service: Arc<dyn Service> = Arc::clone(&chunkserver) as Arc<dyn Service>;
        let kinds = [RequestKind::DeleteShard, RequestKind::ListShards, RequestKind::GetShard];
        let chunks = InProcess::new().with_service(CHUNKS, &kinds, service, 1000);
        let mut config = config(directory.path());
        change(&mut config);
        let server = MetadataServer::start(config, Surroundings::new(Arc::new(chunks.clone()))).await?;
        let carrier = chunks.with_service(METADATA, &METADATA_KINDS, Arc::new(server.clone()), 10_000);
        let (sequence, counter) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self {
            server,
            chunkserver,
            session: 0,
            sequence,
            counter,
            carrier,
            directory,
        })
    }

    /// Goes on with a session that is open already, from this sequence and chunk number on.
    pub(super) fn go_on_with(&mut self, session: u64, from: u64) {
        self.session = session;
        self.sequence.store(from, Ordering::SeqCst);
        self.counter.store(from, Ordering::SeqCst);
    }

    async fn prepare(&mut self) {
        let map = Some(MapMessage::from(&cluster_map()));
        assert!(is_done(&self.send(0, 0, Command::InstallMap(InstallMap { map })).await));
        self.session = self.open_session().await;
        let bucket = CreateBucket {
            name: BUCKET.to_owned(),
            data_shards: 1,
            parity_shards: 1,
            chunk_size_bytes: 1 << 20,
            ..CreateBucket::default()
        };
        assert!(is_done(&self.run(Command::CreateBucket(bucket)).await));
    }

    pub(super) async fn open_session(&self) -> u64 {
        let reply = self.send(0, 0, Command::OpenSession(OpenSession::default())).await;
        let Some(Outcome::Session(session)) = reply.outcome else {
            panic!("no session: {reply:?}")
        };
        session
    }

    /// Sends a numbered command of the session.
    pub(super) async fn run(&self, command: Command) -> WriteReply {
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst) + 1;
        self.send(self.session, sequence, command).await
    }

    pub(super) async fn send(&self, session: u64, sequence: u64, command: Command) -> WriteReply {
        self.try_send(session, sequence, command).await.expect("a reply")
    }

    pub(super) async fn try_send(
        &self,
        session: u64,
        sequence: u64,
        command: Command,
    ) -> Result<WriteReply, CallError> {
        let request = WriteRequest {
            session,
            sequence,
            answered_below: 0,
            group: 0,
            resent: false,
            settles: false,
            command: Some(command),
        };
        let kind = RequestKind::MetadataWrite;
        Ok(call(
            &self.carrier as &dyn Transport,
            METADATA,
            kind,
            &request,
            Body::empty(),
            DEADLINE,
        )
        .await?
        .0)
    }

    pub(super) async fn try_ask(&self, query: Query) -> Result<ReadReply, CallError> {
        let request = ReadRequest {
            query: Some(query),
            ..ReadRequest::default()
        };
        let kind = RequestKind::MetadataRead;
        Ok(call(
            &self.carrier as &dyn Transport,
            METADATA,
            kind,
            &request,
            Body::empty(),
            DEADLINE,
        )
        .await?
        .0)
    }

    pub(super) async fn object(&self, key: &str) -> Answer {
        let (bucket, key) = (BUCKET.to_owned(), Bytes::copy_from_slice(key.as_bytes()));
        let query = Query::Object(ObjectQuery {
            bucket,
            key,
            with_plan: true,
            plan_from: 0,
        });
        self.try_ask(query).await.expect("an answer").answer.expect("an answer")
    }

    /// Log index of the newest applied entry.
    pub(super) async fn summary_index(&self) -> u64 {
        self.try_ask(Query::Summary(SummaryQuery {}))
            .await
            .expect("an answer")
            .log_index
    }

    pub(super) async fn summary(&self) -> Summary {
        let answer = self
            .try_ask(Query::Summary(SummaryQuery {}))
            .await
            .expect("an answer")
            .answer;
        let Some(Answer::Summary(summary)) = answer else {
            panic!("no summary: {answer:?}")
        };
        summary
    }

    pub(super) async fn put_inline(&self, key: &str) -> WriteReply {
        let inline = Bytes::copy_from_slice(key.as_bytes());
        let body = ObjectBody {
            size: inline.len() as u64,
            inline,
            extents: Vec::new(),
        };
        self.put(key, body).await
    }

    /// Puts an object of one chunk, whose shards lie where the map says.
    pub(super) async fn put_chunk(&self, key: &str) -> ChunkId {
        let (id, reply) = self.put_chunk_of(key, 1).await;
        assert!(!matches!(reply.outcome, Some(Outcome::Refused(_))), "{reply:?}");
        id
    }

    /// Puts an object of one chunk that was written under the map of this epoch.
    pub(super) async fn put_chunk_under(&self, key: &str, epoch: u64) -> WriteReply {
        self.put_chunk_of(key, epoch).await.1
    }

    async fn put_chunk_of(&self, key: &str, epoch: u64) -> (ChunkId, WriteReply) {
        let id = self.store_chunk(self.session, self.counter.fetch_add(1, Ordering::SeqCst) + 1);
        let chunk = Chunk {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            data_shards: 1,
            parity_shards: 1,
            length: 100,
            hash: Bytes::from(vec![7; 32]),
            explicit_devices: Vec::new(),
            epoch,
            missing: 0,
        };
        let extent = Extent {
            length: 100,
            chunk: Some(chunk),
            ..Extent::default()
        };
        let body = ObjectBody {
            size: 100,
            inline: Bytes::new(),
            extents: vec![extent],
        };
        (id, self.put(key, body).await)
    }

    /// Puts the shards of a chunk on the devices that the map names.
    pub(super) fn store_chunk(&self, session: u64, counter: u64) -> ChunkId {
        let id = ChunkId {
            session: SessionId::new(session),
            counter,
        };
        let map = cluster_map();
        let row = map
            .row(2, id.placement_hash().group(GROUP_BITS))
            .expect("a row")
            .to_vec();
        let mut shards = self.chunkserver.shards.lock();
        shards.extend(row.iter().zip(0..).map(|(device, index)| (device.value(), id, index)));
        id
    }

    pub(super) fn holders(&self, chunk: ChunkId) -> Vec<u32> {
        let shards = self.chunkserver.shards.lock();
        shards
            .iter()
            .filter(|(_, id, _)| *id == chunk)
            .map(|(device, ..)| *device)
            .collect()
    }

    async fn put(&self, key: &str, body: ObjectBody) -> WriteReply {
        let attributes = Some(ObjectAttributes {
            etag: "etag".to_owned(),
            ..ObjectAttributes::default()
        });
        let (bucket, key) = (BUCKET.to_owned(), Bytes::copy_from_slice(key.as_bytes()));
        self.run(Command::PutObject(PutObject {
            bucket,
            key,
            attributes,
            body: Some(body),
            condition: None,
        }))
        .await
    }

    pub(super) async fn delete(&self, key: &str) -> WriteReply {
        self.run(Command::DeleteObject(delete_command(key))).await
    }

    /// A heartbeat that gives up all reads begun before `reads_from`.
    pub(super) async fn heartbeat(&self, session: u64, reads_from: u64) -> WriteReply {
        self.send(
            session,
            0,
            Command::Heartbeat(Heartbeat {
                reads_from,
                ..Heartbeat::default()
            }),
        )
        .await
    }

    /// Waits until `holds` does; each look is a read of the server, so it never spins.
    pub(super) async fn eventually(&self, what: &str, mut holds: impl FnMut(&Summary) -> bool) {
        let looking = async { while !holds(&self.summary().await) {} };
        tokio::time::timeout(DEADLINE, looking)
            .await
            .unwrap_or_else(|_| panic!("in vain waited for: {what}"));
    }
}

pub(super) fn is_done(reply: &WriteReply) -> bool {
    matches!(reply.outcome, Some(Outcome::Done(_)))
}

pub(super) fn delete_command(key: &str) -> DeleteObject {
    DeleteObject {
        bucket: BUCKET.to_owned(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        condition: None,
    }
}
