//! Who is let in: certificates, roles, tokens, rotation and revocation.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use cairn_common::{
    ids::NodeId,
    wire::{
        failure::FailureCode,
        kind::RequestKind,
        role::{Role, Roles},
    },
};
use cairn_transport::{
    Body, CallError, Identity, QuicServer, QuicSettings, QuicTransport, Services, Transport, TransportMetrics,
    identity::{
        Admission, AuthorityDir, JoinError, JoinToken, NodeCredentials, NodeKey, fetch_revocations, join,
        load_credentials, renew, save_credentials,
    },
};

use crate::harness::{
    CALLER, Cluster, DEADLINE, Puppet, SERVER, all_members, around_now, caller, caller_of, echo, loopback, only,
    request, serve, until,
};

const HOUR: Duration = Duration::from_secs(3600);

async fn refusal(identity: &Identity, server: &QuicServer) -> String {
    match echo(&caller(identity, server)).await {
        Err(CallError::Unreachable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_do_not_hold_are_refused_with_the_reason() {
    let cluster = Cluster::new(1);
    let server = serve(&cluster.identity(SERVER, all_members()), &Arc::default());
    let now = SystemTime::now();
    let member = |credentials| Identity::member(credentials).expect("an identity");
    let expired = cluster.credentials(CALLER, all_members(), now - 2 * HOUR..now - HOUR).0;
    let reason = refusal(&member(expired), &server).await;
    assert!(reason.contains("expired"), "{reason}");
    // Another CA: already the caller finds that the server is none of its own.
    let foreign = Cluster::new(2);
    let reason = refusal(&foreign.identity(CALLER, all_members()), &server).await;
    assert!(reason.contains("certificate"), "{reason}");
    // The same cluster id under another CA, as a liar would make it.
    let liar = Cluster::new(1);
    let reason = refusal(&liar.identity(CALLER, all_members()), &server).await;
    assert!(reason.contains("certificate"), "{reason}");
    assert!(
        echo(&caller(&cluster.identity(CALLER, all_members()), &server))
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_another_node_than_was_called_is_refused() {
    let cluster = Cluster::new(1);
    let server = serve(&cluster.identity(NodeId::new(9), all_members()), &Arc::default());
    let reason = refusal(&cluster.identity(CALLER, all_members()), &server).await;
    assert!(reason.contains("certificate"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_decide_what_may_be_asked() {
    let cluster = Cluster::new(1);
    let server = serve(&cluster.identity(SERVER, all_members()), &Arc::default());
    for role in [Role::Metadata, Role::Chunkserver, Role::Client, Role::Operator] {
        let caller = caller(&cluster.identity(CALLER, only(role)), &server);
        for kind in RequestKind::ALL {
            let asked = request(kind, "echo", Body::empty(), DEADLINE);
            let answer = caller.send(SERVER, asked).await;
            let may = kind.senders().has(role);
            match answer {
                Ok(_) => assert!(may, "{role} may not ask {}", kind.name()),
                Err(CallError::Failed(failure)) if failure.code() == FailureCode::Forbidden => {
                    assert!(!may, "{role} may ask {}: {}", kind.name(), failure.detail);
                }
                Err(error) => panic!("{role}, {}: {error}", kind.name()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_cuts_off_a_live_connection_and_new_ones() {
    let cluster = Cluster::new(1);
    let identity = cluster.identity(SERVER, all_members());
    let puppet = Arc::new(Puppet::default());
    let server = serve(&identity, &puppet);
    let (credentials, serial) = cluster.credentials(CALLER, all_members(), around_now());
    let revoked = caller(&Identity::member(credentials).expect("an identity"), &server);
    let good = caller(&cluster.identity(NodeId::new(3), all_members()), &server);
    assert!(echo(&revoked).await.is_ok() && echo(&good).await.is_ok());
    let waiting = revoked.send(
        SERVER,
        request(RequestKind::DeviceStatus, "silent", Body::empty(), DEADLINE),
    );
    let revoking = async {
        until("it is handled", || {
            puppet.handling.load(std::sync::atomic::Ordering::SeqCst) == 1
        })
        .await;
        let list = cluster
            .authority
            .revocations([serial], 2, SystemTime::now())
            .expect("a list");
        assert!(identity.replace_revocations(&list).expect("a list of this CA"));
    };
    let (cut, ()) = tokio::join!(waiting, revoking);
    assert!(
        matches!(&cut, Err(CallError::ConnectionLost { reason, .. }) if reason.contains("trust")),
        "{cut:?}"
    );
    let refused = echo(&revoked).await;
    assert!(
        matches!(&refused, Err(CallError::Unreachable { reason, .. }) if reason.contains("revoked")),
        "{refused:?}"
    );
    assert!(echo(&good).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_rotated_under_running_requests() {
    let cluster = Cluster::new(1);
    let (server_identity, caller_identity) = (
        cluster.identity(SERVER, all_members()),
        cluster.identity(CALLER, all_members()),
    );
    let puppet = Arc::new(Puppet::default());
    let server = serve(&server_identity, &puppet);
    let caller = caller(&caller_identity, &server);
    let (sender, body) = Body::channel(1);
    let running = caller.send(SERVER, request(RequestKind::PutShard, "count", body, DEADLINE));
    let rotating = async {
        until("it is handled", || {
            puppet.handling.load(std::sync::atomic::Ordering::SeqCst) == 1
        })
        .await;
        for (identity, node) in [(&server_identity, SERVER), (&caller_identity, CALLER)] {
            let next = cluster.credentials(node, all_members(), around_now()).0;
            identity.replace(next).expect("a successor");
            assert!(echo(&caller).await.is_ok());
        }
        sender
            .send(bytes::Bytes::from_static(b"end"))
            .await
            .expect("the receiver is there");
        sender.finish();
    };
    let (running, ()) = tokio::join!(running, rotating);
    assert_eq!(running.expect("an answer").header, "3");
}

/// A first server with the authority, and a directory for it.
struct First {
    authority: Arc<AuthorityDir>,
    server: QuicServer,
    _directory: tempfile::TempDir,
}

fn first_server() -> First {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = cairn_common::ids::ClusterId::new([5; 16]);
    let authority = Arc::new(AuthorityDir::create(directory.path(), cluster).expect("an authority"));
    let key = NodeKey::make().expect("a key");
    let csr = key.certificate_request(cluster).expect("a request");
    let issued = authority
        .enrol(Roles::MEMBER, &csr, SystemTime::now())
        .expect("a certificate");
    let identity = Identity::member(NodeCredentials::of(issued, key)).expect("an identity");
    identity.accept_tokens(authority.clone());
    assert_eq!(identity.peer().node, SERVER);
    let kinds = [
        RequestKind::Join,
        RequestKind::RenewCertificate,
        RequestKind::Revocations,
    ];
    let services = Services::new().with(&kinds, Arc::new(Admission::new(authority.clone())), 16);
    let settings = QuicSettings::default();
    let server = QuicServer::start(
        &identity,
        loopback(),
        &[loopback()],
        services,
        settings,
        TransportMetrics::default(),
    );
    First {
        authority,
        server: server.expect("a server"),
        _directory: directory,
    }
}

fn joiner(token: &JoinToken, first: &First) -> QuicTransport {
    caller_of(
        &Identity::joiner(token).expect("a joiner"),
        first.server.local_address(),
        QuicSettings::default(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_lets_one_node_in_once() {
    let first = first_server();
    let addresses = vec![first.server.local_address().to_string()];
    let roles = only(Role::Chunkserver);
    let token = first
        .authority
        .make_token(roles, HOUR, addresses, SERVER)
        .expect("a token");
    let token: JoinToken = token.to_string().parse().expect("what was printed");
    let key = NodeKey::make().expect("a key");
    let joined = join(&joiner(&token, &first), &token, &key, DEADLINE)
        .await
        .expect("let in");
    let identity = Identity::member(joined.clone()).expect("an identity");
    assert_eq!((identity.peer().node, identity.peer().roles), (NodeId::new(2), roles));

    // The same key again, as after a lost answer, is the same node; another key is told that the token is used.
    let again = join(&joiner(&token, &first), &token, &key, DEADLINE)
        .await
        .expect("the same node again");
    assert_eq!(
        Identity::member(again).expect("an identity").peer().node,
        NodeId::new(2)
    );
    let other = NodeKey::make().expect("a key");
    let refused = join(&joiner(&token, &first), &token, &other, DEADLINE).await;
    assert!(
        matches!(&refused, Err(error) if error.to_string().contains("used")),
        "{refused:?}"
    );

    // What the token gave is a member like others: it asks, renews, and is refused what its role may not.
    let transport = caller_of(&identity, first.server.local_address(), QuicSettings::default());
    assert!(fetch_revocations(&transport, SERVER, DEADLINE).await.is_ok());
    let renewed = renew(&transport, SERVER, &identity, DEADLINE)
        .await
        .expect("a renewed certificate");
    identity.replace(renewed).expect("a successor");
    assert!(fetch_revocations(&transport, SERVER, DEADLINE).await.is_ok());
    let join_again = request(RequestKind::Join, "", Body::empty(), DEADLINE);
    let forbidden = transport.send(SERVER, join_again).await;
    assert!(
        matches!(&forbidden, Err(CallError::Failed(failure)) if failure.code() == FailureCode::Forbidden),
        "{forbidden:?}"
    );

    let directory = tempfile::tempdir().expect("a directory");
    save_credentials(directory.path(), &joined).expect("saved");
    assert!(load_credentials(directory.path()).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_do_not_hold_are_refused_with_the_reason() {
    let first = first_server();
    let key = NodeKey::make().expect("a key");
    let make = |lifetime| {
        first
            .authority
            .make_token(only(Role::Client), lifetime, Vec::new(), SERVER)
            .expect("a token")
    };

    let expired = make(Duration::ZERO);
    let refused = join(&joiner(&expired, &first), &expired, &key, DEADLINE).await;
    assert!(
        matches!(&refused, Err(error) if error.to_string().contains("expired")),
        "{refused:?}"
    );

    let mut unknown = make(HOUR);
    unknown.secret = [9; 32];
    let refused = join(&joiner(&unknown, &first), &unknown, &key, DEADLINE).await;
    assert!(
        matches!(&refused, Err(JoinError::Call(error)) if error.to_string().contains("token")),
        "{refused:?}"
    );

    let mut foreign = make(HOUR);
    foreign.ca_fingerprint = [9; 32];
    let refused = join(&joiner(&foreign, &first), &foreign, &key, DEADLINE).await;
    assert!(
        matches!(&refused, Err(JoinError::Call(CallError::Unreachable { .. }))),
        "{refused:?}"
    );

    // A joiner may join, and nothing else.
    let token = make(HOUR);
    let transport = joiner(&token, &first);
    for kind in RequestKind::ALL.into_iter().filter(|kind| *kind != RequestKind::Join) {
        let answer = transport
            .send(SERVER, request(kind, "echo", Body::empty(), DEADLINE))
            .await;
        assert!(
            matches!(&answer, Err(CallError::Failed(failure)) if failure.code() == FailureCode::Forbidden),
            "{answer:?}"
        );
    }
    assert!(join(&transport, &token, &key, DEADLINE).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sides_without_a_common_version_say_so() {
    let cluster = Cluster::new(1);
    let server = serve(&cluster.identity(SERVER, all_members()), &Arc::default());
    let identity = cluster.identity(CALLER, all_members());
    let tls = identity
        .client_config(&[b"cairn/999".to_vec()])
        .expect("a configuration");
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("a QUIC configuration");
    let endpoint = quinn::Endpoint::client(loopback()).expect("an endpoint");
    let name = identity.server_name(SERVER).to_str().into_owned();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let refused = endpoint
        .connect_with(config, server.local_address(), &name)
        .expect("a call")
        .await;
    let Err(quinn::ConnectionError::ConnectionClosed(close)) = refused else {
        panic!("{:?}", refused.map(|_| ()));
    };
    // TLS alert 120, no_application_protocol.
    assert_eq!(u64::from(close.error_code), 0x100 + 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unauthenticated_peer_is_answered_nothing() {
    let cluster = Cluster::new(1);
    let puppet = Arc::new(Puppet::default());
    let server = serve(&cluster.identity(SERVER, all_members()), &puppet);
    let provider = cairn_transport::identity::provider();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cluster.authority.certificate().clone()).expect("a root");
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3");
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"cairn/1".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("a QUIC configuration");
    let endpoint = quinn::Endpoint::client(loopback()).expect("an endpoint");
    let name = cluster
        .identity(CALLER, all_members())
        .server_name(SERVER)
        .to_str()
        .into_owned();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint
        .connect_with(config, server.local_address(), &name)
        .expect("a call")
        .await;
    // In TLS 1.3 the client believes in the connection until the server has seen that no certificate comes.
    if let Ok(connection) = connecting {
        let reason = tokio::time::timeout(DEADLINE, connection.closed())
            .await
            .expect("closed");
        let quinn::ConnectionError::ConnectionClosed(close) = reason else {
            panic!("{reason:?}");
        };
        assert_eq!(
            u64::from(close.error_code),
            0x100 + 116,
            "TLS alert 116, certificate_required"
        );
    }
    assert_eq!(puppet.ended.load(std::sync::atomic::Ordering::SeqCst), 0);
}
