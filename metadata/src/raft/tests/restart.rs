//! A member after a kill, and after a failure of its state machine.

use std::{path::Path, sync::Arc, time::Duration};

use cairn_common::wire::command::{Command, EntryBatch, Outcome, WriteReply, WriteRequest};
use cairn_common::{
    ids::{ChunkId, DeviceId, NodeId, SessionId},
    wire::{
        command::{CreateBucket, Done},
        query::{Query, ReadReply},
    },
};

use crate::{
    core::{
        Applied, DeletableChunk, Expected, ShardId, Verdict,
        view::{Family, View, ViewError, Write},
    },
    raft::{
        HeldReply, Machine, ProposeError, RaftNode, RaftSettings, RaftTiming, SnapshotPolicy, Start, StartError,
        tests::{Unobserved, alone},
    },
    store::{StoreError, tests::copy_tree},
};

/// Writes one record for each command, under its log index; fails where the state must not be touched.
struct Recorder;

impl Machine for Recorder {
    fn apply(&self, view: &dyn View, log_index: u64, batch: &EntryBatch) -> Result<Applied, ViewError> {
        let mut applied = Applied::default();
        for (number, request) in batch.requests.iter().enumerate() {
            if matches!(&request.command, Some(Command::CreateBucket(bucket)) if bucket.name == "broken") {
                return Err(ViewError::Corrupt {
                    family: "bucket",
                    detail: "made so".to_owned(),
                });
            }
            let count = view.get(Family::System, b"count")?.map_or(0, |bytes| bytes[0]);
            let key = format!("{log_index}/{number}").into_bytes();
            applied.writes = vec![
                Write {
                    family: Family::System,
                    key: b"count".to_vec(),
                    value: Some(vec![count.wrapping_add(1)]),
                },
                Write {
                    family: Family::Bucket,
                    key,
                    value: Some(vec![count]),
                },
            ];
            applied.replies.push(WriteReply {
                log_index,
                outcome: Some(Outcome::Done(Done {})),
                ..WriteReply::default()
            });
        }
        Ok(applied)
    }

    fn answer(&self, _: &dyn View, log_index: u64, _: &Query) -> Result<ReadReply, ViewError> {
        Ok(ReadReply {
            log_index,
            ..ReadReply::default()
        })
    }

    fn deletable_chunks(&self, _: &dyn View, _: usize) -> Result<Vec<DeletableChunk>, ViewError> {
        Ok(Vec::new())
    }

    fn judge(&self, _: &dyn View, _: DeviceId, shards: &[ShardId]) -> Result<Vec<Verdict>, ViewError> {
        Ok(vec![Verdict::Kept; shards.len()])
    }

    fn expected(
        &self,
        _: &dyn View,
        _: DeviceId,
        _: Option<ChunkId>,
        _: Option<ChunkId>,
        _: usize,
    ) -> Result<Expected, ViewError> {
        Ok(Expected::default())
    }

    fn live_sessions(&self, _: &dyn View) -> Result<Vec<SessionId>, ViewError> {
        Ok(Vec::new())
    }

    fn mount_sessions(&self, _: &dyn View) -> Result<Vec<SessionId>, ViewError> {
        Ok(Vec::new())
    }

    fn release_pending(&self, _: &dyn View) -> Result<bool, ViewError> {
        Ok(false)
    }

    fn feature_level(&self, _: &dyn View) -> Result<u32, ViewError> {
        Ok(1)
    }

    fn buckets_to_expire(&self, _: &dyn View, _: u64, _: u64, _: usize) -> Result<(Vec<u64>, Option<u64>), ViewError> {
        Ok((Vec::new(), None))
    }
}

const MEMORY_BYTES: usize = 64 << 20;
const DEADLINE: Duration = Duration::from_secs(20);

async fn start(directory: &Path, commands_max: u64) -> Result<RaftNode, StartError> {
    let settings = RaftSettings {
        directory: directory.to_owned(),
        address: String::new(),
        start: Start::Alone,
        policy: SnapshotPolicy {
            bytes_max: u64::MAX,
            commands_max,
        },
        timing: RaftTiming::default(),
        memory_bytes: MEMORY_BYTES,
    };
    let links = alone(NodeId::new(1));
    let starting = RaftNode::start(
        settings,
        Arc::new(Recorder),
        Arc::new(Unobserved),
        links,
        Box::new(|_| {}),
    );
    tokio::time::timeout(DEADLINE, starting).await.expect("a start in time")
}

async fn propose(node: &RaftNode, name: &str) -> Result<Vec<HeldReply>, ProposeError> {
    let bucket = CreateBucket {
        name: name.to_owned(),
        data_shards: 1,
        parity_shards: 0,
        chunk_size_bytes: 0,
        owner_key: String::new(),
    };
    let command = Some(Command::CreateBucket(bucket));
    let request = WriteRequest {
        session: 0,
        sequence: 0,
        answered_below: 0,
        group: 0,
        resent: false,
        settles: false,
        command,
    };
    let batch = EntryBatch {
        time_ms: 1,
        requests: vec![request],
    };
    let replies = async { node.propose(&batch).await?.replies().await };
    tokio::time::timeout(DEADLINE, replies)
        .await
        .expect("an answer in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_the_replayed_state_has_the_same_chained_hash() {
    let (directory, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = start(directory.path(), u64::MAX).await.unwrap();
    for number in 0..20 {
        propose(&node, &format!("before {number}")).await.unwrap();
    }
    node.state().flush().unwrap();
    for number in 0..20 {
        propose(&node, &format!("after {number}")).await.unwrap();
    }
    let acknowledged = node.state().applied();
    copy_tree(directory.path(), copy.path());
    let after = start(copy.path(), u64::MAX).await.unwrap();
    let replayed = after.state().applied();
    // The new term began with an empty entry, which chains no writes; so the first node is given one too.
    assert_eq!(replayed.index(), acknowledged.index() + 1);
    node.state()
        .commit(replayed.position.unwrap(), 0, Vec::new(), None)
        .unwrap();
    assert_eq!(replayed.chain, node.state().applied().chain);
    assert_eq!(replayed.time_ms, acknowledged.time_ms);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_member_starts_again_and_knows_all() {
    let directory = tempfile::tempdir().unwrap();
    let mut applied = 0;
    for _ in 0..3 {
        let node = start(directory.path(), u64::MAX).await.unwrap();
        assert!(node.state().applied().index() > applied);
        let refused = start(directory.path(), u64::MAX).await.err();
        assert!(
            matches!(refused, Some(StartError::Store(StoreError::InUse(_)))),
            "{refused:?}"
        );
        propose(&node, "one").await.unwrap();
        applied = node.state().applied().index();
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_purged_to_a_snapshot_and_a_restart_goes_on_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path(), 200).await.unwrap();
    let keeper = tokio::spawn({
        let node = node.clone();
        async move { node.keep_log_short().await }
    });
    for number in 0..450 {
        propose(&node, &format!("{number}")).await.unwrap();
    }
    let purged = async {
        while node.purged_index().is_none_or(|index| index < 200) {
            propose(&node, "more").await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, purged).await.expect("the log is purged");
    keeper.abort();
    let applied = node.state().applied();
    node.shutdown().await.unwrap();
    let after = start(directory.path(), 200).await.unwrap();
    assert_eq!(after.state().applied().index(), applied.index() + 1);
    propose(&after, "last").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_machine_that_cannot_go_on_stops_the_member() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path(), u64::MAX).await.unwrap();
    propose(&node, "fine").await.unwrap();
    let failed = propose(&node, "broken").await;
    assert!(matches!(failed, Err(ProposeError::Stopped(_))), "{failed:?}");
    let reason = tokio::time::timeout(DEADLINE, node.stopped())
        .await
        .expect("the member stops");
    assert!(reason.contains("damaged"), "{reason}");
    assert!(matches!(propose(&node, "late").await, Err(ProposeError::Stopped(_))));
}

/// openraft leaves unanswered what reaches it while its core ends; such a proposal once waited for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_and_barriers_that_meet_the_end_are_answered() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let node = start(directory.path(), u64::MAX).await.unwrap();
        let proposing = (0..32).map(|_| {
            let node = node.clone();
            tokio::spawn(async move { while propose(&node, "fine").await.is_ok() {} })
        });
        let asking = (0..32).map(|_| {
            let node = node.clone();
            tokio::spawn(async move {
                let asking = async { while node.barrier().await.is_ok() {} };
                tokio::time::timeout(DEADLINE, asking)
                    .await
                    .expect("a barrier that ends");
            })
        });
        let tasks: Vec<_> = proposing.chain(asking).collect();
        let failed = propose(&node, "broken").await;
        assert!(matches!(failed, Err(ProposeError::Stopped(_))), "{failed:?}");
        for task in tasks {
            task.await.expect("an answer in time");
        }
    }
}
