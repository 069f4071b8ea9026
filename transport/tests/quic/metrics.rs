//! What the carrier tells about requests and paths.

use std::sync::Arc;

use bytes::Bytes;
use cairn_common::{ids::NodeId, wire::kind::RequestKind};
use cairn_transport::{
    Body, NodeAddresses, QuicServer, QuicSettings, QuicTransport, Services, Transport, TransportMetrics,
};
use prometheus_client::{encoding::text::encode, registry::Registry};

use crate::harness::{CALLER, Cluster, DEADLINE, Puppet, SERVER, all_members, loopback, request};

fn text(metrics: &TransportMetrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).expect("text");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_by_peer_and_kind_and_paths_are_shown() {
    let cluster = Cluster::new(1);
    let (served, called) = (TransportMetrics::default(), TransportMetrics::default());
    let services = Services::new().with(&RequestKind::ALL, Arc::new(Puppet::default()), 100);
    let identity = cluster.identity(SERVER, all_members());
    let settings = QuicSettings::default();
    let server = QuicServer::start(
        &identity,
        loopback(),
        &[loopback()],
        services,
        settings.clone(),
        served.clone(),
    );
    let server = server.expect("a server");
    let addresses = NodeAddresses::new();
    addresses.set(SERVER, server.local_address());
    let identity = cluster.identity(CALLER, all_members());
    let caller = QuicTransport::new(&identity, addresses, settings, called.clone()).expect("a caller");
    let bulk = || Body::from(Bytes::from(vec![1; 1 << 20]));
    for _ in 0..3 {
        let asked = request(RequestKind::PutShard, "count", bulk(), DEADLINE);
        assert_eq!(caller.send(SERVER, asked).await.expect("an answer").header, "1048576");
    }
    let nobody = request(RequestKind::DeviceStatus, "echo", Body::empty(), DEADLINE);
    assert!(caller.send(NodeId::new(9), nobody).await.is_err());

    let (served, called) = (text(&served), text(&called));
    let has = |text: &str, line: &str| assert!(text.contains(line), "{line} is not in\n{text}");
    has(
        &called,
        "cairn_transport_request_seconds_count{peer=\"1\",kind=\"put_shard\",side=\"caller\"} 3",
    );
    has(
        &called,
        "cairn_transport_in_flight{peer=\"1\",kind=\"put_shard\",side=\"caller\"} 0",
    );
    has(
        &called,
        "cairn_transport_failures_total{peer=\"9\",kind=\"device_status\",side=\"caller\",reason=\"unreachable\"} 1",
    );
    has(
        &called,
        "cairn_transport_path_mtu_bytes{peer=\"1\",class=\"bulk\",side=\"caller\"",
    );
    has(
        &called,
        "cairn_transport_path_lost_packets_total{peer=\"1\",class=\"control\"",
    );
    has(
        &served,
        "cairn_transport_request_seconds_count{peer=\"2\",kind=\"put_shard\",side=\"server\"} 3",
    );
    let received = "cairn_transport_received_bytes_total{peer=\"2\",kind=\"put_shard\",side=\"server\"} ";
    let bytes = served.split(received).nth(1).and_then(|rest| rest.lines().next());
    let bytes: u64 = bytes.expect("a number of bytes").parse().expect("a number");
    assert!((3 << 20..(3 << 20) + 1000).contains(&bytes), "{bytes} bytes");
}
