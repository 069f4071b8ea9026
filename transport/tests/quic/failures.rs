//! Peers and paths that fail: restarts, silence, streams that stop in the middle.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use cairn_common::{
    ids::NodeId,
    wire::{failure::FailureCode, kind::RequestKind},
};
use cairn_transport::{Body, BodyError, CallError, QuicSettings, Transport};
use tokio::time::timeout;

use crate::harness::{
    CALLER, Cluster, DEADLINE, Puppet, SERVER, all_members, caller, caller_of, echo, length_of, loopback, request,
    serve, serve_at, until,
};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_bytes_go_both_ways_at_once_beyond_every_window() {
    let cluster = Cluster::new(1);
    let puppet = Arc::new(Puppet::default());
    let server = serve(&cluster.identity(SERVER, all_members()), &puppet);
    let caller = caller(&cluster.identity(CALLER, all_members()), &server);
    let (sender, body) = Body::channel(4);
    let sending = tokio::spawn(async move {
        for number in 0..64_u8 {
            sender
                .send(Bytes::from(vec![number; 1 << 20]))
                .await
                .expect("the receiver is there");
        }
        sender.finish();
    });
    let asked = request(RequestKind::PutShard, "echo", body, DEADLINE);
    let mut response = caller
        .send(SERVER, asked)
        .await
        .expect("an answer before the request has ended");
    let mut position = 0;
    while let Some(piece) = response.body.next().await {
        for byte in piece.expect("all of it") {
            assert_eq!(usize::from(byte), position >> 20);
            position += 1;
        }
    }
    assert_eq!(position, 64 << 20);
    sending.await.expect("all was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_is_found_again() {
    let cluster = Cluster::new(1);
    let puppet = Arc::new(Puppet::default());
    let identity = cluster.identity(SERVER, all_members());
    let server = serve(&identity, &puppet);
    let (address, bulk) = (server.local_address(), server.bulk_addresses()[0]);
    let caller = caller(&cluster.identity(CALLER, all_members()), &server);
    assert!(echo(&caller).await.is_ok());
    let asked = request(RequestKind::PutShard, "silent", Body::empty(), DEADLINE);
    let waiting = caller.send(SERVER, asked);
    let stopping = async {
        until("the request is handled", || puppet.handling.load(Ordering::SeqCst) == 1).await;
        server.shutdown(Duration::ZERO).await;
    };
    let (lost, ()) = tokio::join!(waiting, stopping);
    assert!(
        matches!(&lost, Err(CallError::ConnectionLost { reason, .. }) if reason.contains("stopping")),
        "{lost:?}"
    );
    drop(server);
    let refused = request(RequestKind::DeviceStatus, "echo", Body::empty(), SHORT);
    assert!(caller.send(SERVER, refused).await.is_err());
    let _server = serve_at(&identity, address, bulk, &puppet, 1000);
    let again = async { while echo(&caller).await.is_err() {} };
    timeout(DEADLINE, again).await.expect("the server is found again");
}

/// A process that dies says nothing; its successor tells that it knows the connection no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_successor_of_a_killed_server_ends_its_connections_at_once() {
    let cluster = Cluster::new(1);
    let puppet = Arc::new(Puppet::default());
    let identity = cluster.identity(SERVER, all_members());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let server = runtime.spawn({
        let (identity, puppet) = (identity.clone(), puppet.clone());
        async move { serve(&identity, &puppet) }
    });
    let server = server.await.expect("a server");
    let settings = QuicSettings {
        idle_timeout: Duration::from_secs(600),
        ..QuicSettings::default()
    };
    let (address, bulk) = (server.local_address(), server.bulk_addresses()[0]);
    let caller = caller_of(&cluster.identity(CALLER, all_members()), address, settings);
    assert!(echo(&caller).await.is_ok());
    // Its tasks go first, so there is nobody to tell its peers when the sockets go.
    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(DEADLINE))
        .await
        .expect("gone");
    drop(server);
    let _server = serve_at(&identity, address, bulk, &puppet, 1000);
    let again = async {
        loop {
            let asked = request(RequestKind::DeviceStatus, "echo", Body::empty(), Duration::from_secs(2));
            if caller.send(SERVER, asked).await.is_ok() {
                return;
            }
        }
    };
    timeout(DEADLINE, again)
        .await
        .expect("the caller connects again long before its idle timeout");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_nodes_are_told_at_once_and_left_alone_for_a_while() {
    let cluster = Cluster::new(1);
    let identity = cluster.identity(CALLER, all_members());
    let settings = QuicSettings {
        connect_timeout: Duration::from_millis(200),
        ..QuicSettings::default()
    };
    let silent = std::net::UdpSocket::bind(loopback()).expect("a socket that never answers");
    let caller = caller_of(&identity, silent.local_addr().expect("its address"), settings);
    let unknown = request(RequestKind::DeviceStatus, "echo", Body::empty(), DEADLINE);
    let refused = caller.send(NodeId::new(77), unknown).await;
    assert!(
        matches!(&refused, Err(CallError::Unreachable { reason, .. }) if reason.contains("address")),
        "{refused:?}"
    );
    for _ in 0..20 {
        let refused = echo(&caller).await;
        assert!(matches!(&refused, Err(CallError::Unreachable { .. })), "{refused:?}");
    }
    silent.set_nonblocking(true).expect("a socket option");
    let mut datagrams = 0;
    while silent.recv(&mut [0; 2048]).is_ok() {
        datagrams += 1;
    }
    assert!(
        datagrams < 20,
        "{datagrams} datagrams for twenty calls: it was not left alone"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_stops_reading_holds_up_nobody_else_and_is_cut_off() {
    let cluster = Cluster::new(1);
    let puppet = Arc::new(Puppet::default());
    let server = serve_at(
        &cluster.identity(SERVER, all_members()),
        loopback(),
        loopback(),
        &puppet,
        3,
    );
    let caller = caller(&cluster.identity(CALLER, all_members()), &server);
    let mut unread = Vec::new();
    for _ in 0..2 {
        let asked = request(RequestKind::GetShard, "big", Body::empty(), Duration::from_secs(1));
        unread.push(caller.send(SERVER, asked).await.expect("a head"));
    }
    let counted = request(
        RequestKind::PutShard,
        "count",
        Body::from(Bytes::from(vec![1; 4 << 20])),
        DEADLINE,
    );
    let counted = caller.send(SERVER, counted).await.expect("other streams go on");
    assert_eq!(counted.header, "4194304");
    // The places of the unread answers are free again once their time has run out: three find room at once.
    let free = async {
        loop {
            let three =
                (0..3).map(|_| caller.send(SERVER, request(RequestKind::GetShard, "silent", Body::empty(), SHORT)));
            let answers = futures::future::join_all(three).await;
            let admitted = |answer: &Result<_, CallError>| matches!(answer, Err(CallError::DeadlineExceeded));
            if answers.iter().all(admitted) {
                return;
            }
        }
    };
    timeout(DEADLINE, free).await.expect("three places");
    for response in unread {
        let ended = length_of(response.body).await;
        assert!(matches!(ended, Err(BodyError::Cut | BodyError::Lost(_))), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_stops_writing_meets_its_deadline_and_frees_its_place() {
    let cluster = Cluster::new(1);
    let puppet = Arc::new(Puppet::default());
    let server = serve_at(
        &cluster.identity(SERVER, all_members()),
        loopback(),
        loopback(),
        &puppet,
        1,
    );
    let caller = caller(&cluster.identity(CALLER, all_members()), &server);
    let (sender, body) = Body::channel(1);
    sender
        .send(Bytes::from_static(b"a piece"))
        .await
        .expect("room for a piece");
    let slow = caller.send(
        SERVER,
        request(RequestKind::PutShard, "count", body, Duration::from_millis(500)),
    );
    let busy = async {
        until("the slow one is handled", || {
            puppet.handling.load(Ordering::SeqCst) == 1
        })
        .await;
        caller
            .send(SERVER, request(RequestKind::PutShard, "count", Body::empty(), DEADLINE))
            .await
    };
    let (slow, busy) = tokio::join!(slow, busy);
    assert!(matches!(slow, Err(CallError::DeadlineExceeded)), "{slow:?}");
    assert!(
        matches!(&busy, Err(CallError::Failed(failure)) if failure.code() == FailureCode::Busy),
        "{busy:?}"
    );
    drop(sender);
    // A moment after its handler has ended.
    let is_free = async { while echo(&caller).await.is_err() {} };
    timeout(DEADLINE, is_free).await.expect("its place is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_ends_what_it_asked_for() {
    let cluster = Cluster::new(1);
    let puppet = Arc::new(Puppet::default());
    let server = serve(&cluster.identity(SERVER, all_members()), &puppet);
    let caller = caller(&cluster.identity(CALLER, all_members()), &server);
    for message in ["silent", "stall"] {
        let before = puppet.ended.load(Ordering::SeqCst);
        let (_sender, body) = Body::channel(1);
        let asked = request(RequestKind::PutShard, message, body, DEADLINE);
        let handled = || puppet.handling.load(Ordering::SeqCst) == 1;
        tokio::select! {
            answer = caller.send(SERVER, asked) => panic!("{answer:?}"),
            () = until("it is handled", handled) => {}
        }
        until("the handler is dropped", || {
            puppet.ended.load(Ordering::SeqCst) == before + 1
        })
        .await;
    }
    caller.close(Duration::from_secs(1)).await;
    assert!(echo(&caller).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_server_finishes_what_it_has_begun() {
    let cluster = Cluster::new(1);
    let puppet = Arc::new(Puppet::default());
    let server = serve(&cluster.identity(SERVER, all_members()), &puppet);
    let caller = caller(&cluster.identity(CALLER, all_members()), &server);
    let (sender, body) = Body::channel(1);
    let asked = caller.send(SERVER, request(RequestKind::PutShard, "count", body, DEADLINE));
    let stopping = async {
        until("it is handled", || puppet.handling.load(Ordering::SeqCst) == 1).await;
        let finishing = async {
            sender
                .send(Bytes::from_static(b"the rest"))
                .await
                .expect("the receiver is there");
            sender.finish();
        };
        tokio::join!(server.shutdown(DEADLINE), finishing);
    };
    let (answer, ()) = tokio::join!(asked, stopping);
    assert_eq!(answer.expect("an answer").header, "8");
}
