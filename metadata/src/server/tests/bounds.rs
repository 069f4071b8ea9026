//! What happens at the bounds: full queues, oversized commands, and a state machine that cannot go on.

use std::sync::Arc;

use cairn_common::{
    ids::{ChunkId, DeviceId, SessionId},
    limits::{ENTRY_BYTES_MAX, PROPOSAL_QUEUE_MAX},
    wire::{
        command::{Command, CreateBucket, DeleteBucket, EntryBatch, Heartbeat, WriteRequest},
        failure::FailureCode,
        kind::RequestKind,
        query::{Query, ReadReply},
    },
};
use cairn_transport::{Body, InProcess, Peer, Request, Service};
use futures::FutureExt;
use prost::Message;
use tokio::time::Instant;

use super::support::{DEADLINE, METADATA, config};
use crate::{
    MetadataServer, Metrics, Surroundings, SystemClock,
    core::{
        Applied, DeletableChunk, Expected, ShardId, Verdict,
        view::{View, ViewError},
    },
    raft::{
        CoreMachine, Machine, RaftNode, RaftSettings, RaftTiming, SnapshotPolicy, Start,
        tests::{Unobserved, alone},
    },
    server::proposer::{Proposer, SubmitError},
};

fn request(command: Command) -> WriteRequest {
    WriteRequest {
        session: 0,
        sequence: 0,
        answered_below: 0,
        group: 0,
        resent: false,
        settles: false,
        command: Some(command),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_answers_busy_and_an_oversized_command_never_enters_it() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RaftSettings {
        directory: directory.path().to_owned(),
        address: String::new(),
        start: Start::Alone,
        policy: SnapshotPolicy {
            bytes_max: u64::MAX,
            commands_max: u64::MAX,
        },
        timing: RaftTiming::default(),
        memory_bytes: 64 << 20,
    };
    let node = RaftNode::start(
        settings,
        Arc::new(CoreMachine),
        Arc::new(Unobserved),
        alone(METADATA),
        Box::new(|_| {}),
    )
    .await;
    let (proposer, task) = Proposer::new(node.expect("a start"), Arc::new(SystemClock), Metrics::default());
    let huge = DeleteBucket {
        name: "x".repeat(ENTRY_BYTES_MAX),
    };
    let refused = proposer.submit(request(Command::DeleteBucket(huge))).await;
    assert!(matches!(refused, Err(SubmitError::TooLarge(_))), "{refused:?}");
    let beat = || request(Command::Heartbeat(Heartbeat::default()));
    let mut waiting: Vec<_> = (0..PROPOSAL_QUEUE_MAX)
        .map(|_| Box::pin(proposer.submit(beat())))
        .collect();
    assert!(
        waiting
            .iter_mut()
            .all(|submission| submission.as_mut().now_or_never().is_none())
    );
    assert_eq!(proposer.submit(beat()).await, Err(SubmitError::Busy));
    // Once the proposer runs, all that waited are carried out.
    let running = tokio::spawn(task.run());
    for submission in waiting {
        let reply = tokio::time::timeout(DEADLINE, submission)
            .await
            .expect("an answer in time");
        assert!(reply.is_ok(), "{reply:?}");
    }
    running.abort();
}

/// The real machine, but for a bucket that cannot be made.
struct Breaking;

impl Machine for Breaking {
    fn apply(&self, view: &dyn View, log_index: u64, batch: &EntryBatch) -> Result<Applied, ViewError> {
        let breaks = |request: &WriteRequest| matches!(&request.command, Some(Command::CreateBucket(bucket)) if bucket.name == "breaking");
        if batch.requests.iter().any(breaks) {
            return Err(ViewError::Corrupt {
                family: "bucket",
                detail: "made so".to_owned(),
            });
        }
        CoreMachine.apply(view, log_index, batch)
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

    fn live_sessions(&self, view: &dyn View) -> Result<Vec<SessionId>, ViewError> {
        CoreMachine.live_sessions(view)
    }

    fn mount_sessions(&self, view: &dyn View) -> Result<Vec<SessionId>, ViewError> {
        CoreMachine.mount_sessions(view)
    }

    fn release_pending(&self, view: &dyn View) -> Result<bool, ViewError> {
        CoreMachine.release_pending(view)
    }

    fn feature_level(&self, view: &dyn View) -> Result<u32, ViewError> {
        CoreMachine.feature_level(view)
    }

    fn buckets_to_expire(
        &self,
        view: &dyn View,
        now_ms: u64,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<u64>, Option<u64>), ViewError> {
        CoreMachine.buckets_to_expire(view, now_ms, after, limit)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_state_stops_the_answers_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let transport = Arc::new(InProcess::new());
    let server = MetadataServer::start_with(
        config(directory.path()),
        Surroundings::new(transport),
        Arc::new(Breaking),
    )
    .await
    .unwrap();
    let bucket = |name: &str| CreateBucket {
        name: name.to_owned(),
        ..CreateBucket::default()
    };
    let send = |name: &str| {
        let header = request(Command::CreateBucket(bucket(name))).encode_to_vec().into();
        let deadline = Instant::now() + DEADLINE;
        server.handle(
            Peer::same_process(cairn_common::ids::NodeId::new(1)),
            Request {
                kind: RequestKind::MetadataWrite,
                header,
                body: Body::empty(),
                deadline,
                trace: None,
            },
        )
    };
    assert!(send("fine").await.is_ok());
    for name in ["breaking", "fine again"] {
        let code = send(name).await.err().map(|failure| failure.code());
        assert_eq!(code, Some(FailureCode::Internal), "{name}");
    }
    let stopped = async {
        while server.failed().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, stopped)
        .await
        .expect("the server knows that it failed");
    assert!(
        server.failed().is_some_and(|reason| reason.contains("damaged")),
        "{:?}",
        server.failed()
    );
    assert_eq!(server.leads_in(), None, "who has failed does not lead");
}
