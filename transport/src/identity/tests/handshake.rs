//! Who gets through a TLS handshake, and what the two sides see where somebody does not.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use cairn_common::{
    ids::NodeId,
    wire::role::{Role, Roles},
};
use rcgen::{CertificateParams, SanType};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, HandshakeKind, ServerConfig,
    ServerConnection, version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName};

use super::{Cluster, HOUR};
use crate::{
    Peer,
    identity::{
        Identity, IdentityError, JoinToken, NodeCredentials, NodeKey, TokenKeys,
        certificate::{CaCertificate, Certificate},
        name, provider,
        revocation::RevocationList,
        verify::server_verifier,
    },
};

const SERVER: u64 = 1;
const CALLER: u64 = 7;
const JOINER: Peer = Peer {
    node: NodeId::new(0),
    roles: Roles::of(&[Role::Joiner]),
};

type Chain = Vec<CertificateDer<'static>>;

/// What each side has at the end: the other's chain, or its error.
#[derive(Debug)]
struct Outcome {
    client: Result<Chain, Error>,
    server: Result<Chain, Error>,
}

macro_rules! carry {
    ($from:ident, $to:ident, $error:ident, $moved:ident) => {
        let mut bytes = Vec::new();
        while $from.wants_write() {
            $from.write_tls(&mut bytes).expect("memory takes all");
        }
        let mut rest = bytes.as_slice();
        $moved |= !rest.is_empty();
        while !rest.is_empty() && $error.is_none() {
            $to.read_tls(&mut rest).expect("memory gives all");
            $error = $to.process_new_packets().err();
        }
    };
}

fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>, name: ServerName<'static>) -> Outcome {
    let mut client = ClientConnection::new(client, name).expect("a good configuration");
    let mut server = ServerConnection::new(server).expect("a good configuration");
    let (mut client_error, mut server_error) = (None, None);
    loop {
        let mut moved = false;
        carry!(client, server, server_error, moved);
        carry!(server, client, client_error, moved);
        if !moved {
            break;
        }
    }
    assert_ne!(client.handshake_kind(), Some(HandshakeKind::Resumed));
    let chain = |certificates: Option<&[CertificateDer<'static>]>| certificates.unwrap_or_default().to_vec();
    Outcome {
        client: client_error.map_or_else(|| Ok(chain(client.peer_certificates())), Err),
        server: server_error.map_or_else(|| Ok(chain(server.peer_certificates())), Err),
    }
}

fn meet(client: &Identity, server: &Identity) -> Outcome {
    let name = client.server_name(NodeId::new(SERVER));
    let (client, server) = (client.client_config(&[]), server.server_config(&[]));
    handshake(client.expect("good"), server.expect("good"), name)
}

fn member(credentials: NodeCredentials) -> Identity {
    Identity::member(credentials).expect("good credentials")
}

/// A caller that believes `cluster` and shows what it likes.
fn caller(cluster: &Cluster, chain: Option<Chain>, key: &NodeKey) -> Arc<ClientConfig> {
    let authority = CaCertificate::read(cluster.authority.certificate().clone()).expect("a CA");
    let list = RevocationList::read(cluster.revoked(&[], 1), &authority).expect("a list");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_webpki_verifier(server_verifier(&authority, &list, provider()).expect("a verifier"));
    Arc::new(match chain {
        Some(chain) => builder
            .with_client_auth_cert(chain, key.private_key())
            .expect("they fit"),
        None => builder.with_no_client_auth(),
    })
}

/// The error of the side that refuses, and the alert that the other one gets.
#[track_caller]
fn assert_refused(refuser: Result<Chain, Error>, other: Result<Chain, Error>, error: &str, alert: AlertDescription) {
    let refusal = format!("{:?}", refuser.expect_err("it was to refuse"));
    assert!(refusal.contains(error), "{refusal} has no {error}");
    assert_eq!(other, Err(Error::AlertReceived(alert)));
}

fn in_the_past() -> std::ops::Range<SystemTime> {
    let now = SystemTime::now();
    now - 2 * HOUR..now - HOUR
}

fn in_the_future() -> std::ops::Range<SystemTime> {
    let now = SystemTime::now();
    now + HOUR..now + 2 * HOUR
}

#[test]
fn members_know_each_other() {
    let cluster = Cluster::new(1);
    let (client, server) = (member(cluster.member(CALLER)), member(cluster.member(SERVER)));
    let outcome = meet(&client, &server);
    let (seen_by_client, seen_by_server) = (outcome.client.expect("accepted"), outcome.server.expect("accepted"));
    assert_eq!(seen_by_client.len(), 2, "the CA goes along");
    assert_eq!(client.identify(&seen_by_client), Ok(server.peer()));
    assert_eq!(server.identify(&seen_by_server), Ok(client.peer()));
    assert_eq!(client.peer().node, NodeId::new(CALLER));
    assert_eq!(client.peer().roles, Roles::of(&[Role::Chunkserver, Role::Client]));
    assert_eq!(server.check(&seen_by_server, SystemTime::now()), Ok(()));
    assert_eq!(
        server.check(&seen_by_server, SystemTime::now() + 2 * HOUR),
        Err(IdentityError::Expired)
    );
    assert_eq!(Identity::token_key(&seen_by_server), None);
}

#[test]
fn a_server_refuses_callers_and_tells_them_why() {
    let cluster = Cluster::new(1);
    let twin = Cluster::new(1);
    let revoked = cluster.member(CALLER);
    let server = member(cluster.member(SERVER));
    assert_eq!(server.replace_revocations(&cluster.revoked(&[&revoked], 2)), Ok(true));
    let chain = |credentials: &NodeCredentials| {
        Some(vec![
            credentials.certificate.clone(),
            credentials.ca_certificate.clone(),
        ])
    };
    let (expired, early) = (
        cluster.member_valid(8, in_the_past()),
        cluster.member_valid(9, in_the_future()),
    );
    let (foreign, stranger) = (twin.member(CALLER), NodeKey::make().expect("a key"));
    let self_signed = stranger.self_signed().expect("signed");
    for (chain, key, error, alert) in [
        (
            chain(&expired),
            &expired.key,
            "Expired",
            AlertDescription::CertificateExpired,
        ),
        (
            chain(&early),
            &early.key,
            "NotValidYet",
            AlertDescription::CertificateExpired,
        ),
        (
            chain(&revoked),
            &revoked.key,
            "Revoked",
            AlertDescription::CertificateRevoked,
        ),
        (
            chain(&foreign),
            &foreign.key,
            "UnknownIssuer",
            AlertDescription::UnknownCA,
        ),
        (
            Some(vec![self_signed]),
            &stranger,
            "UnknownIssuer",
            AlertDescription::UnknownCA,
        ),
        (
            None,
            &stranger,
            "NoCertificatesPresented",
            AlertDescription::CertificateRequired,
        ),
    ] {
        let name = server.server_name(NodeId::new(SERVER));
        let config = server.server_config(&[]).expect("good");
        let outcome = handshake(caller(&cluster, chain, key), config, name);
        assert_refused(outcome.server, outcome.client, error, alert);
    }
}

#[test]
fn a_caller_refuses_servers_and_tells_them_why() {
    let cluster = Cluster::new(1);
    let twin = Cluster::new(1);
    let revoked = cluster.member(SERVER);
    let client = member(cluster.member(CALLER));
    assert_eq!(client.replace_revocations(&cluster.revoked(&[&revoked], 2)), Ok(true));
    for (credentials, error, alert) in [
        (
            cluster.member_valid(SERVER, in_the_past()),
            "Expired",
            AlertDescription::CertificateExpired,
        ),
        (
            cluster.member_valid(SERVER, in_the_future()),
            "NotValidYet",
            AlertDescription::CertificateExpired,
        ),
        (revoked, "Revoked", AlertDescription::CertificateRevoked),
        (twin.member(SERVER), "UnknownIssuer", AlertDescription::UnknownCA),
        (
            cluster.member(SERVER + 1),
            "NotValidForName",
            AlertDescription::BadCertificate,
        ),
    ] {
        let outcome = meet(&client, &member(credentials));
        assert_refused(outcome.client, outcome.server, error, alert);
    }
}

/// Tokens that were made.
struct Known(HashSet<[u8; 32]>);

impl TokenKeys for Known {
    fn knows(&self, public_key: &[u8; 32]) -> bool {
        self.0.contains(public_key)
    }
}

fn token(cluster: &Cluster, secret: u8) -> JoinToken {
    JoinToken {
        cluster: cluster.id,
        node: NodeId::new(SERVER),
        addresses: Vec::new(),
        ca_fingerprint: CaCertificate::fingerprint(cluster.authority.certificate()),
        secret: [secret; 32],
        expires_ms: 0,
    }
}

/// A server that admits the holder of this token.
fn admitting(cluster: &Cluster, token: &JoinToken) -> Identity {
    let server = member(cluster.member(SERVER));
    let known = HashSet::from([token.public_key()]);
    server.accept_tokens(Arc::new(Known(known)));
    server
}

#[test]
fn a_joiner_gets_in_by_its_token_and_is_nothing_but_a_joiner() {
    let cluster = Cluster::new(1);
    let token = token(&cluster, 1);
    let (joiner, server) = (
        Identity::joiner(&token).expect("a good token"),
        admitting(&cluster, &token),
    );
    assert_eq!((joiner.peer(), joiner.cluster()), (JOINER, cluster.id));
    let outcome = meet(&joiner, &server);
    let chain = outcome.server.expect("accepted");
    assert_eq!(server.identify(&chain), Ok(JOINER));
    assert_eq!(server.check(&chain, SystemTime::now()), Ok(()));
    assert_eq!(Identity::token_key(&chain), Some(token.public_key()));
    let chain = outcome.client.expect("accepted");
    assert_eq!(joiner.identify(&chain), Ok(server.peer()));
    assert_eq!(joiner.replace_revocations(&[]), Err(IdentityError::JoinerOnly));
    assert_eq!(joiner.server_config(&[]).err(), Some(IdentityError::JoinerOnly));
}

#[test]
fn names_that_a_joiner_gives_itself_mean_nothing() {
    let cluster = Cluster::new(1);
    let token = token(&cluster, 1);
    let server = admitting(&cluster, &token);
    let key = token.key();
    let mut params = CertificateParams::default();
    let dns = |name: String| SanType::DnsName(name.try_into().expect("a name"));
    params.subject_alt_names = name::member_names(cluster.id, server.peer())
        .into_iter()
        .map(dns)
        .collect();
    let forged = params.self_signed(&**key.pair()).expect("signed").der().clone();
    let name = server.server_name(NodeId::new(SERVER));
    let config = server.server_config(&[]).expect("good");
    let outcome = handshake(caller(&cluster, Some(vec![forged]), &key), config, name);
    assert_eq!(server.identify(&outcome.server.expect("its token is good")), Ok(JOINER));
}

#[test]
fn a_token_mends_no_certificate_that_some_ca_has_signed() {
    let (cluster, other) = (Cluster::new(1), Cluster::new(2));
    let token = token(&cluster, 1);
    let server = admitting(&cluster, &token);
    let now = SystemTime::now();
    let expired = cluster.certify(token.key(), CALLER, in_the_past());
    let revoked = cluster.certify(token.key(), CALLER, now - HOUR..now + HOUR);
    let foreign = other.certify(token.key(), CALLER, now - HOUR..now + HOUR);
    assert_eq!(server.replace_revocations(&cluster.revoked(&[&revoked], 2)), Ok(true));
    for (credentials, error, alert) in [
        (expired, "Expired", AlertDescription::CertificateExpired),
        (revoked, "Revoked", AlertDescription::CertificateRevoked),
        (foreign, "UnknownIssuer", AlertDescription::UnknownCA),
    ] {
        let name = server.server_name(NodeId::new(SERVER));
        let caller = caller(&cluster, Some(vec![credentials.certificate]), &credentials.key);
        let outcome = handshake(caller, server.server_config(&[]).expect("good"), name);
        assert_refused(outcome.server, outcome.client, error, alert);
    }
}

#[test]
fn joiners_and_servers_that_do_not_belong_together_part() {
    let (cluster, twin) = (Cluster::new(1), Cluster::new(1));
    let good = token(&cluster, 1);
    let server = admitting(&cluster, &good);
    let elsewhere = JoinToken {
        node: NodeId::new(SERVER + 1),
        ..good.clone()
    };
    let joiner = |token: &JoinToken| Identity::joiner(token).expect("a good token");
    let unknown = meet(&joiner(&token(&cluster, 2)), &server);
    assert_refused(
        unknown.server,
        unknown.client,
        "UnknownIssuer",
        AlertDescription::UnknownCA,
    );
    let not_admitting = meet(&joiner(&good), &member(cluster.member(SERVER)));
    let (server_side, client_side) = (not_admitting.server, not_admitting.client);
    assert_refused(server_side, client_side, "UnknownIssuer", AlertDescription::UnknownCA);
    let other_ca = meet(&joiner(&token(&twin, 1)), &server);
    assert_refused(
        other_ca.client,
        other_ca.server,
        "UnknownIssuer",
        AlertDescription::UnknownCA,
    );
    let other_node = meet(&joiner(&elsewhere), &server);
    assert_refused(
        other_node.client,
        other_node.server,
        "NotValidForName",
        AlertDescription::BadCertificate,
    );
    let posing = meet(&joiner(&good), &member(cluster.member(SERVER + 1)));
    assert_refused(
        posing.client,
        posing.server,
        "NotValidForName",
        AlertDescription::BadCertificate,
    );
}

#[test]
fn a_joiner_is_not_led_astray_by_a_pinned_ca_that_signed_nothing() {
    let (cluster, evil) = (Cluster::new(1), Cluster::new(1));
    let joiner = Identity::joiner(&token(&cluster, 1)).expect("a good token");
    let credentials = evil.member(SERVER);
    let chain = vec![credentials.certificate.clone(), cluster.authority.certificate().clone()];
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain.clone(), credentials.key.private_key())
        .expect("they fit");
    let name = joiner.server_name(NodeId::new(SERVER));
    let outcome = handshake(joiner.client_config(&[]).expect("good"), Arc::new(config), name);
    let expected = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(outcome.client, Err(expected));
    assert!(matches!(joiner.identify(&chain), Err(IdentityError::ForeignCa { .. })));
}

#[test]
fn new_credentials_are_shown_from_the_next_handshake_on() {
    let cluster = Cluster::new(1);
    let (client, server) = (member(cluster.member(CALLER)), member(cluster.member(SERVER)));
    let changes = server.changes();
    let before = meet(&client, &server).client.expect("accepted");
    let next = cluster.member(SERVER);
    server.replace(next.clone()).expect("the same node");
    let after = meet(&client, &server).client.expect("accepted");
    assert_eq!(after[0], next.certificate);
    assert_ne!(after[0], before[0]);
    assert_eq!(*changes.borrow(), 1);
}

#[test]
fn only_the_same_node_of_the_same_ca_takes_its_place() {
    let (cluster, twin, other) = (Cluster::new(1), Cluster::new(1), Cluster::new(2));
    let server = member(cluster.member(SERVER));
    let (mine, theirs) = (cluster.member(SERVER), cluster.member(SERVER));
    let mixed = NodeCredentials {
        key: theirs.key,
        ..mine
    };
    let foreign = NodeCredentials {
        ca_certificate: twin.authority.certificate().clone(),
        ..cluster.member(SERVER)
    };
    let another = |result: Result<(), IdentityError>| matches!(result, Err(IdentityError::OtherNode { .. }));
    assert!(another(server.replace(cluster.member(SERVER + 1))));
    assert!(another(server.replace(other.member(SERVER))));
    assert_eq!(server.replace(mixed), Err(IdentityError::KeyMismatch));
    for credentials in [foreign, twin.member(SERVER)] {
        assert!(matches!(
            server.replace(credentials),
            Err(IdentityError::ForeignCa { .. })
        ));
    }
    assert_eq!(*server.changes().borrow(), 0);
}

#[test]
fn lists_of_revoked_certificates_only_get_newer() {
    let (cluster, twin) = (Cluster::new(1), Cluster::new(1));
    let revoked = cluster.member(CALLER);
    let (client, server) = (member(revoked.clone()), member(cluster.member(SERVER)));
    let chain = meet(&client, &server).server.expect("accepted");
    let list = cluster.revoked(&[&revoked], 5);
    assert_eq!(server.replace_revocations(&list), Ok(true));
    assert_eq!(
        server.check(&chain, SystemTime::now()),
        Err(IdentityError::Revoked),
        "on a live connection"
    );
    for number in [0, 4, 5] {
        assert_eq!(
            server.replace_revocations(&cluster.revoked(&[], number)),
            Ok(false),
            "{number}"
        );
    }
    let foreign = server.replace_revocations(&twin.revoked(&[], 6));
    assert!(matches!(foreign, Err(IdentityError::ForeignCa { .. })), "{foreign:?}");
    for length in 0..list.len() {
        let truncated = server.replace_revocations(&list[..length]);
        assert!(
            matches!(truncated, Err(IdentityError::Malformed { .. })),
            "{length}: {truncated:?}"
        );
    }
    assert_eq!(server.revocations(), list);
    server.replace(cluster.member(SERVER)).expect("it brings list 1");
    assert_eq!(server.revocations(), list, "the newer list stays");
    assert_eq!(*server.changes().borrow(), 2);
}

#[test]
fn renewal_is_due_after_two_thirds() {
    let cluster = Cluster::new(1);
    // Whole seconds, as certificates have them.
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let node = member(cluster.member_valid(SERVER, start..start + 3 * HOUR));
    assert_eq!(node.certificate_expires(), start + 3 * HOUR);
    for (now, due) in [
        (start, false),
        (start + 2 * HOUR - Duration::from_secs(1), false),
        (start + 2 * HOUR, true),
        (start + 4 * HOUR, true),
    ] {
        assert_eq!(node.renewal_due(now), due);
    }
}

#[test]
fn a_certificate_without_a_role_does_not_get_one() {
    let cluster = Cluster::new(1);
    let node = member(cluster.member(SERVER));
    let names = Certificate::read(&cluster.member(SERVER).certificate)
        .expect("readable")
        .names;
    assert!(
        names.iter().all(|name| !name.starts_with("metadata.role.")),
        "{names:?}"
    );
    assert!(!node.peer().roles.has(Role::Metadata) && !node.peer().roles.has(Role::Operator));
}

#[test]
fn connections_are_not_resumed_and_carry_no_early_data() {
    let cluster = Cluster::new(1);
    let (client, server) = (member(cluster.member(CALLER)), member(cluster.member(SERVER)));
    let (client, server) = (
        client.client_config(&[]).expect("good"),
        server.server_config(&[]).expect("good"),
    );
    assert!(!client.enable_early_data && server.max_early_data_size == 0 && server.send_tls13_tickets == 0);
    let name = name::server_name(cluster.id, NodeId::new(SERVER));
    for _ in 0..2 {
        // `handshake` itself objects to a resumed one.
        let outcome = handshake(Arc::clone(&client), Arc::clone(&server), name.clone());
        assert!(outcome.client.is_ok() && outcome.server.is_ok());
    }
}
