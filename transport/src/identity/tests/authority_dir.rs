//! The authority's files: what a crash, another process or a careless hand leaves behind.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    sync::Arc,
    time::{Duration, SystemTime},
};

use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::role::{Role, Roles},
};

use super::HOUR;
use crate::{
    Peer,
    identity::{
        AdmitError, AuthorityDir, AuthorityError, FileError, Identity, JoinToken, LedgerError, NodeCredentials,
        NodeKey, RecoveryKey, RevokeError, TokenKeys as _,
    },
};

const CLUSTER: ClusterId = ClusterId::new([5; 16]);
const CLIENT: Roles = Roles::of(&[Role::Client]);

struct Fixture {
    directory: tempfile::TempDir,
    authority: AuthorityDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = AuthorityDir::create(&directory.path().join("authority"), CLUSTER).expect("made");
        Self { directory, authority }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("authority").join(name)
    }

    fn again(&self) -> Result<AuthorityDir, AuthorityError> {
        AuthorityDir::open(&self.directory.path().join("authority"))
    }

    fn token(&self, lifetime: Duration) -> JoinToken {
        let made = self
            .authority
            .make_token(CLIENT, lifetime, vec!["[::1]:7440".to_owned()], NodeId::new(1));
        made.expect("a token")
    }
}

fn request() -> (NodeKey, bytes::Bytes) {
    let key = NodeKey::make().expect("a key");
    let request = key.certificate_request(CLUSTER).expect("a request");
    (key, request)
}

fn admit(authority: &AuthorityDir, token: &JoinToken, csr: &[u8]) -> Result<Vec<u8>, AdmitError> {
    let key = token.public_key();
    let answer = authority.admit(&key, csr, SystemTime::now())?;
    Ok(answer.certificate.to_vec())
}

#[test]
fn an_authority_is_made_once_and_found_again() {
    let fixture = Fixture::new();
    for (name, mode) in [("ca.key", 0o600), ("ledger.toml", 0o600), ("ca.crt", 0o644)] {
        let found = fs::metadata(fixture.file(name)).expect("it is there").mode() & 0o7777;
        // What the process's own mask takes away is its business.
        assert_eq!(found & !mode, 0, "{name} has mode {found:o}");
    }
    let again = AuthorityDir::create(&fixture.directory.path().join("authority"), CLUSTER);
    assert!(matches!(again, Err(AuthorityError::Exists(_))), "{again:?}");
    assert_eq!(fixture.again().expect("opened").cluster(), CLUSTER);
    let missing = AuthorityDir::open(&fixture.directory.path().join("elsewhere"));
    assert!(
        matches!(missing, Err(AuthorityError::File(FileError::Missing(_)))),
        "{missing:?}"
    );
}

#[test]
fn a_creation_that_a_crash_cut_short_is_begun_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let aside = directory.path().join("authority.new");
    fs::create_dir(&aside).expect("made");
    fs::write(aside.join("ca.key"), "half a k").expect("written");
    let authority = AuthorityDir::create(&directory.path().join("authority"), CLUSTER).expect("made");
    assert!(!aside.exists());
    assert_eq!(authority.members().expect("readable"), []);
}

#[test]
fn single_use_outlives_the_process() {
    let fixture = Fixture::new();
    let token = fixture.token(HOUR);
    let ((key, csr), (_, other_csr)) = (request(), request());
    let now = SystemTime::now();
    let public_key = token.public_key();
    let answer = fixture.authority.admit(&public_key, &csr, now).expect("admitted");
    let first = Identity::member(NodeCredentials::of(answer, key.clone())).expect("they fit");
    let reopened = fixture.again().expect("opened");
    let refused = admit(&reopened, &token, &other_csr);
    assert_eq!(refused, Err(AdmitError::UsedToken));
    let answer = reopened.admit(&public_key, &csr, now).expect("the answer was lost");
    let second = Identity::member(NodeCredentials::of(answer, key)).expect("they fit");
    assert_eq!(first.peer(), second.peer());
    assert_eq!(first.peer().roles, CLIENT);
}

#[test]
fn tokens_that_are_unknown_or_expired_or_requests_that_are_damaged_change_nothing() {
    let fixture = Fixture::new();
    let (_, csr) = request();
    let unknown = Fixture::new().token(HOUR);
    assert_eq!(admit(&fixture.authority, &unknown, &csr), Err(AdmitError::UnknownToken));
    let expired = fixture.token(Duration::ZERO);
    assert_eq!(admit(&fixture.authority, &expired, &csr), Err(AdmitError::ExpiredToken));
    let good = fixture.token(HOUR);
    let before = fs::read(fixture.file("ledger.toml")).expect("readable");
    let damaged = admit(&fixture.authority, &good, &csr[1..]);
    assert!(matches!(damaged, Err(AdmitError::BadRequest(_))), "{damaged:?}");
    assert_eq!(fs::read(fixture.file("ledger.toml")).expect("readable"), before);
    admit(&fixture.authority, &good, &csr).expect("the token is unused");
}

#[test]
fn tokens_made_by_another_process_are_known() {
    let fixture = Fixture::new();
    let server = fixture.again().expect("opened");
    let first = fixture.token(HOUR).public_key();
    assert!(server.knows(&first));
    let second = fixture.token(HOUR).public_key();
    assert!(server.knows(&first) && server.knows(&second) && !server.knows(&[0; 32]));
    fs::write(fixture.file("ledger.toml"), "half a led").expect("written");
    assert!(server.knows(&first), "what was known holds");
}

#[test]
fn a_half_written_ledger_aside_is_passed_over() {
    let fixture = Fixture::new();
    let token = fixture.token(HOUR);
    fs::write(fixture.file("ledger.toml.new"), "version = 1\nnext_no").expect("written");
    let reopened = fixture.again().expect("opened");
    admit(&reopened, &token, &request().1).expect("admitted");
    assert_eq!(reopened.members().expect("readable").len(), 1);
    assert!(!fixture.file("ledger.toml.new").exists());
}

#[test]
fn without_its_ledger_the_authority_admits_nobody() {
    let fixture = Fixture::new();
    let token = fixture.token(HOUR);
    let (_, csr) = request();
    let ledger = fixture.file("ledger.toml");
    let text = fs::read_to_string(&ledger).expect("readable");
    let check = |expected: &str| {
        let refused = admit(&fixture.authority, &token, &csr).expect_err("no ledger");
        assert!(
            matches!(&refused, AdmitError::Storage(text) if text.contains(expected)),
            "{refused:?}"
        );
    };
    fs::remove_file(&ledger).expect("removed");
    check("does not exist");
    let opened = fixture.again();
    assert!(
        matches!(opened, Err(AuthorityError::File(FileError::Missing(_)))),
        "{opened:?}"
    );
    fs::write(&ledger, &text[..text.len() / 2]).expect("written");
    check("damaged");
    let opened = fixture.again();
    assert!(
        matches!(opened, Err(AuthorityError::Ledger(LedgerError::Damaged(_)))),
        "{opened:?}"
    );
}

#[test]
fn a_ca_key_that_others_can_read_is_refused() {
    let fixture = Fixture::new();
    fs::set_permissions(fixture.file("ca.key"), fs::Permissions::from_mode(0o640)).expect("the own file");
    let error = fixture.again().expect_err("it is open").to_string();
    assert!(error.contains("chmod 600") && error.contains("ca.key"), "{error}");
}

#[test]
fn renewal_and_revocation_follow_the_ledger() {
    let fixture = Fixture::new();
    let answer = fixture
        .authority
        .enrol(CLIENT, &request().1, SystemTime::now())
        .expect("enrolled");
    let (key, csr) = request();
    let now = SystemTime::now();
    let own = |node| Peer {
        node: NodeId::new(node),
        // Another part of the same process: its roles say nothing about the certificate.
        roles: Roles::MEMBER,
    };
    let renewed = fixture.authority.renew(own(1), &csr, now).expect("renewed");
    assert_ne!(renewed.certificate, answer.certificate);
    let identity = Identity::member(NodeCredentials::of(renewed, key)).expect("they fit");
    assert_eq!(
        identity.peer(),
        Peer {
            roles: CLIENT,
            ..own(1)
        }
    );
    assert_eq!(fixture.authority.revoke(NodeId::new(1)).expect("known"), 2);
    let refused = fixture.authority.renew(own(1), &csr, now);
    assert_eq!(refused, Err(AdmitError::RevokedNode(NodeId::new(1))));
    let list = fixture.authority.revocations().expect("a list");
    assert_eq!(identity.replace_revocations(&list), Ok(true));
    let unknown = fixture.authority.revoke(NodeId::new(9));
    assert!(
        matches!(unknown, Err(AuthorityError::Revoke(RevokeError::UnknownNode(_)))),
        "{unknown:?}"
    );
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let fixture = Fixture::new();
    let processes: Vec<_> = (0..4).map(|_| Arc::new(fixture.again().expect("opened"))).collect();
    let tokens: Vec<JoinToken> = std::thread::scope(|scope| {
        let making = processes.iter().map(|authority| {
            scope.spawn(move || {
                let make = |_| {
                    authority
                        .make_token(CLIENT, HOUR, Vec::new(), NodeId::new(1))
                        .expect("a token")
                };
                (0..5).map(make).collect::<Vec<_>>()
            })
        });
        let making: Vec<_> = making.collect();
        making
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert_eq!(tokens.len(), 20);
    let ids: std::collections::BTreeSet<_> = tokens
        .iter()
        .map(|token| admit(&fixture.authority, token, &request().1).expect("known"))
        .collect();
    assert_eq!(ids.len(), 20);
    assert_eq!(fixture.authority.members().expect("readable").len(), 20);
}

#[test]
fn an_authority_is_made_again_from_a_copy_and_gives_nothing_out_twice() {
    let fixture = Fixture::new();
    let (own, elsewhere) = (NodeId::new(1), fixture.directory.path().join("elsewhere"));
    assert_eq!(fixture.authority.copy(own).expect("read"), None, "no recovery key yet");
    let [old_key, key] = [(); 2].map(|()| RecoveryKey::make().expect("a key"));
    for key in [&old_key, &key] {
        fixture.authority.seal(key).expect("sealed");
    }
    let token = fixture.token(HOUR);
    let (_, csr) = request();
    admit(&fixture.authority, &token, &csr).expect("admitted");
    let copy = fixture.authority.copy(own).expect("read").expect("a copy");
    // What is decided behind the copy is not in it.
    let late = fixture.token(HOUR);
    admit(&fixture.authority, &late, &request().1).expect("admitted");

    let refused = AuthorityDir::recover(&elsewhere, &copy, &old_key);
    assert!(matches!(refused, Err(AuthorityError::Recovery(_))), "{refused:?}");
    assert!(!elsewhere.exists());
    let again = AuthorityDir::recover(&elsewhere, &copy, &key).expect("made again");
    assert_eq!(again.cluster(), CLUSTER);
    assert!(matches!(
        admit(&again, &late, &request().1),
        Err(AdmitError::UnknownToken)
    ));
    let nodes = |authority: &AuthorityDir| -> Vec<u64> {
        let members = authority.members().expect("read");
        members.iter().map(|member| member.node.value()).collect()
    };
    let before = nodes(&fixture.authority);
    let token = again
        .make_token(CLIENT, HOUR, vec!["[::1]:7440".to_owned()], NodeId::new(2))
        .expect("a token");
    admit(&again, &token, &request().1).expect("admitted");
    let new = nodes(&again).into_iter().max().expect("a node");
    assert!(before.iter().all(|node| *node < new), "{before:?} {new}");
    // It can be recovered again by the same key, in a later term.
    let newer = again.copy(NodeId::new(2)).expect("read").expect("a copy");
    assert!(newer.term > copy.term);
    let third = AuthorityDir::recover(&fixture.directory.path().join("third"), &newer, &key).expect("made again");
    let last = third.copy(NodeId::new(3)).expect("read").expect("a copy");
    assert!(last.term > newer.term);
}
