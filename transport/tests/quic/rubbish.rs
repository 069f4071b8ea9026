//! Peers that send what nobody should.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use cairn_common::wire::{
    failure::FailureCode,
    head::{Outcome, RequestHead, ResponseHead},
    kind::RequestKind,
};
use cairn_transport::{
    Identity, QuicServer,
    frame::{HEAD_BYTES_MAX, encode_request_head},
};
use futures::StreamExt as _;
use prost::Message;
use quinn::{ClientConfig, Connection, Endpoint, VarInt, crypto::rustls::QuicClientConfig};

use crate::harness::{CALLER, Cluster, DEADLINE, Puppet, SERVER, all_members, caller, echo, serve, until};

/// A member that speaks for itself, stream by stream.
struct RawPeer {
    connection: Connection,
    _endpoint: Endpoint,
}

impl RawPeer {
    async fn connect(identity: &Identity, address: SocketAddr) -> Self {
        let tls = identity.client_config(&[b"cairn/1".to_vec()]).expect("a configuration");
        let crypto = QuicClientConfig::try_from(tls).expect("a QUIC configuration");
        let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("an endpoint");
        let config = ClientConfig::new(Arc::new(crypto));
        let name = identity.server_name(SERVER).to_str().into_owned();
        let connection = endpoint
            .connect_with(config, address, &name)
            .expect("a call")
            .await
            .expect("a connection");
        Self {
            connection,
            _endpoint: endpoint,
        }
    }

    /// Sends `bytes` as a request and returns all that comes back, or the code of a reset.
    async fn exchange(&self, bytes: &[u8]) -> Result<Vec<u8>, VarInt> {
        let (mut send, mut receive) = self.connection.open_bi().await.expect("a stream");
        // A server that has seen enough stops the stream.
        let _ = send.write_all(bytes).await;
        let _ = send.finish();
        match tokio::time::timeout(DEADLINE, receive.read_to_end(1 << 20))
            .await
            .expect("an end in time")
        {
            Ok(bytes) => Ok(bytes),
            Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => Err(code),
            Err(error) => panic!("{error}"),
        }
    }
}

fn framed(head: &[u8]) -> Vec<u8> {
    let length = u32::try_from(head.len()).expect("a short head");
    [&length.to_be_bytes(), head].concat()
}

async fn with_raw_peer() -> (QuicServer, Arc<Puppet>, RawPeer, Cluster) {
    let cluster = Cluster::new(1);
    let puppet = Arc::new(Puppet::default());
    let server = serve(&cluster.identity(SERVER, all_members()), &puppet);
    let peer = RawPeer::connect(&cluster.identity(CALLER, all_members()), server.local_address()).await;
    (server, puppet, peer, cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_on_a_stream_is_refused_and_harms_no_other() {
    let (server, puppet, peer, cluster) = with_raw_peer().await;
    let whole = encode_request_head(RequestKind::DeviceStatus, DEADLINE, &Bytes::from_static(b"echo"), None);
    let oversized = u32::try_from(HEAD_BYTES_MAX + 1).expect("32 bits").to_be_bytes();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("half a length", whole[..2].to_vec()),
        ("half a head", whole[..whole.len() - 1].to_vec()),
        ("an empty head", vec![0; 4]),
        ("an oversized head", [&oversized[..], &[0; 64]].concat()),
        ("the largest length", vec![0xff; 64]),
        ("no protobuf", framed(&[0xff; 32])),
    ];
    for (name, bytes) in cases {
        let answer = peer.exchange(&bytes).await;
        assert_eq!(answer, Err(VarInt::from_u32(4)), "{name}");
        assert!(
            peer.exchange(&whole).await.is_ok(),
            "the connection goes on after {name}"
        );
    }
    assert_eq!(puppet.handling.load(Ordering::SeqCst), 0);
    let caller = caller(&cluster.identity(CALLER, all_members()), &server);
    assert!(echo(&caller).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_of_the_future_is_told_to_be_unsupported() {
    let (_server, _, peer, _) = with_raw_peer().await;
    let head = RequestHead {
        kind: 60_000,
        timeout_ms: 1000,
        ..RequestHead::default()
    };
    let answer = peer.exchange(&framed(&head.encode_to_vec())).await.expect("an answer");
    let head = ResponseHead::decode(&answer[4..]).expect("a head");
    let Some(Outcome::Failed(failure)) = head.outcome else {
        panic!("{head:?}");
    };
    assert_eq!(failure.code(), FailureCode::Unsupported);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_asks_for_no_time_ends_at_once() {
    let (_server, puppet, peer, _) = with_raw_peer().await;
    let head = RequestHead {
        kind: RequestKind::DeviceStatus.number().into(),
        timeout_ms: 0,
        message: Bytes::from_static(b"silent"),
        trace: None,
    };
    let answer = peer.exchange(&framed(&head.encode_to_vec())).await.expect("an answer");
    let head = ResponseHead::decode(&answer[4..]).expect("a head");
    assert!(matches!(head.outcome, Some(Outcome::Failed(failure)) if failure.code() == FailureCode::DeadlineExceeded));
    until("nothing is handled", || puppet.handling.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_of_noise_change_nothing() {
    let cluster = Cluster::new(1);
    let puppet = Arc::new(Puppet::default());
    let server = serve(&cluster.identity(SERVER, all_members()), &puppet);
    let caller = caller(&cluster.identity(CALLER, all_members()), &server);
    assert!(echo(&caller).await.is_ok());
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut state = 1_u64;
    for number in 0..5_000_usize {
        let mut datagram = vec![0; 1 + number % 1400];
        for byte in &mut datagram {
            // An xorshift generator: noise that is the same each time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[0];
        }
        for address in [server.local_address(), server.bulk_addresses()[0]] {
            // A full buffer drops it, which is all the same here.
            let _ = socket.send_to(&datagram, address);
        }
    }
    assert!(echo(&caller).await.is_ok());
    // It is told nothing of the inner protocol: at most QUIC's own refusals, which are shorter than what was sent.
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a socket option");
    let mut answer = [0; 2048];
    while let Ok(length) = socket.recv(&mut answer) {
        assert!(length < 1200, "an answer of {length} bytes to noise");
    }
}

/// The library tells of a reset once, and then of a good end: a body must not be taken for an empty one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_reset_behind_its_head_is_never_a_whole_one() {
    let (_server, puppet, peer, _) = with_raw_peer().await;
    let head = encode_request_head(RequestKind::PutShard, DEADLINE, &Bytes::from_static(b"count"), None);
    let mut answered = 0;
    for number in 0..300_usize {
        let (mut send, mut receive) = peer.connection.open_bi().await.expect("a stream");
        send.write_all(&head).await.expect("a head");
        if number % 10 == 0 {
            until("it is handled", || puppet.handling.load(Ordering::SeqCst) == 1).await;
        }
        for _ in 0..number % 7 {
            tokio::task::yield_now().await;
        }
        send.reset(VarInt::from_u32(2)).expect("a reset");
        // Where the reset overtakes the head, the request is never heard of.
        let answer = tokio::time::timeout(DEADLINE, receive.read_to_end(1 << 20))
            .await
            .expect("an end");
        let Ok(answer) = answer else { continue };
        let head = ResponseHead::decode(&answer[4..]).expect("a head");
        assert!(
            matches!(head.outcome, Some(Outcome::Failed(_))),
            "a cut body was counted: {head:?}"
        );
        answered += 1;
    }
    assert!(answered >= 30, "only {answered} requests were heard of");
}

/// Many large heads that never end: some are gathered, the others refused, and other peers go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_heads_that_never_end_take_bounded_memory_and_hold_up_no_other_peer() {
    let (server, _, peer, cluster) = with_raw_peer().await;
    let length = u32::try_from(HEAD_BYTES_MAX).expect("32 bits").to_be_bytes();
    let mut streams = Vec::new();
    for _ in 0..200 {
        let (mut send, receive) = peer.connection.open_bi().await.expect("a stream");
        send.write_all(&length).await.expect("a length");
        streams.push((send, receive));
    }
    // Those beyond what is gathered are refused at once; the others would be, for being late, after ten seconds.
    let mut resets = futures::stream::FuturesUnordered::new();
    for (_, receive) in &mut streams {
        resets.push(receive.received_reset());
    }
    for number in 0..200 - 64 {
        let reset = tokio::time::timeout(DEADLINE, resets.next()).await.expect("a refusal");
        assert_eq!(reset, Some(Ok(Some(VarInt::from_u32(5)))), "refusal {number}");
    }
    drop(resets);
    let caller = caller(
        &cluster.identity(cairn_common::ids::NodeId::new(3), all_members()),
        &server,
    );
    assert!(echo(&caller).await.is_ok());
}
