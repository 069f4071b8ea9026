//! What members find out about each other: states that differ, clocks that are wrong, logs that are cut.

use cairn_common::wire::group::{MemberChange, PromoteLearner};

use super::{
    cluster::{Cluster, add_learner},
    support::{DEADLINE, is_done},
};
use crate::{Start, StartError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_state_differs_stops_for_good() {
    let mut cluster = Cluster::alone(|_| {}).await;
    cluster.crooked = Some(3);
    for member in [2, 3] {
        cluster.add(member).await;
    }
    assert!(is_done(&cluster.create("straight").await));
    assert!(is_done(&cluster.create("crooked").await));
    cluster
        .until("the crooked member stops", 3, |status| {
            status.own.as_ref().is_some_and(|own| own.failure.contains("differs"))
        })
        .await;
    assert!(cluster.has_bucket(3, "crooked", DEADLINE).await.is_err());
    let leader = cluster.leader_among(&[1, 2]).await;
    assert!(cluster.server(1).failed().is_none() && cluster.server(2).failed().is_none());
    assert!(is_done(&cluster.create("goes-on").await));
    let mismatches: u64 = [1, 2]
        .map(|member| cluster.server(member).metrics().state_mismatches.get())
        .iter()
        .sum();
    assert!(mismatches > 0, "{leader} leads");
    cluster.kill(3).await;
    let started = cluster.start(3, Start::Join).await;
    assert!(matches!(started, Err(StartError::Differs(_))), "{started:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_wrong_clock_hands_over_and_time_never_goes_back() {
    let cluster = Cluster::of_three(|_| {}).await;
    assert!(is_done(&cluster.create("first").await));
    let first = cluster.leader().await;
    cluster.clock(first).set_off_by_ms(3_600_000);
    // Until a probe finds out, it stamps what it is given.
    assert!(is_done(&cluster.create("before").await));
    let stamped_ms = cluster.created_ms("before").await;
    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|member| *member != first).collect();
    for other in &others {
        cluster
            .until("another leads", *other, |status| others.contains(&status.leader))
            .await;
    }
    assert!(is_done(&cluster.create("after").await));
    assert!(cluster.created_ms("after").await >= stamped_ms);
    cluster
        .until("the skew shows", cluster.leader_among(&others).await, |status| {
            let of_first = status.members.iter().find(|member| member.node == first);
            of_first.is_some_and(|member| member.skew_ms > 3_000_000)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_gets_a_snapshot_where_the_log_is_cut() {
    let mut cluster = Cluster::alone(|config| config.snapshot_commands = 50).await;
    for number in 0..200 {
        assert!(is_done(&cluster.create(&format!("bucket-{number}")).await));
    }
    cluster
        .until("the log is cut", 1, |status| {
            status.own.as_ref().is_some_and(|own| own.purged_index > 50)
        })
        .await;
    cluster.start(2, Start::Join).await.expect("a start");
    cluster.change(add_learner(2)).await.expect("a learner");
    let promote = MemberChange::Promote(PromoteLearner { node: 2 });
    cluster.change(promote).await.expect("a voter");
    assert_eq!(cluster.has_bucket(2, "bucket-7", DEADLINE).await, Ok(true));
    assert!(is_done(&cluster.create("more").await));
    cluster
        .until("the same state", 1, |status| {
            let own = status.own.as_ref().map(|own| own.chain.clone());
            let other = status.members.iter().find(|member| member.node == 2);
            other
                .and_then(|member| member.report.as_ref())
                .map(|report| report.chain.clone())
                == own
        })
        .await;
    assert!(cluster.server(2).failed().is_none());
    // The entries that were cut came as a snapshot: its log never held them.
    let own = cluster.server(2).status().own.expect("a report");
    assert!(own.purged_index > 50, "{}", own.purged_index);
}
