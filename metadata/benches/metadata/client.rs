//! A client of the metadata service, as small as can be: a session, numbered commands, queries.
//!
//! Owns: the keys and objects of the benchmark. Object n of client c has the same key in every run, 40 bytes long, and one
//! chunk. It must never send a number of a session twice.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_common::cluster_map::{ClusterMap, Device};
use cairn_common::ids::{ChunkId, DeviceId, Epoch, Incarnation, NodeId, SessionId};
use cairn_common::planner::plan_rows;
use cairn_common::wire::command::{
    Command, CreateBucket, Heartbeat, InstallMap, OpenSession, Outcome, PutObject, RaiseFeatureLevel, WriteReply,
    WriteRequest,
};
use cairn_common::wire::failure::FailureCode;
use cairn_common::wire::group::{AddLearner, GroupChange, GroupChangeReply, MemberChange, PromoteLearner};
use cairn_common::wire::kind::RequestKind;
use cairn_common::wire::map::MapMessage;
use cairn_common::wire::object::{Body as ObjectBody, Chunk, Extent, Field, ObjectAttributes};
use cairn_common::wire::query::{Answer, BucketQuery, ListPage, ListQuery, ObjectQuery, Query, ReadReply, ReadRequest};
use cairn_transport::{Body, CallError, Gatherer, Transport, call};
use parking_lot::Mutex;
use prost::Message;
use tokio::time::sleep;

pub(crate) const BUCKET: &str = "bench";
/// The directory of many entries.
pub(crate) const CROWD: &str = "crowd";
const DEADLINE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);
const TRIES: usize = 500;
const DEVICES: u32 = 3;
const GROUP_BITS: u8 = 10;

/// The members of the group, and which of them led last.
pub(crate) struct Metadata {
    transport: Arc<dyn Transport>,
    /// Commands travel as those of a gateway do.
    commands: Gatherer,
    nodes: Vec<NodeId>,
    leader: AtomicUsize,
}

impl Metadata {
    pub(crate) fn new(transport: Arc<dyn Transport>, nodes: Vec<NodeId>) -> Arc<Self> {
        let leader = AtomicUsize::new(0);
        let (one, many) = (RequestKind::MetadataWrite, RequestKind::MetadataWrites);
        Arc::new(Self {
            commands: Gatherer::new(Arc::clone(&transport), one, many),
            transport,
            nodes,
            leader,
        })
    }

    /// Sends a message to the member that led last, and to the others where it leads no more.
    async fn send<Reply: Message + Default>(&self, kind: RequestKind, message: &impl Message) -> Result<Reply> {
        for _ in 0..TRIES {
            let leader = self.leader.load(Ordering::Relaxed);
            let node = self.nodes[leader];
            let sent = match kind {
                RequestKind::MetadataWrite => self.commands.call(node, message, DEADLINE).await,
                _ => call::<Reply>(&*self.transport, node, kind, message, Body::empty(), DEADLINE)
                    .await
                    .map(|(reply, _)| reply),
            };
            match sent {
                Ok(reply) => return Ok(reply),
                Err(CallError::Failed(failure)) if failure.code() == FailureCode::Busy => sleep(PAUSE).await,
                Err(error @ (CallError::Failed(_) | CallError::Malformed(_) | CallError::Body(_)))
                    if !is_elsewhere(&error) =>
                {
                    return Err(error.into());
                }
                Err(_) => {
                    let next = (leader + 1) % self.nodes.len();
                    // Another client may have found the leader meanwhile; either way the next try goes there.
                    let _ = self
                        .leader
                        .compare_exchange(leader, next, Ordering::Relaxed, Ordering::Relaxed);
                    sleep(PAUSE).await;
                }
            }
        }
        bail!("no member has answered in {TRIES} tries")
    }

    pub(crate) async fn write(
        &self,
        session: u64,
        sequence: u64,
        answered_below: u64,
        command: Command,
    ) -> Result<Outcome> {
        let request = WriteRequest {
            session,
            sequence,
            answered_below,
            group: 0,
            resent: false,
            settles: false,
            command: Some(command),
        };
        let reply: WriteReply = self.send(RequestKind::MetadataWrite, &request).await?;
        match reply.outcome.context("a reply without an outcome")? {
            Outcome::Refused(refusal) => bail!("refused: {}", refusal.detail),
            outcome => Ok(outcome),
        }
    }

    pub(crate) async fn ask(&self, query: Query) -> Result<Answer> {
        let request = ReadRequest {
            query: Some(query),
            ..ReadRequest::default()
        };
        let reply: ReadReply = self.send(RequestKind::MetadataRead, &request).await?;
        match reply.answer.context("a reply without an answer")? {
            Answer::Refused(refusal) => bail!("refused: {}", refusal.detail),
            answer => Ok(answer),
        }
    }

    /// Makes every other node that is told a voter of the group that the first leads.
    pub(crate) async fn gather(&self, addresses: &[SocketAddr]) -> Result<()> {
        for (node, address) in self.nodes.iter().zip(addresses).skip(1) {
            let (node, address) = (node.value(), address.to_string());
            for change in [
                MemberChange::AddLearner(AddLearner { node, address }),
                MemberChange::Promote(PromoteLearner { node }),
            ] {
                let change = GroupChange {
                    group: 0,
                    change: Some(change),
                };
                let _: GroupChangeReply = self.send(RequestKind::GroupChange, &change).await?;
            }
        }
        Ok(())
    }

    /// Raises the feature level, puts a map in force and makes the bucket of the benchmark.
    pub(crate) async fn prepare(self: &Arc<Self>) -> Result<()> {
        let level = cairn_common::limits::FEATURE_LEVEL;
        let raise = Command::RaiseFeatureLevel(RaiseFeatureLevel { level });
        self.write(0, 0, 0, raise).await?;
        let map = Some(MapMessage::from(&cluster_map()?));
        self.write(0, 0, 0, Command::InstallMap(InstallMap { map })).await?;
        let bucket = CreateBucket {
            name: BUCKET.to_owned(),
            data_shards: 1,
            parity_shards: 2,
            chunk_size_bytes: 0,
            owner_key: String::new(),
        };
        let session = Session::open(self).await?;
        session.run(Command::CreateBucket(bucket)).await?;
        Ok(())
    }

    /// A page of keys from `from` on.
    pub(crate) async fn list(&self, prefix: &str, from: Bytes) -> Result<ListPage> {
        let query = ListQuery {
            bucket: BUCKET.to_owned(),
            prefix: Bytes::copy_from_slice(prefix.as_bytes()),
            from,
            limit: 1000,
            ..ListQuery::default()
        };
        match self.ask(Query::List(query)).await? {
            Answer::List(page) => Ok(page),
            answer => bail!("a listing was answered with {answer:?}"),
        }
    }
}

fn is_elsewhere(error: &CallError) -> bool {
    matches!(error, CallError::Failed(failure) if failure.code() == FailureCode::NotLeader)
}

/// A session, as a gateway has one: shared by those who work at the same time.
pub(crate) struct Session {
    metadata: Arc<Metadata>,
    id: u64,
    commands: Mutex<Numbers>,
    chunks: Mutex<Numbers>,
}

/// Numbers given out, and which of them are still open.
#[derive(Default)]
struct Numbers {
    last: u64,
    open: BTreeSet<u64>,
}

impl Numbers {
    fn take(&mut self) -> u64 {
        self.last += 1;
        self.open.insert(self.last);
        self.last
    }

    fn closed_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.last + 1)
    }
}

impl Session {
    pub(crate) async fn open(metadata: &Arc<Metadata>) -> Result<Arc<Self>> {
        let opened = metadata
            .write(0, 0, 0, Command::OpenSession(OpenSession { mounts: false }))
            .await?;
        let Outcome::Session(id) = opened else {
            bail!("no session: {opened:?}")
        };
        Ok(Arc::new(Self {
            metadata: Arc::clone(metadata),
            id,
            commands: Mutex::default(),
            chunks: Mutex::default(),
        }))
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// The number of the benchmark's bucket.
    pub(crate) async fn bucket(&self) -> Result<u64> {
        let name = BUCKET.to_owned();
        match self.metadata.ask(Query::Bucket(BucketQuery { name })).await? {
            Answer::Bucket(bucket) => Ok(bucket.id),
            answer => bail!("a bucket was answered with {answer:?}"),
        }
    }

    /// Runs a command of the session, exactly once.
    pub(crate) async fn run(&self, command: Command) -> Result<Outcome> {
        let (sequence, answered_below) = {
            let mut commands = self.commands.lock();
            (commands.take(), commands.closed_below())
        };
        let outcome = self.metadata.write(self.id, sequence, answered_below, command).await?;
        self.commands.lock().open.remove(&sequence);
        Ok(outcome)
    }

    /// Keeps the session alive.
    pub(crate) async fn heartbeat(&self) -> Result<()> {
        let heartbeat = Heartbeat {
            settled_below: self.chunks.lock().closed_below(),
            reads_from: 0,
            ..Heartbeat::default()
        };
        self.metadata
            .write(self.id, 0, 0, Command::Heartbeat(heartbeat))
            .await?;
        Ok(())
    }
}

/// One client of a session: its own directory, and one request under way.
pub(crate) struct Client {
    session: Arc<Session>,
    number: usize,
    /// Objects put so far.
    put: u64,
}

impl Client {
    pub(crate) const fn new(session: Arc<Session>, number: usize) -> Self {
        Self {
            session,
            number,
            put: 0,
        }
    }

    /// Puts the next object.
    pub(crate) async fn create(&mut self) -> Result<()> {
        let chunk = self.session.chunks.lock().take();
        let put = put_command(key(self.number, self.put), self.session.id, chunk);
        let outcome = self.session.run(put).await?;
        self.session.chunks.lock().open.remove(&chunk);
        ensure!(
            matches!(outcome, Outcome::CommittedMs(_)),
            "a put was answered with {outcome:?}"
        );
        self.put += 1;
        Ok(())
    }

    /// Puts the next empty object into the directory that all share.
    pub(crate) async fn join_crowd(&mut self) -> Result<()> {
        let key = format!("{CROWD}/{:04x}-{:016x}", self.number, mix(self.put));
        let put = PutObject {
            bucket: BUCKET.to_owned(),
            key: Bytes::from(key),
            attributes: Some(ObjectAttributes::default()),
            body: Some(ObjectBody::default()),
            condition: None,
        };
        self.session.run(Command::PutObject(put)).await?;
        self.put += 1;
        Ok(())
    }

    /// Looks up one of the objects put, with its read plan.
    pub(crate) async fn lookup(&self, number: u64) -> Result<()> {
        let query = ObjectQuery {
            bucket: BUCKET.to_owned(),
            key: Bytes::from(key(self.number, mix(number) % self.put.max(1))),
            with_plan: true,
            plan_from: 0,
        };
        match self.session.metadata.ask(Query::Object(query)).await? {
            Answer::Object(object) => {
                let planned = object.plan.is_some_and(|plan| plan.extents.len() == 1);
                ensure!(planned, "an object without its chunk");
                Ok(())
            }
            answer => bail!("a lookup was answered with {answer:?}"),
        }
    }
}

/// Puts an object of one chunk: the chunk of that number of the session.
pub(crate) fn put_command(key: String, session: u64, number: u64) -> Command {
    let id = ChunkId {
        session: SessionId::new(session),
        counter: number,
    };
    let seed = mix(session ^ mix(number));
    let hash: Vec<u8> = (0..4).flat_map(|part| mix(seed ^ part).to_le_bytes()).collect();
    let length = 1 << 20;
    let chunk = Chunk {
        id: Bytes::copy_from_slice(&id.to_bytes()),
        data_shards: 1,
        parity_shards: 2,
        length,
        hash: Bytes::from(hash),
        explicit_devices: Vec::new(),
        epoch: 1,
        ..Chunk::default()
    };
    let extent = Extent {
        length: length.into(),
        chunk: Some(chunk),
        ..Extent::default()
    };
    let attributes = ObjectAttributes {
        etag: format!("{:016x}{:016x}", mix(!seed), mix(seed >> 1)),
        headers: vec![Field {
            name: "content-type".to_owned(),
            value: "binary/octet-stream".to_owned(),
        }],
        ..ObjectAttributes::default()
    };
    Command::PutObject(PutObject {
        bucket: BUCKET.to_owned(),
        key: Bytes::from(key),
        attributes: Some(attributes),
        body: Some(ObjectBody {
            size: length.into(),
            inline: Bytes::new(),
            extents: vec![extent],
        }),
        condition: None,
    })
}

/// What an object's put carries beside its key, in bytes: what etcd is given as a value.
pub(crate) fn value_bytes() -> usize {
    let Command::PutObject(put) = put_command(key(0, 0), 1, 1) else {
        return 0;
    };
    let attributes = put.attributes.map_or(0, |attributes| attributes.encoded_len());
    attributes + put.body.map_or(0, |body| body.encoded_len())
}

/// 40 bytes: a directory for each client, and a name in it that looks random.
pub(crate) fn key(client: usize, number: u64) -> String {
    let name = u128::from(mix(number)) << 64 | u128::from(mix(!number));
    format!("{client:03x}/obj-{name:032x}")
}

/// A number that looks random (the finaliser of splitmix64).
pub(crate) const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn cluster_map() -> Result<ClusterMap> {
    let device = |id| Device {
        id: DeviceId::new(id),
        incarnation: Incarnation::new(1),
        server: NodeId::new(99),
        weight_bytes: 1,
        failure_domain: format!("domain {id}"),
        disk: "disk".to_owned(),
    };
    let devices = (1..=DEVICES).map(|id| (DeviceId::new(id), device(id))).collect();
    let rows = plan_rows(&devices, 3, 1 << GROUP_BITS)?;
    Ok(ClusterMap {
        epoch: Epoch::new(1),
        group_bits: GROUP_BITS,
        devices,
        rows: [(3, rows)].into(),
        ..ClusterMap::default()
    })
}
