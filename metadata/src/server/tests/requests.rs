//! Commands and queries from outside.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::wire::{
    command::{Command, ErrorCode, ForgetChunks, Outcome, ReleaseStep},
    failure::FailureCode,
    kind::RequestKind,
    query::{Answer, BucketsQuery, Query},
};
use cairn_transport::{Body, CallError, InProcess, Peer, Request, Service};
use futures::future::join_all;
use tokio::time::Instant;

use super::support::{DEADLINE, Rig, config};
use crate::{MetadataServer, StartError, StoreError, Surroundings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read() {
    let rig = Rig::new().await;
    for number in 0..20 {
        let key = format!("key {number}");
        let written = rig.put_inline(&key).await;
        let Answer::Object(object) = rig.object(&key).await else {
            panic!("{key} is not there")
        };
        assert_eq!(object.info.expect("its attributes").size, key.len() as u64);
        assert!(written.log_index > 0);
    }
    let Answer::Refused(refusal) = rig.object("no such key").await else {
        panic!("an object out of nothing")
    };
    assert_eq!(refusal.code(), ErrorCode::NoSuchKey);
    let buckets = rig.try_ask(Query::Buckets(BucketsQuery {})).await.expect("an answer");
    assert!(matches!(buckets.answer, Some(Answer::Buckets(page)) if page.buckets.len() == 1));
}

/// On one thread, so that all are sent before the first is taken up: a barrier of a single voter is over sooner than another is sent.
#[tokio::test]
async fn concurrent_commands_share_entries_and_queries_share_barriers() {
    let rig = Rig::new().await;
    let before = rig.summary_index().await;
    let keys: Vec<String> = (0..400).map(|number| format!("key {number}")).collect();
    join_all(keys.iter().map(|key| rig.put_inline(key))).await;
    let entries = rig.summary_index().await - before;
    assert!(entries < 200, "400 concurrent commands took {entries} entries");
    let barriers = rig.server.metrics().read_barriers.get();
    join_all(keys.iter().map(|key| rig.object(key))).await;
    let barriers = rig.server.metrics().read_barriers.get() - barriers;
    assert!(barriers < 200, "400 concurrent queries took {barriers} barriers");
    assert_eq!(rig.summary().await.objects, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_command_gets_its_first_answer() {
    let rig = Rig::new().await;
    let first = rig.put_inline("key").await;
    let delete = || Command::DeleteObject(super::support::delete_command("key"));
    let once = rig.send(rig.session, 50, delete()).await;
    rig.put_inline("key").await;
    assert_eq!(rig.send(rig.session, 50, delete()).await, once);
    assert!(matches!(rig.object("key").await, Answer::Object(_)));
    assert!(first.log_index < once.log_index);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_the_server_itself_are_refused_from_outside() {
    let rig = Rig::new().await;
    let chunk_ids = vec![Bytes::from_static(&[1; 16])];
    for command in [
        Command::ForgetChunks(ForgetChunks { chunk_ids }),
        Command::ReleaseStep(ReleaseStep { steps: 1 }),
    ] {
        let refused = rig.try_send(0, 0, command).await;
        assert!(is_failure(&refused, FailureCode::Malformed), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_make_no_sense_are_refused() {
    let rig = Rig::new().await;
    let cases: [(RequestKind, &'static [u8]); 4] = [
        (RequestKind::MetadataWrite, b""),
        (RequestKind::MetadataWrite, b"\xff\xff\xff"),
        (RequestKind::MetadataRead, b""),
        (RequestKind::GetShard, b""),
    ];
    for (kind, header) in cases {
        let deadline = Instant::now() + DEADLINE;
        let request = Request {
            kind,
            header: Bytes::from_static(header),
            body: Body::empty(),
            deadline,
            trace: None,
        };
        let refused = rig
            .server
            .handle(Peer::same_process(cairn_common::ids::NodeId::new(1)), request)
            .await;
        let code = refused.err().map(|failure| failure.code());
        assert_eq!(code, Some(FailureCode::Malformed), "{kind:?} {header:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let transport = || Arc::new(InProcess::new());
    let first = MetadataServer::start(config(directory.path()), Surroundings::new(transport()))
        .await
        .expect("a start");
    let refused = MetadataServer::start(config(directory.path()), Surroundings::new(transport()))
        .await
        .err();
    assert!(
        matches!(refused, Some(StartError::Store(StoreError::InUse(_)))),
        "{refused:?}"
    );
    first.shutdown().await.expect("a shutdown");
    first.shutdown().await.expect("a second one changes nothing");
    MetadataServer::start(config(directory.path()), Surroundings::new(transport()))
        .await
        .expect("a start after the shutdown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_within_a_moment() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let started = Instant::now();
        let server = MetadataServer::start(config(directory.path()), Surroundings::new(Arc::new(InProcess::new())))
            .await
            .expect("a start");
        // A hundred milliseconds on an idle machine; the bound leaves room for a busy one.
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        server.shutdown().await.expect("a shutdown");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_callers_are_told_to_try_again() {
    let rig = Rig::new().await;
    rig.server.shutdown().await.expect("a shutdown");
    let refused = rig.try_ask(Query::Buckets(BucketsQuery {})).await;
    assert!(is_failure(&refused, FailureCode::Busy), "{refused:?}");
    assert_eq!(rig.server.failed(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_an_ended_session_are_refused() {
    let rig = Rig::new().await;
    let end = cairn_common::wire::command::EndSession { session: rig.session };
    rig.send(rig.session, 0, Command::EndSession(end)).await;
    let refused = rig.put_inline("key").await;
    let Some(Outcome::Refused(refusal)) = refused.outcome else {
        panic!("{refused:?}")
    };
    assert_eq!(refusal.code(), ErrorCode::SessionEnded);
}

fn is_failure<T>(outcome: &Result<T, CallError>, code: FailureCode) -> bool {
    matches!(outcome, Err(CallError::Failed(failure)) if failure.code() == code)
}
