//! The same data path and chunkserver, with QUIC between them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use cairn_chunkserver::ChunkServer;
use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::role::{Role, Roles},
};
use cairn_transport::{
    NodeAddresses, QuicServer, QuicSettings, QuicTransport, Services, TransportMetrics,
    identity::{CertificateAuthority, Identity},
};

use crate::harness::{SERVER, Store, content, read, scheme};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_are_written_and_read_and_decoded_over_quic() {
    let authority = CertificateAuthority::create(ClusterId::new([1; 16])).expect("a CA");
    let identity = |node, role| {
        let now = SystemTime::now();
        let credentials = authority.make_credentials(node, Roles::of(&[role]), now..now + Duration::from_secs(600));
        Identity::member(credentials.expect("credentials")).expect("an identity")
    };
    let store = Store::new(6, scheme("4+2")).await;
    let services = Services::new().with(ChunkServer::KINDS, store.service(), 4096);
    let any_port = "127.0.0.1:0".parse().expect("an address");
    let (settings, metrics) = (QuicSettings::default(), TransportMetrics::default());
    let server = identity(SERVER, Role::Chunkserver);
    let server = QuicServer::start(
        &server,
        any_port,
        &[any_port],
        services,
        settings.clone(),
        metrics.clone(),
    );
    let server = server.expect("a server");
    let addresses = NodeAddresses::new();
    addresses.set(SERVER, server.local_address());
    let caller = identity(NodeId::new(2), Role::Client);
    let transport = QuicTransport::new(&caller, addresses, settings, metrics).expect("a caller");
    let transport = Arc::new(transport);
    let datapath = store.datapath_over(transport.clone());
    for (seed, length) in [1, 128 << 10, 300_001, 8 << 20].into_iter().enumerate() {
        let written = content(seed as u64, length);
        let stored = store.try_write(&datapath, scheme("4+2"), &written).await;
        let chunk = stored.expect("stored");
        assert!(
            read(&datapath, &chunk, 0, length).await.expect("readable") == written,
            "{length} bytes"
        );
        let lost = store.row(&chunk);
        store.set_down([lost[0], lost[1]]);
        // Another one: what this one learns of the devices is not for the next write.
        let degraded = store.datapath_over(transport.clone());
        assert!(
            read(&degraded, &chunk, 0, length)
                .await
                .expect("readable without two devices")
                == written,
            "{length} bytes"
        );
        store.set_down([]);
    }
    assert_eq!(store.budget.in_use_bytes(), 0);
}
