//! Groups of several members: elections, reads at followers, lost and cut-off leaders, changes of members.

use std::time::Duration;

use cairn_common::wire::{
    command::{Command, Outcome},
    failure::FailureCode,
    group::{
        AddLearner, GroupTableQuery, MemberChange, MemberRole, PromoteLearner, RemoveMember, ReplaceMember,
        TransferLeadership,
    },
    kind::RequestKind,
    query::{Answer, Query, ReadReply, ReadRequest, SummaryQuery},
};
use cairn_transport::CallError;
use tokio::time::Instant;

use super::{
    cluster::{Cluster, add_learner, address, create_bucket},
    support::{DEADLINE, is_done},
};
use crate::{RaftTiming, Start};

/// A member that has been cut off is given so long to answer, in vain.
const IN_VAIN: Duration = Duration::from_secs(3);

fn refused_with(outcome: Result<impl std::fmt::Debug, cairn_common::wire::failure::Failure>, reason: &str) {
    let refused = outcome.expect_err("a refusal");
    assert_eq!(refused.code(), FailureCode::Malformed, "{refused:?}");
    assert!(refused.detail.contains(reason), "{}", refused.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_answers_reads_and_the_group_goes_on_without_its_leader() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    assert!(is_done(&cluster.create("first").await));
    for member in [1, 2, 3] {
        assert_eq!(
            cluster.has_bucket(member, "first", DEADLINE).await,
            Ok(true),
            "at {member}"
        );
    }
    let status = cluster.status(cluster.leader().await).await;
    assert_eq!(status.members.len(), 3);
    assert!(status.members.iter().all(|member| member.role() == MemberRole::Voter));
    let dead = cluster.leader().await;
    cluster.kill(dead).await;
    assert!(is_done(&cluster.create("second").await));
    let other = cluster.leader().await;
    assert_ne!(other, dead);
    cluster.start(dead, Start::Join).await.expect("a restart");
    assert!(cluster.server(dead).ready(DEADLINE).await);
    assert_eq!(cluster.has_bucket(dead, "second", DEADLINE).await, Ok(true));
    let chains: Vec<_> = [1, 2, 3].map(|member| cluster.server(member).status().own).into();
    let of = |member: usize| {
        chains[member]
            .as_ref()
            .map(|own| (own.applied_index, own.chain.clone()))
    };
    // Entries may still be on their way to one; where two are equally far, they are equal.
    for (one, another) in [(0, 1), (1, 2), (0, 2)] {
        let (one, another) = (of(one).expect("a report"), of(another).expect("a report"));
        assert!(one.0 != another.0 || one.1 == another.1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_replaced_within_three_seconds() {
    let mut cluster = Cluster::of_three(|config| config.timing = RaftTiming::default()).await;
    let dead = cluster.leader().await;
    cluster.kill(dead).await;
    let killed = Instant::now();
    assert!(is_done(&cluster.create("next").await));
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_started_again_goes_on() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    assert!(is_done(&cluster.create("before").await));
    for member in [1, 2, 3] {
        cluster.kill(member).await;
    }
    cluster.start(2, Start::Alone).await.expect("a restart");
    // Nobody can lead; the start is over all the same, and says so.
    assert!(!cluster.server(2).is_ready());
    cluster.start(3, Start::Alone).await.expect("a restart");
    assert!(cluster.server(2).ready(DEADLINE).await);
    assert_eq!(cluster.has_bucket(3, "before", DEADLINE).await, Ok(true));
    assert!(is_done(&cluster.create("after").await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_answers_no_read_and_its_command_happens_once() {
    let cluster = Cluster::of_three(|_| {}).await;
    let old = cluster.leader().await;
    let others: Vec<u64> = cluster.running().into_iter().filter(|member| *member != old).collect();
    cluster.cut_off(old, true);
    let sequence = cluster.next_sequence();
    let (lost, read) = tokio::join!(
        cluster.send_to(old, sequence, create_bucket("lost"), IN_VAIN),
        cluster.has_bucket(old, "new", IN_VAIN),
    );
    assert!(lost.is_err(), "{lost:?}");
    assert!(read.is_err(), "{read:?}");
    let new = cluster.leader_among(&others).await;
    assert_ne!(new, old);
    let made = cluster
        .send_to(new, cluster.next_sequence(), create_bucket("new"), DEADLINE)
        .await;
    assert!(is_done(&made.expect("a reply")));
    // It takes itself for the leader still, and must find out by asking.
    assert!(cluster.has_bucket(old, "new", IN_VAIN).await.is_err());
    cluster.cut_off(old, false);
    let first = cluster.send_again(sequence, create_bucket("lost")).await;
    assert!(is_done(&first), "{first:?}");
    let again = cluster.send_again(sequence, create_bucket("lost")).await;
    assert_eq!(again, first);
    assert!(cluster.server(old).ready(DEADLINE).await);
    for member in cluster.running() {
        assert_eq!(
            cluster.has_bucket(member, "new", DEADLINE).await,
            Ok(true),
            "at {member}"
        );
        assert_eq!(
            cluster.has_bucket(member, "lost", DEADLINE).await,
            Ok(true),
            "at {member}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_added_promoted_removed_and_replaced() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    refused_with(cluster.change(add_learner(4)).await, "does not answer");
    refused_with(
        cluster.change(MemberChange::Promote(PromoteLearner { node: 4 })).await,
        "add it first",
    );
    cluster.start(4, Start::Join).await.expect("a start");
    let leader = cluster.leader_among(&[1, 2, 3]).await;
    let dead = [1, 2, 3]
        .into_iter()
        .find(|member| *member != leader)
        .expect("two followers");
    cluster.kill(dead).await;
    let replace = || {
        MemberChange::Replace(ReplaceMember {
            dead,
            node: 4,
            address: address(4),
        })
    };
    cluster.change(replace()).await.expect("a replacement");
    // Asked again, it is done already.
    let status = cluster
        .change(replace())
        .await
        .expect("a replacement")
        .status
        .expect("a status");
    let voters: Vec<u64> = status.members.iter().map(|member| member.node).collect();
    assert!(
        voters.contains(&4) && !voters.contains(&dead) && voters.len() == 3,
        "{voters:?}"
    );
    assert!(is_done(&cluster.create("replaced").await));
    assert_eq!(cluster.has_bucket(4, "replaced", DEADLINE).await, Ok(true));
    // One that was a member once comes back only as a new server.
    cluster.start(dead, Start::Join).await.expect("a restart");
    refused_with(cluster.change(add_learner(dead)).await, "before");
    let leader = cluster.leader_among(&voters).await;
    cluster
        .change(MemberChange::Remove(RemoveMember { node: leader }))
        .await
        .expect("a removal");
    let left: Vec<u64> = voters.iter().copied().filter(|member| *member != leader).collect();
    let status = cluster.status(cluster.leader_among(&left).await).await;
    assert_eq!(status.members.len(), 2);
    assert!(
        status.notes.iter().any(|note| note.contains("2 voters")),
        "{:?}",
        status.notes
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_leave_no_majority_is_refused() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    let leader = cluster.leader().await;
    let mut others = [1, 2, 3].into_iter().filter(|member| *member != leader);
    let (alive, dead) = (others.next().expect("one"), others.next().expect("another"));
    cluster.kill(dead).await;
    refused_with(
        cluster.change(MemberChange::Remove(RemoveMember { node: alive })).await,
        "no majority",
    );
    cluster
        .change(MemberChange::Remove(RemoveMember { node: dead }))
        .await
        .expect("a removal");
    cluster
        .change(MemberChange::Remove(RemoveMember { node: alive }))
        .await
        .expect("a removal");
    refused_with(
        cluster
            .change(MemberChange::Remove(RemoveMember { node: leader }))
            .await,
        "last voter",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_on_demand_and_before_a_shutdown() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    let first = cluster.leader().await;
    let next = [1, 2, 3]
        .into_iter()
        .find(|member| *member != first)
        .expect("a follower");
    cluster
        .change(MemberChange::Transfer(TransferLeadership { to: next }))
        .await
        .expect("a transfer");
    assert_eq!(cluster.leader().await, next);
    cluster.shut_down(next).await;
    // Another leads the moment the shutdown is over: nobody waited for a lease to end.
    let leads = |member: &u64| {
        let status = cluster.server(*member).status();
        status.leader != next && status.leader != 0
    };
    assert!(cluster.running().iter().any(leads));
    assert!(is_done(&cluster.create("after").await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_names_the_leader_and_any_member_the_groups() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    let leader = cluster.leader().await;
    let follower = [1, 2, 3]
        .into_iter()
        .find(|member| *member != leader)
        .expect("a follower");
    let sent = cluster
        .send_to(follower, cluster.next_sequence(), create_bucket("bucket"), DEADLINE)
        .await;
    let Err(CallError::Failed(told)) = sent else {
        panic!("{sent:?}")
    };
    assert_eq!(told.code(), FailureCode::NotLeader);
    assert_eq!((told.leader, told.leader_address), (leader, address(leader)));
    let elsewhere = ReadRequest {
        query: Some(Query::Summary(SummaryQuery {})),
        group: 7,
        ..ReadRequest::default()
    };
    let asked = cluster
        .call::<ReadReply>(leader, RequestKind::MetadataRead, &elsewhere, DEADLINE)
        .await;
    let Err(CallError::Failed(told)) = asked else {
        panic!("{asked:?}")
    };
    assert_eq!(told.code(), FailureCode::WrongGroup);
    for member in [1, 2, 3].into_iter().filter(|member| *member != follower) {
        cluster.kill(member).await;
    }
    let table = cluster
        .ask(follower, Query::Groups(GroupTableQuery {}), DEADLINE)
        .await
        .expect("a table");
    let Some(Answer::Groups(table)) = table.answer else {
        panic!("no table")
    };
    let addresses: Vec<_> = table.groups[0]
        .members
        .iter()
        .map(|member| member.address.clone())
        .collect();
    assert_eq!(addresses, [1, 2, 3].map(address));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_may_move() {
    let mut cluster = Cluster::alone(|_| {}).await;
    // By itself, where it leads; by the operator, elsewhere.
    cluster.kill(1).await;
    cluster.move_to(1, "elsewhere:1");
    cluster.start(1, Start::Alone).await.expect("a restart");
    cluster
        .until("the new address", 1, |status| {
            status.members.iter().any(|member| member.address == "elsewhere:1")
        })
        .await;
    cluster.add(2).await;
    let moved = AddLearner {
        node: 2,
        address: "there:1".to_owned(),
    };
    let reply = cluster.change(MemberChange::AddLearner(moved)).await.expect("a move");
    let status = reply.status.expect("a status");
    let member = status
        .members
        .iter()
        .find(|member| member.node == 2)
        .expect("the member");
    assert_eq!((member.address.as_str(), member.role()), ("there:1", MemberRole::Voter));
    assert!(is_done(&cluster.create("after").await));
    assert_eq!(cluster.has_bucket(2, "after", DEADLINE).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_is_raised_only_when_every_member_is_known_to_understand_it() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    let raise = |level| Command::RaiseFeatureLevel(cairn_common::wire::command::RaiseFeatureLevel { level });
    let refused = |reply: &cairn_common::wire::command::WriteReply| matches!(&reply.outcome, Some(Outcome::Refused(refusal)) if refusal.code() == cairn_common::wire::command::ErrorCode::NotSupportedYet);
    let level = cairn_common::limits::FEATURE_LEVEL;
    assert!(refused(&cluster.send(0, 0, raise(level + 1)).await));
    let leader = cluster.leader().await;
    let away = [1, 2, 3]
        .into_iter()
        .find(|member| *member != leader)
        .expect("a follower");
    cluster.kill(away).await;
    assert!(refused(&cluster.send(0, 0, raise(level)).await));
    cluster.start(away, Start::Join).await.expect("a restart");
    assert!(cluster.server(away).ready(DEADLINE).await);
    assert!(is_done(&cluster.send(0, 0, raise(level)).await));
    cluster
        .until("the level", away, |status| status.feature_level == level)
        .await;
}
