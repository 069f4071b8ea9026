//! The ledger's decisions and its text.

use cairn_common::{
    ids::NodeId,
    wire::role::{Role, Roles},
};
use proptest::prelude::*;

use crate::identity::{AdmitError, Ledger, LedgerError, RevokeError, ledger::Grant};

const CLIENT: Roles = Roles::of(&[Role::Client]);
const TOKEN: [u8; 32] = [1; 32];
const KEY: [u8; 32] = [2; 32];
const OTHER_KEY: [u8; 32] = [3; 32];
const NOW: u64 = 1_000_000;
const END: u64 = NOW + 1000;
const DAY: u64 = 24 * 60 * 60 * 1000;

fn with_token() -> Ledger {
    let mut ledger = Ledger::new();
    ledger.add_token(TOKEN, CLIENT, END, NOW).expect("a good role");
    ledger
}

fn admitted(ledger: &mut Ledger, key: [u8; 32], now: u64) -> Result<NodeId, AdmitError> {
    let grant = ledger.admit(&TOKEN, key, now)?;
    ledger.record(
        grant,
        vec![u8::try_from(ledger.members().len()).expect("few"), 9],
        NOW + DAY,
        now,
    );
    Ok(grant.node)
}

#[test]
fn a_token_lets_one_key_in_as_one_node() {
    let mut ledger = with_token();
    let first = admitted(&mut ledger, KEY, NOW);
    assert_eq!(first, Ok(NodeId::new(1)));
    assert_eq!(admitted(&mut ledger, KEY, NOW + 1), first, "the answer was lost");
    assert_eq!(admitted(&mut ledger, OTHER_KEY, NOW + 1), Err(AdmitError::UsedToken));
    assert_eq!(admitted(&mut ledger, KEY, END), Err(AdmitError::ExpiredToken));
    assert_eq!(ledger.enrol(CLIENT).node, NodeId::new(2));
}

#[test]
fn tokens_that_are_expired_or_unknown_are_refused() {
    for now in [END, END + 1, END + 7 * DAY] {
        assert_eq!(admitted(&mut with_token(), KEY, now), Err(AdmitError::ExpiredToken));
    }
    assert_eq!(Ledger::new().admit(&TOKEN, KEY, NOW), Err(AdmitError::UnknownToken));
    let mut ledger = with_token();
    ledger
        .add_token([9; 32], CLIENT, END + 30 * DAY, END + 7 * DAY)
        .expect("a good role");
    assert_eq!(
        ledger.token_keys().count(),
        2,
        "expired tokens are remembered for 7 days"
    );
    ledger
        .add_token([8; 32], CLIENT, END + 30 * DAY, END + 7 * DAY + 1)
        .expect("a good role");
    assert_eq!(ledger.token_keys().collect::<Vec<_>>(), [[9; 32], [8; 32]]);
}

#[test]
fn tokens_need_roles_that_a_node_can_have() {
    for roles in [
        Roles::NONE,
        Roles::of(&[Role::Joiner]),
        Roles::of(&[Role::Joiner, Role::Client]),
    ] {
        let refused = Ledger::new().add_token(TOKEN, roles, END, NOW);
        assert_eq!(refused, Err(LedgerError::BadRoles(roles)));
    }
}

#[test]
fn renewal_keeps_node_and_roles() {
    let mut ledger = with_token();
    assert_eq!(
        ledger.renew(NodeId::new(1), NOW),
        Err(AdmitError::UnknownNode(NodeId::new(1)))
    );
    let node = admitted(&mut ledger, KEY, NOW).expect("admitted");
    assert_eq!(ledger.renew(node, NOW), Ok(Grant { node, roles: CLIENT }));
}

#[test]
fn a_revoked_node_gets_nothing_more() {
    let mut ledger = with_token();
    let node = admitted(&mut ledger, KEY, NOW).expect("admitted");
    admitted(&mut ledger, KEY, NOW).expect("admitted again");
    assert_eq!(ledger.crl_number(), 1);
    assert_eq!(ledger.revoke(node, NOW), Ok(2));
    assert_eq!((ledger.crl_number(), ledger.revoked_serials().count()), (2, 2));
    assert_eq!(ledger.revoke(node, NOW), Ok(0));
    assert_eq!(ledger.crl_number(), 2, "the list did not change");
    assert_eq!(ledger.renew(node, NOW), Err(AdmitError::RevokedNode(node)));
    assert_eq!(admitted(&mut ledger, KEY, NOW), Err(AdmitError::ExpiredToken));
    assert!(ledger.members()[0].revoked);
    let unknown = NodeId::new(77);
    assert_eq!(ledger.revoke(unknown, NOW), Err(RevokeError::UnknownNode(unknown)));
}

#[test]
fn a_node_cannot_fill_the_ledger() {
    let mut ledger = with_token();
    let granted = (0..100).take_while(|_| admitted(&mut ledger, KEY, NOW).is_ok()).count();
    assert_eq!(granted, 16);
    assert!(matches!(
        ledger.renew(NodeId::new(1), NOW),
        Err(AdmitError::BadRequest(_))
    ));
    assert!(
        ledger.renew(NodeId::new(1), NOW + DAY).is_ok(),
        "the old ones have expired"
    );
}

/// The first version, as it was first written: it must always be read.
const STORED: &str = r#"version = 1
next_node = 2
crl_number = 2

[[tokens]]
public_key = "0101010101010101010101010101010101010101010101010101010101010101"
roles = ["client"]
expires_ms = 1000000

[tokens.used]
by = "0202020202020202020202020202020202020202020202020202020202020202"
node = 1

[[certificates]]
serial = "0009"
node = 1
roles = ["client"]
expires_ms = 87400000
revoked = true
"#;

#[test]
fn the_stored_ledger_is_read() {
    let mut ledger = with_token();
    let node = admitted(&mut ledger, KEY, NOW).expect("admitted");
    ledger.revoke(node, NOW).expect("known");
    assert_eq!(ledger.to_text().as_deref(), Ok(STORED));
    assert_eq!(Ledger::parse(STORED), Ok(ledger));
}

#[test]
fn damaged_ledgers_are_refused() {
    for (from, to) in [
        ("version = 1\n", ""),
        ("version = 1\n", "version = \"one\"\n"),
        ("next_node = 2", "next_node = 1"),
        ("next_node = 2\n", ""),
        ("by = \"02", "by = \"zz"),
        ("by = \"02", "by = \""),
        ("node = 1\n\n", "\n\n"),
        ("public_key", "key"),
        ("\"client\"", "\"root\""),
        ("\"client\"", "\"joiner\""),
        ("\"client\"", ""),
        ("revoked = true", "revoked = tr"),
    ] {
        assert!(STORED.contains(from), "{from}");
        let found = Ledger::parse(&STORED.replacen(from, to, 1));
        assert!(
            matches!(found, Err(LedgerError::Damaged(_))),
            "{from} -> {to}: {found:?}"
        );
    }
    let later = STORED.replace("version = 1", "version = 2\nnew = 1");
    assert_eq!(Ledger::parse(&later), Err(LedgerError::UnknownVersion(2)));
}

#[derive(Clone, Debug)]
enum Event {
    Token(u8, u64),
    Admit(u8, u8),
    Enrol,
    Renew(u64),
    Revoke(u64),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..4_u8, 0..3 * DAY).prop_map(|(token, life)| Event::Token(token, life)),
        (0..4_u8, 0..3_u8).prop_map(|(token, key)| Event::Admit(token, key)),
        Just(Event::Enrol),
        (0..8_u64).prop_map(Event::Renew),
        (0..8_u64).prop_map(Event::Revoke),
        (0..5 * DAY).prop_map(Event::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_ids_are_given_once_and_the_text_holds_all(events in prop::collection::vec(event(), 0..60)) {
        let (mut ledger, mut now, mut serial) = (Ledger::new(), NOW, 0_u32);
        let mut holders = std::collections::HashMap::new();
        let mut shut_out = std::collections::HashSet::new();
        for event in events {
            let number = ledger.crl_number();
            let mut hand_out = |ledger: &mut Ledger, grant: Grant| {
                serial += 1;
                ledger.record(grant, serial.to_be_bytes().to_vec(), now + 2 * DAY, now);
            };
            match event {
                // A token's key is random: the same one is never made again.
                Event::Token(token, life) if !ledger.token_keys().any(|key| key == [token; 32]) => {
                    ledger.add_token([token; 32], CLIENT, now + life, now).expect("a good role");
                }
                Event::Admit(token, key) => {
                    if let Ok(grant) = ledger.admit(&[token; 32], [key; 32], now) {
                        prop_assert!(!shut_out.contains(&grant.node));
                        prop_assert_eq!(*holders.entry(grant.node).or_insert(key), key);
                        hand_out(&mut ledger, grant);
                    }
                }
                Event::Enrol => {
                    let grant = ledger.enrol(CLIENT);
                    prop_assert!(holders.insert(grant.node, u8::MAX).is_none());
                    hand_out(&mut ledger, grant);
                }
                Event::Renew(node) => {
                    if let Ok(grant) = ledger.renew(NodeId::new(node), now) {
                        prop_assert!(!shut_out.contains(&grant.node) && holders.contains_key(&grant.node));
                        hand_out(&mut ledger, grant);
                    }
                }
                Event::Revoke(node) => {
                    if ledger.revoke(NodeId::new(node), now).is_ok_and(|count| count > 0) {
                        prop_assert_eq!(ledger.crl_number(), number + 1);
                        shut_out.insert(NodeId::new(node));
                    }
                }
                Event::Wait(time) => now += time,
                Event::Token(..) => {}
            }
            let text = ledger.to_text().expect("it can be written");
            prop_assert_eq!(Ledger::parse(&text), Ok(ledger.clone()));
        }
    }
}
