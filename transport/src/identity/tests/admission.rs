//! Joining, renewing and learning of revocations through the service.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::{
        failure::FailureCode,
        kind::RequestKind,
        node,
        role::{Role, Roles},
    },
};

use super::HOUR;
use crate::{
    Body, CallError, Peer, Request, Response, Service as _, Transport, call,
    identity::{
        Admission, AuthorityDir, Identity, IdentityError, JoinError, JoinToken, NodeCredentials, NodeKey,
        fetch_revocations, join, join::join_request, renew,
    },
};

const CLUSTER: ClusterId = ClusterId::new([6; 16]);
const SERVER: NodeId = NodeId::new(1);
const CLIENT: Roles = Roles::of(&[Role::Client]);
const TIMEOUT: Duration = Duration::from_secs(60);
const JOINER: Peer = Peer {
    node: NodeId::new(0),
    roles: Roles::of(&[Role::Joiner]),
};

/// Carries requests of one peer to a service.
struct Line {
    from: Peer,
    admission: Admission,
}

#[async_trait]
impl Transport for Line {
    async fn send(&self, _: NodeId, request: Request) -> Result<Response, CallError> {
        Ok(self.admission.handle(self.from, request).await?)
    }
}

struct Fixture {
    _directory: tempfile::TempDir,
    authority: Arc<AuthorityDir>,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = AuthorityDir::create(&directory.path().join("authority"), CLUSTER).expect("made");
        Self {
            _directory: directory,
            authority: Arc::new(authority),
        }
    }

    fn line(&self, from: Peer) -> Line {
        Line {
            from,
            admission: Admission::new(Arc::clone(&self.authority)),
        }
    }

    fn token(&self, lifetime: Duration) -> JoinToken {
        let made = self.authority.make_token(CLIENT, lifetime, Vec::new(), SERVER);
        made.expect("a token")
    }
}

#[tokio::test]
async fn a_node_joins_renews_and_is_shut_out() {
    let fixture = Fixture::new();
    let own_key = NodeKey::make().expect("a key");
    let csr = own_key.certificate_request(CLUSTER).expect("a request");
    let own = fixture
        .authority
        .enrol(Roles::MEMBER, &csr, SystemTime::now())
        .expect("enrolled");
    let server = Identity::member(NodeCredentials::of(own, own_key)).expect("they fit");
    assert_eq!(server.peer().node, SERVER);

    let key = NodeKey::make().expect("a key");
    let joined = join(&fixture.line(JOINER), &fixture.token(HOUR), &key, TIMEOUT)
        .await
        .expect("joined");
    let node = Identity::member(joined.clone()).expect("they fit");
    assert_eq!((node.peer().node, node.peer().roles), (NodeId::new(2), CLIENT));

    let line = fixture.line(node.peer());
    let renewed = renew(&line, SERVER, &node, TIMEOUT).await.expect("renewed");
    assert_ne!(renewed.key.public_key(), joined.key.public_key());
    node.replace(renewed).expect("the same node");

    assert_eq!(fixture.authority.revoke(node.peer().node).expect("known"), 2);
    let list = fetch_revocations(&line, SERVER, TIMEOUT).await.expect("a list");
    assert_eq!(server.replace_revocations(&list), Ok(true));
    for certificate in [joined.certificate, fixture_certificate(&node)] {
        let chain = [certificate, joined.ca_certificate.clone()];
        assert_eq!(server.check(&chain, SystemTime::now()), Err(IdentityError::Revoked));
    }
    let refused = renew(&line, SERVER, &node, TIMEOUT).await;
    assert!(
        matches!(&refused, Err(JoinError::Refused(text)) if text.contains("was revoked")),
        "{refused:?}"
    );
}

/// The certificate that a node shows now.
fn fixture_certificate(node: &Identity) -> rustls_pki_types::CertificateDer<'static> {
    let config = node.client_config(&[]).expect("good credentials");
    let certified = config
        .client_auth_cert_resolver
        .resolve(&[], &[rustls::SignatureScheme::ED25519]);
    certified.expect("a certificate").cert[0].clone()
}

#[tokio::test]
async fn refusals_tell_a_person_what_to_do() {
    let fixture = Fixture::new();
    let line = fixture.line(JOINER);
    let key = NodeKey::make().expect("a key");
    let used = fixture.token(HOUR);
    join(&line, &used, &key, TIMEOUT).await.expect("joined");
    let foreign = JoinToken {
        ca_fingerprint: [0; 32],
        ..fixture.token(HOUR)
    };
    for (token, expected) in [
        (used, "used already: make a new one with `cairn cluster token`"),
        (
            fixture.token(Duration::ZERO),
            "expired: make a new one with `cairn cluster token`",
        ),
        (Fixture::new().token(HOUR), "does not know the token"),
    ] {
        let other = NodeKey::make().expect("a key");
        let refused = join(&line, &token, &other, TIMEOUT).await;
        assert!(
            matches!(&refused, Err(JoinError::Refused(text)) if text.contains(expected)),
            "{refused:?}"
        );
    }
    let refused = join(&line, &foreign, &key, TIMEOUT).await;
    assert!(
        matches!(&refused, Err(JoinError::BadAnswer(IdentityError::ForeignCa { .. }))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn whoever_has_not_the_token_does_not_join_with_it() {
    let fixture = Fixture::new();
    let token = fixture.token(HOUR);
    let good = join_request(&token, &NodeKey::make().expect("a key")).expect("a request");
    let other = join_request(&fixture.token(HOUR), &NodeKey::make().expect("a key")).expect("a request");
    let plain = token.key().sign(&good.certificate_request).expect("a signature");
    let cases = [
        (
            other.token_signature.clone(),
            good.token_public_key.clone(),
            FailureCode::Forbidden,
        ),
        (
            good.token_signature.clone(),
            other.token_public_key.clone(),
            FailureCode::Forbidden,
        ),
        (
            Bytes::from(plain),
            good.token_public_key.clone(),
            FailureCode::Forbidden,
        ),
        (Bytes::new(), good.token_public_key.clone(), FailureCode::Forbidden),
        (good.token_signature.clone(), Bytes::new(), FailureCode::Malformed),
    ];
    for (token_signature, token_public_key, expected) in cases {
        let request = node::Join {
            token_signature,
            token_public_key,
            ..good.clone()
        };
        let answer = ask(&fixture, &request).await;
        assert!(
            matches!(&answer, Err(CallError::Failed(failure)) if failure.code() == expected),
            "{answer:?}"
        );
    }
    ask(&fixture, &good).await.expect("the token is unused");
}

async fn ask(fixture: &Fixture, request: &node::Join) -> Result<node::Certificate, CallError> {
    let line = fixture.line(JOINER);
    let answer = call(&line, SERVER, RequestKind::Join, request, Body::empty(), TIMEOUT).await;
    answer.map(|(certificate, _)| certificate)
}
