//! The router against members that answer by a script, in virtual time.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::wire::{
    command::WriteReply,
    failure::Failure,
    group::{BucketGroup, GroupMembers, MemberStatus},
};
use cairn_transport::{Request, Response, failure, reply};
use parking_lot::Mutex;

use super::*;

/// What a member does with the next request.
#[derive(Clone, Debug)]
enum Act {
    Answer,
    Fail(Failure),
    Unreachable,
    Lose,
    Silence,
    Table(GroupTable),
}

/// Members by node, each with its script; at its end the last act is repeated.
struct Script {
    members: Mutex<HashMap<NodeId, VecDeque<Act>>>,
    asked: Mutex<Vec<u64>>,
    calls: AtomicUsize,
}

impl Script {
    fn new(members: &[(u64, &[Act])]) -> Arc<Self> {
        let script = |(node, acts): &(u64, &[Act])| (NodeId::new(*node), acts.iter().cloned().collect());
        Arc::new(Self {
            members: Mutex::new(members.iter().map(script).collect()),
            asked: Mutex::default(),
            calls: AtomicUsize::new(0),
        })
    }

    fn asked(&self) -> Vec<u64> {
        self.asked.lock().clone()
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, node: NodeId, request: Request) -> Result<Response, CallError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.asked.lock().push(node.value());
        let act = {
            let mut members = self.members.lock();
            let acts = members.get_mut(&node).expect("a member of the script");
            if acts.len() > 1 {
                acts.pop_front()
            } else {
                acts.front().cloned()
            }
        };
        match act.expect("an act") {
            Act::Answer => Ok(reply(&WriteReply::default(), Body::empty())),
            Act::Fail(failure) => Err(CallError::Failed(failure)),
            Act::Unreachable => Err(CallError::Unreachable {
                node,
                reason: "down".to_owned(),
            }),
            Act::Lose => Err(CallError::ConnectionLost {
                node,
                reason: "killed".to_owned(),
            }),
            Act::Silence => {
                let silence = tokio::time::timeout_at(request.deadline, std::future::pending::<()>());
                silence.await.expect_err("silence lasts until the deadline");
                Err(CallError::DeadlineExceeded)
            }
            Act::Table(table) => {
                let answer = ReadReply {
                    log_index: 0,
                    answer: Some(Answer::Groups(table)),
                    ..ReadReply::default()
                };
                Ok(Response {
                    header: Bytes::from(answer.encode_to_vec()),
                    body: Body::empty(),
                })
            }
        }
    }
}

fn not_leader(leader: u64) -> Act {
    Act::Fail(Failure {
        leader,
        ..failure(FailureCode::NotLeader, "another leads")
    })
}

fn busy(retry_after_ms: u32) -> Act {
    Act::Fail(Failure {
        retry_after_ms,
        ..failure(FailureCode::Busy, "too much to do")
    })
}

fn router(script: &Arc<Script>, members: &[u64]) -> Router {
    let members = members.iter().copied().map(NodeId::new).collect();
    Router::new(Arc::clone(script) as _, None, members)
}

async fn write(router: &Router) -> Result<WriteReply, SendFailed> {
    let mut request = WriteRequest::default();
    router.send_about(None, RequestKind::MetadataWrite, &mut request).await
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_followed_at_once_and_remembered() {
    let script = Script::new(&[(1, &[not_leader(3)]), (2, &[not_leader(3)]), (3, &[Act::Answer])]);
    let router = router(&script, &[1, 2, 3]);
    let begun = Instant::now();
    assert!(write(&router).await.is_ok() && write(&router).await.is_ok());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(script.asked(), [1, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn members_that_cannot_be_reached_are_passed_over() {
    let script = Script::new(&[(1, &[Act::Unreachable]), (2, &[not_leader(1), Act::Answer])]);
    let router = router(&script, &[1, 2]);
    let answered = write(&router).await;
    assert!(
        answered.is_ok(),
        "the dead one's name as leader holds nobody up for ever"
    );
    assert_eq!(script.asked(), [1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_leader_is_left_within_its_patience() {
    let script = Script::new(&[(1, &[Act::Silence]), (2, &[Act::Answer])]);
    let router = router(&script, &[1, 2]);
    let begun = Instant::now();
    assert!(write(&router).await.is_ok());
    assert!(begun.elapsed() < PATIENCE.0 + BACK_OFF.1, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_that_others_still_name_is_passed_over() {
    let names_it = [not_leader(1), not_leader(1), not_leader(1)];
    let elected = [&names_it[..], &[Act::Answer]].concat();
    let script = Script::new(&[(1, &[Act::Silence]), (2, &names_it), (3, &elected)]);
    let router = router(&script, &[1, 2, 3]);
    let begun = Instant::now();
    assert!(write(&router).await.is_ok());
    let asked = script.asked();
    assert_eq!(asked.iter().filter(|node| **node == 1).count(), 1, "{asked:?}");
    assert!(begun.elapsed() < PATIENCE.0 * 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_joined_meanwhile_is_found() {
    let names_it = Act::Fail(Failure {
        leader: 7,
        leader_address: "127.0.0.1:9002".to_owned(),
        ..failure(FailureCode::NotLeader, "another leads")
    });
    let script = Script::new(&[(1, &[names_it]), (7, &[Act::Answer])]);
    let router = router(&script, &[1]);
    assert!(write(&router).await.is_ok() && write(&router).await.is_ok());
    assert_eq!(script.asked(), [1, 7, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_left_alone_as_long_as_it_asks() {
    let script = Script::new(&[(1, &[busy(700), Act::Answer])]);
    let router = router(&script, &[1]);
    let begun = Instant::now();
    assert!(write(&router).await.is_ok());
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_told() {
    let limit = Duration::from_millis(limits::METADATA_DEADLINE_MS);
    for (act, uncertain) in [
        (Act::Unreachable, false),
        (Act::Lose, true),
        (Act::Silence, true),
        (busy(0), true),
    ] {
        let script = Script::new(&[(1, std::slice::from_ref(&act)), (2, std::slice::from_ref(&act))]);
        let begun = Instant::now();
        let failed = write(&router(&script, &[1, 2])).await.expect_err("nobody answers");
        assert_eq!(failed.may_have_happened, uncertain, "{act:?}");
        assert!(begun.elapsed() <= limit, "{act:?} took {:?}", begun.elapsed());
        assert!(script.calls.load(Ordering::Relaxed) < 500, "{act:?}: pauses grow");
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_other_try_can_mend_is_told_at_once() {
    let refused = Act::Fail(failure(FailureCode::Forbidden, "not a client"));
    let script = Script::new(&[(1, &[refused]), (2, &[Act::Answer])]);
    let failed = write(&router(&script, &[1, 2])).await.expect_err("refused");
    assert!(!failed.may_have_happened);
    assert_eq!(script.asked(), [1]);
}

fn table(bucket_group: u32) -> GroupTable {
    let member = |node| MemberStatus {
        node,
        ..MemberStatus::default()
    };
    let group = |group, node| GroupMembers {
        group,
        leader: node,
        members: vec![member(node)],
    };
    GroupTable {
        default_group: 0,
        buckets: vec![BucketGroup {
            bucket_id: 7,
            group: bucket_group,
        }],
        groups: vec![group(0, 1), group(5, 2)],
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_found_where_the_table_says() {
    let wrong = Act::Fail(failure(FailureCode::WrongGroup, "not here"));
    let script = Script::new(&[(1, &[wrong, Act::Table(table(5))]), (2, &[Act::Answer])]);
    let router = router(&script, &[1]);
    let mut request = WriteRequest::default();
    let bucket = Some(BucketId::new(7));
    let sent = router
        .send_about::<WriteReply>(bucket, RequestKind::MetadataWrite, &mut request)
        .await;
    assert!(sent.is_ok());
    assert_eq!((request.group, script.asked()), (5, vec![1, 1, 2]));
    assert_eq!(router.group_of(bucket), GroupId::new(5));
    assert_eq!(router.group_of(None), GroupId::default());
}

#[test]
fn learning_keeps_who_is_asked_first() {
    let script = Script::new(&[]);
    let router = router(&script, &[3, 1]);
    assert!(!router.turn(GroupId::default(), NodeId::new(3), None, Next::Other));
    router.learn(&table(0));
    assert_eq!(router.asked_but(GroupId::default(), None), Some(NodeId::new(1)));
}
