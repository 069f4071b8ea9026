//! Several members over the simulated network, with real databases, and a client that finds the leader.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use cairn_common::{
    ids::{ChunkId, DeviceId, NodeId},
    wire::{
        command::{Command, CreateBucket, EntryBatch, InstallMap, OpenSession, Outcome, WriteReply, WriteRequest},
        failure::{Failure, FailureCode},
        group::{AddLearner, GroupChange, GroupChangeReply, GroupStatus, MemberChange, PromoteLearner},
        kind::RequestKind,
        map::MapMessage,
        query::{Answer, BucketQuery, Query, ReadReply, ReadRequest},
        role::{Role, Roles},
    },
};
use cairn_transport::{Body, CallError, Services, SimulatedLinks, SimulatedNetwork, call};
use tempfile::TempDir;
use tokio::time::timeout;

use super::support::{DEADLINE, cluster_map, is_done};
use crate::{
    CLIENT_KINDS, Clock, GROUP_KINDS, LEASE_KINDS, MetadataConfig, MetadataServer, RaftTiming, Start, StartError,
    Surroundings,
    core::{
        Applied, DeletableChunk, Expected, ShardId, Verdict,
        view::{Family, View, ViewError, Write},
    },
    raft::{CoreMachine, Machine},
};

/// The client's and operator's number.
/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const CLIENT: NodeId = NodeId::new(100);

/// A clock that a test sets wrong.
#[derive(Default)]
pub(super) struct WrongClock {
    off_ms: AtomicI64,
}

impl WrongClock {
    pub(super) fn set_off_by_ms(&self, off_ms: i64) {
        self.off_ms.store(off_ms, Ordering::SeqCst);
    }
}

impl Clock for WrongClock {
    fn now_ms(&self) -> u64 {
        crate::SystemClock
            .now_ms()
            .saturating_add_signed(self.off_ms.load(Ordering::SeqCst))
    }
}

/// One member, and what outlives its process.
struct Seat {
    directory: TempDir,
    clock: Arc<WrongClock>,
    server: Option<MetadataServer>,
}

/// Members and a client.
pub(super) struct Cluster {
    pub(super) network: SimulatedNetwork,
    seats: BTreeMap<u64, Seat>,
    configure: fn(&mut MetadataConfig),
    /// A member whose state machine does not do what those of the others do.
    pub(super) crooked: Option<u64>,
    moved: BTreeMap<u64, String>,
    session: u64,
    sequence: AtomicU64,
}

pub(super) fn address(member: u64) -> String {
    format!("member-{member}:1")
}

impl Cluster {
    /// A group of one.
    pub(super) async fn alone(configure: fn(&mut MetadataConfig)) -> Self {
        let links = SimulatedLinks {
            latency: Duration::from_millis(1),
            jitter: Duration::ZERO,
            bytes_per_second: 0,
        };
        let network = SimulatedNetwork::new(1, links);
        let roles = Roles::of(&[Role::Client, Role::Operator]);
        network.add_node(CLIENT, roles, Services::new());
        let mut cluster = Self {
            network,
            seats: BTreeMap::new(),
            configure,
            crooked: None,
            moved: BTreeMap::new(),
            session: 0,
            sequence: AtomicU64::new(0),
        };
        cluster.start(1, Start::Alone).await.expect("a start");
        let map = Some(MapMessage::from(&cluster_map()));
        let installed = cluster.send(0, 0, Command::InstallMap(InstallMap { map })).await;
        assert!(is_done(&installed), "{installed:?}");
        let opened = cluster.send(0, 0, Command::OpenSession(OpenSession::default())).await;
        let Some(Outcome::Session(session)) = opened.outcome else {
            panic!("no session: {opened:?}")
        };
        cluster.session = session;
        cluster
    }

    /// A group of three, grown on a live cluster.
    pub(super) async fn of_three(configure: fn(&mut MetadataConfig)) -> Self {
        let mut cluster = Self::alone(configure).await;
        for member in [2, 3] {
            cluster.add(member).await;
        }
        cluster
    }

    /// Starts a new server and makes it a voter.
    pub(super) async fn add(&mut self, member: u64) {
        self.start(member, Start::Join).await.expect("a start");
        self.change(add_learner(member)).await.expect("a learner");
        let promote = MemberChange::Promote(PromoteLearner { node: member });
        self.change(promote).await.expect("a voter");
    }

    /// Starts a member, for the first time or again.
    pub(super) async fn start(&mut self, member: u64, start: Start) -> Result<(), StartError> {
        let seat = self.seats.entry(member).or_insert_with(|| Seat {
            directory: tempfile::tempdir().expect("a directory"),
            clock: Arc::default(),
            server: None,
        });
        let node = NodeId::new(member);
        let mut config = MetadataConfig {
            address: self.moved.get(&member).cloned().unwrap_or_else(|| address(member)),
            start,
            timing: RaftTiming {
                heartbeat_ms: 100,
                election_ms: (300, 600),
            },
            probe_every: Duration::from_millis(100),
            ..MetadataConfig::new(seat.directory.path(), node)
        };
        (self.configure)(&mut config);
        let surroundings = Surroundings {
            clock: Arc::clone(&seat.clock) as Arc<dyn Clock>,
            ..Surroundings::new(self.network.transport(node))
        };
        let machine: Arc<dyn Machine> = if self.crooked == Some(member) {
            Arc::new(Crooked)
        } else {
            Arc::new(CoreMachine)
        };
        let server = MetadataServer::start_with(config, surroundings, machine).await?;
        let of = |services: Services, kinds| services.with(kinds, Arc::new(server.clone()), 1000);
        let services = [CLIENT_KINDS, LEASE_KINDS, GROUP_KINDS]
            .into_iter()
            .fold(Services::new(), of);
        self.network.add_node(node, Roles::of(&[Role::Metadata]), services);
        seat.server = Some(server);
        Ok(())
    }

    /// Where a member says that it is called, the next time it is started.
    pub(super) fn move_to(&mut self, member: u64, address: &str) {
        self.moved.insert(member, address.to_owned());
    }

    /// Ends a member at once, as far as the others can tell.
    pub(super) async fn kill(&mut self, member: u64) {
        self.network.remove_node(NodeId::new(member));
        let server = self.seats.get_mut(&member).and_then(|seat| seat.server.take());
        server.expect("a running member").stop().await.expect("a closed store");
    }

    /// Ends a member in order.
    pub(super) async fn shut_down(&mut self, member: u64) {
        self.server(member).shutdown().await.expect("a shutdown");
        self.network.remove_node(NodeId::new(member));
        self.seats.get_mut(&member).expect("a seat").server = None;
    }

    pub(super) fn server(&self, member: u64) -> &MetadataServer {
        self.seats[&member].server.as_ref().expect("a running member")
    }

    pub(super) fn clock(&self, member: u64) -> &WrongClock {
        &self.seats[&member].clock
    }

    pub(super) fn running(&self) -> Vec<u64> {
        let running = self.seats.iter().filter(|(_, seat)| seat.server.is_some());
        running.map(|(member, _)| *member).collect()
    }

    /// Cuts a member off from all other members, or lets it back.
    pub(super) fn cut_off(&self, member: u64, is_cut: bool) {
        for other in self.running().into_iter().filter(|other| *other != member) {
            let (one, other) = (NodeId::new(member), NodeId::new(other));
            if is_cut {
                self.network.partition(one, other);
            } else {
                self.network.heal(one, other);
            }
        }
    }

    /// Waits until one of `members` is followed by all of them.
    pub(super) async fn leader_among(&self, members: &[u64]) -> u64 {
        let looking = async {
            loop {
                let seen: Vec<u64> = members
                    .iter()
                    .map(|member| self.server(*member).status().leader)
                    .collect();
                if members.contains(&seen[0]) && seen.iter().all(|leader| *leader == seen[0]) {
                    return seen[0];
                }
                self.status(members[0]).await;
            }
        };
        timeout(DEADLINE, looking).await.expect("a leader")
    }

    pub(super) async fn leader(&self) -> u64 {
        self.leader_among(&self.running()).await
    }

    /// How a member is; each look takes the network's time, so that whoever looks again does not spin.
    pub(super) async fn status(&self, member: u64) -> GroupStatus {
        let request = cairn_common::wire::group::GroupStatusRequest::default();
        let asked = self.call(member, RequestKind::GroupStatus, &request, DEADLINE).await;
        asked.unwrap_or_default()
    }

    /// Waits until `holds` of a member's status.
    pub(super) async fn until(&self, what: &str, member: u64, holds: impl Fn(&GroupStatus) -> bool) {
        let looking = async { while !holds(&self.status(member).await) {} };
        timeout(DEADLINE, looking)
            .await
            .unwrap_or_else(|_| panic!("in vain waited for: {what}"));
    }

    /// Makes a change of members at whoever leads, until it is done or refused.
    pub(super) async fn change(&self, change: MemberChange) -> Result<GroupChangeReply, Failure> {
        let message = GroupChange {
            group: 0,
            change: Some(change),
        };
        self.at_leader(RequestKind::GroupChange, &message).await
    }

    /// Sends the session's next command until it is answered.
    pub(super) async fn run(&self, command: Command) -> WriteReply {
        self.send(self.session, self.next_sequence(), command).await
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) async fn create(&self, name: &str) -> WriteReply {
        self.run(create_bucket(name)).await
    }

    pub(super) async fn send(&self, session: u64, sequence: u64, command: Command) -> WriteReply {
        let message = write_request(session, sequence, command);
        let sent = self.at_leader(RequestKind::MetadataWrite, &message).await;
        sent.expect("a reply")
    }

    /// Sends a command that tells of what its session did alone.
    pub(super) async fn settle(&self, session: u64, sequence: u64, command: Command) -> WriteReply {
        let message = WriteRequest {
            settles: true,
            ..write_request(session, sequence, command)
        };
        let sent = self.at_leader(RequestKind::MetadataWrite, &message).await;
        sent.expect("a reply")
    }

    /// Sends a command of the session to one member.
    pub(super) async fn send_to(
        &self,
        member: u64,
        sequence: u64,
        command: Command,
        within: Duration,
    ) -> Result<WriteReply, CallError> {
        let message = write_request(self.session, sequence, command);
        self.call(member, RequestKind::MetadataWrite, &message, within).await
    }

    /// Sends a command of the session until it is answered.
    pub(super) async fn send_again(&self, sequence: u64, command: Command) -> WriteReply {
        self.send(self.session, sequence, command).await
    }

    /// Whether a member says, linearizably, that there is a bucket of that name.
    pub(super) async fn has_bucket(&self, member: u64, name: &str, within: Duration) -> Result<bool, CallError> {
        let query = Query::Bucket(BucketQuery { name: name.to_owned() });
        let reply = self.ask(member, query, within).await?;
        match reply.answer {
            Some(Answer::Bucket(_)) => Ok(true),
            Some(Answer::Refused(_)) => Ok(false),
            other => panic!("an answer to another question: {other:?}"),
        }
    }

    /// When a bucket was made, by its record.
    pub(super) async fn created_ms(&self, name: &str) -> u64 {
        let query = Query::Bucket(BucketQuery { name: name.to_owned() });
        let request = ReadRequest {
            query: Some(query),
            ..ReadRequest::default()
        };
        let reply: Result<ReadReply, _> = self.at_leader(RequestKind::MetadataRead, &request).await;
        let answer = reply.expect("an answer").answer;
        let Some(Answer::Bucket(bucket)) = answer else {
            panic!("no bucket: {answer:?}")
        };
        bucket.created_ms
    }

    pub(super) async fn ask(&self, member: u64, query: Query, within: Duration) -> Result<ReadReply, CallError> {
        let request = ReadRequest {
            query: Some(query),
            ..ReadRequest::default()
        };
        self.call(member, RequestKind::MetadataRead, &request, within).await
    }

    /// Asks whoever leads, looking for it, until an answer comes that finding another would not change.
    pub(super) async fn at_leader<R: prost::Message + Default>(
        &self,
        kind: RequestKind,
        message: &impl prost::Message,
    ) -> Result<R, Failure> {
        let members = self.running();
        let asking = async {
            let mut turn = 0;
            loop {
                turn += 1;
                let mut member = members[turn % members.len()];
                for _ in 0..2 {
                    match self.call(member, kind, message, Duration::from_secs(5)).await {
                        Ok(reply) => return Ok(reply),
                        Err(CallError::Failed(told)) => match told.code() {
                            FailureCode::NotLeader if members.contains(&told.leader) => member = told.leader,
                            FailureCode::NotLeader | FailureCode::Busy | FailureCode::Internal => break,
                            _ => return Err(told),
                        },
                        Err(_) => break,
                    }
                }
            }
        };
        timeout(2 * DEADLINE, asking).await.expect("an answer in time")
    }

    pub(super) async fn call<R: prost::Message + Default>(
        &self,
        member: u64,
        kind: RequestKind,
        message: &impl prost::Message,
        within: Duration,
    ) -> Result<R, CallError> {
        let transport = self.network.transport(CLIENT);
        let called = call(&*transport, NodeId::new(member), kind, message, Body::empty(), within).await;
        if called.is_err() {
            // A refusal may take no time at all; whoever looks again must let others run meanwhile.
            let _ = timeout(LOOK_AGAIN, std::future::pending::<()>()).await;
        }
        called.map(|(reply, _)| reply)
    }
}

pub(super) fn add_learner(member: u64) -> MemberChange {
    MemberChange::AddLearner(AddLearner {
        node: member,
        address: address(member),
    })
}

pub(super) fn create_bucket(name: &str) -> Command {
    Command::CreateBucket(CreateBucket {
        owner_key: String::new(),
        name: name.to_owned(),
        data_shards: 1,
        parity_shards: 1,
        chunk_size_bytes: 1 << 20,
    })
}

fn write_request(session: u64, sequence: u64, command: Command) -> WriteRequest {
    WriteRequest {
        resent: false,
        settles: false,
        session,
        sequence,
        answered_below: 0,
        group: 0,
        command: Some(command),
    }
}

/// The real machine, but for a record of its own beside a bucket named so.
struct Crooked;

impl Machine for Crooked {
    fn buckets_to_expire(
        &self,
        view: &dyn View,
        now_ms: u64,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<u64>, Option<u64>), ViewError> {
        CoreMachine.buckets_to_expire(view, now_ms, after, limit)
    }

    fn apply(&self, view: &dyn View, log_index: u64, batch: &EntryBatch) -> Result<Applied, ViewError> {
        let mut applied = CoreMachine.apply(view, log_index, batch)?;
        let is_crooked = |request: &WriteRequest| matches!(&request.command, Some(Command::CreateBucket(bucket)) if bucket.name == "crooked");
        if batch.requests.iter().any(is_crooked) {
            applied.writes.push(Write {
                family: Family::System,
                key: b"crooked".to_vec(),
                value: Some(vec![1]),
            });
        }
        Ok(applied)
    }

    fn answer(&self, view: &dyn View, log_index: u64, query: &Query) -> Result<ReadReply, ViewError> {
        CoreMachine.answer(view, log_index, query)
    }

    fn deletable_chunks(&self, view: &dyn View, limit: usize) -> Result<Vec<DeletableChunk>, ViewError> {
        CoreMachine.deletable_chunks(view, limit)
    }

    fn judge(&self, view: &dyn View, device: DeviceId, shards: &[ShardId]) -> Result<Vec<Verdict>, ViewError> {
        CoreMachine.judge(view, device, shards)
    }

    fn expected(
        &self,
        view: &dyn View,
        device: DeviceId,
        after: Option<ChunkId>,
        through: Option<ChunkId>,
        limit: usize,
    ) -> Result<Expected, ViewError> {
        CoreMachine.expected(view, device, after, through, limit)
    }

    fn live_sessions(&self, view: &dyn View) -> Result<Vec<cairn_common::ids::SessionId>, ViewError> {
        CoreMachine.live_sessions(view)
    }

    fn mount_sessions(&self, view: &dyn View) -> Result<Vec<cairn_common::ids::SessionId>, ViewError> {
        CoreMachine.mount_sessions(view)
    }

    fn release_pending(&self, view: &dyn View) -> Result<bool, ViewError> {
        CoreMachine.release_pending(view)
    }

    fn feature_level(&self, view: &dyn View) -> Result<u32, ViewError> {
        CoreMachine.feature_level(view)
    }
}
