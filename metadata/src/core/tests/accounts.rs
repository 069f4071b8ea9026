//! Users, keys and rights.

use bytes::Bytes;
use cairn_common::{
    limits,
    wire::{
        account::{
            AccountChange, AccountCommand, AccountQuery, AccountQuestion, AccountReply, BucketRightsQuery, CreateKey,
            CreateUser, DeleteKey, DeleteUser, Grant, Revoke, Rights, UpdateKey, UpdateUser, UsersQuery,
        },
        command::{Command, CreateBucket, DeleteBucket, ErrorCode, Outcome},
        query::{Answer, Query},
    },
};

use super::{
    harness::{BUCKET, Machine},
    release::count,
};
use crate::core::view::Family;

const READ: Rights = Rights {
    read: true,
    write: false,
    owner: false,
};

impl Machine {
    fn account(&mut self, change: AccountChange) -> Result<Outcome, ErrorCode> {
        self.run(Command::Account(AccountCommand { change: Some(change) }))
    }

    fn user(&mut self, name: &str) -> Result<Outcome, ErrorCode> {
        self.account(AccountChange::CreateUser(CreateUser {
            name: name.to_owned(),
            admin: false,
            may_create_buckets: true,
        }))
    }

    fn access_key(&mut self, user: &str, key_id: &str) -> Result<Outcome, ErrorCode> {
        self.account(AccountChange::CreateKey(CreateKey {
            key_id: key_id.to_owned(),
            user: user.to_owned(),
            secret: Bytes::from_static(b"secret"),
            note: String::new(),
        }))
    }

    fn grant(&mut self, key_id: &str, bucket: &str, rights: Rights) -> Result<Outcome, ErrorCode> {
        self.account(AccountChange::Grant(Grant {
            key_id: key_id.to_owned(),
            bucket: bucket.to_owned(),
            rights: Some(rights),
        }))
    }

    fn asked(&self, question: AccountQuestion) -> Result<AccountReply, ErrorCode> {
        let question = Some(question);
        match self.ask(Query::Account(AccountQuery { question })) {
            Answer::Account(answer) => Ok(answer.reply.expect("a reply")),
            Answer::Refused(refusal) => Err(refusal.code()),
            other => panic!("no account: {other:?}"),
        }
    }

    /// (bucket, may read, owns) of a key.
    fn rights(&self, key_id: &str) -> Vec<(String, bool, bool)> {
        let Ok(AccountReply::Key(answer)) = self.asked(AccountQuestion::Key(key_id.to_owned())) else {
            panic!("no key {key_id}")
        };
        let right = |right: cairn_common::wire::account::BucketRight| {
            let rights = right.rights.expect("rights");
            (right.bucket, rights.read, rights.owner)
        };
        answer.rights.into_iter().map(right).collect()
    }
}

#[test]
fn users_and_keys_have_unique_names_and_a_key_tells_all_that_decides() {
    let mut machine = Machine::new();
    machine.user("ann").expect("a user");
    assert_eq!(machine.user("ann"), Err(ErrorCode::AccountExists));
    assert_eq!(machine.user("a b"), Err(ErrorCode::Malformed));
    machine.access_key("ann", "KEY1").expect("a key");
    machine.user("bob").expect("a user");
    assert_eq!(machine.access_key("bob", "KEY1"), Err(ErrorCode::AccountExists));
    assert_eq!(machine.access_key("eve", "KEY2"), Err(ErrorCode::NoSuchUser));
    machine.grant("KEY1", BUCKET, READ).expect("a grant");
    assert_eq!(
        machine.grant("KEY1", BUCKET, Rights::default()),
        Err(ErrorCode::Malformed)
    );
    assert_eq!(machine.grant("KEY1", "none", READ), Err(ErrorCode::NoSuchBucket));
    machine
        .account(AccountChange::UpdateUser(UpdateUser {
            name: "ann".to_owned(),
            admin: Some(true),
            may_create_buckets: None,
        }))
        .expect("an update");
    machine
        .account(AccountChange::UpdateKey(UpdateKey {
            key_id: "KEY1".to_owned(),
            enabled: Some(false),
            secret: Some(Bytes::from_static(b"new")),
            note: None,
        }))
        .expect("an update");
    let Ok(AccountReply::Key(answer)) = machine.asked(AccountQuestion::Key("KEY1".to_owned())) else {
        panic!("no key")
    };
    assert!(!format!("{answer:?}").contains("new"), "a secret is not printed");
    let user = answer.user.expect("a user");
    assert_eq!(
        (user.name.as_str(), user.admin, user.may_create_buckets, user.keys),
        ("ann", true, true, 1)
    );
    assert_eq!(
        (answer.key.map(|key| key.enabled), answer.secret),
        (Some(false), Bytes::from_static(b"new"))
    );
    assert_eq!(machine.rights("KEY1"), [(BUCKET.to_owned(), true, false)]);
    machine
        .account(AccountChange::Revoke(Revoke {
            key_id: "KEY1".to_owned(),
            bucket: BUCKET.to_owned(),
        }))
        .expect("revoked");
    assert_eq!(machine.rights("KEY1"), []);
}

#[test]
fn deleting_a_user_leaves_nothing_of_its_keys_and_rights() {
    let mut machine = Machine::new();
    machine.user("ann").expect("a user");
    for number in 0..limits::KEYS_PER_USER_MAX {
        let key_id = format!("KEY-{number}");
        machine.access_key("ann", &key_id).expect("a key");
        machine.grant(&key_id, BUCKET, READ).expect("a grant");
    }
    assert_eq!(machine.access_key("ann", "KEY-more"), Err(ErrorCode::LimitExceeded));
    let page = |after: &str| BucketRightsQuery {
        bucket: BUCKET.to_owned(),
        after: after.to_owned(),
        limit: 10,
    };
    let Ok(AccountReply::Rights(first)) = machine.asked(AccountQuestion::RightsOfBucket(page(""))) else {
        panic!("no rights")
    };
    let last = first.rights.last().expect("a right").key_id.clone();
    let Ok(AccountReply::Rights(second)) = machine.asked(AccountQuestion::RightsOfBucket(page(&last))) else {
        panic!("no rights")
    };
    assert_eq!(
        (first.rights.len(), first.more, second.rights.len(), second.more),
        (10, true, 6, false)
    );
    let key_id = "KEY-3".to_owned();
    machine
        .account(AccountChange::DeleteKey(DeleteKey { key_id }))
        .expect("a key deleted");
    let Ok(AccountReply::Keys(keys)) = machine.asked(AccountQuestion::KeysOfUser("ann".to_owned())) else {
        panic!("no keys")
    };
    assert_eq!(keys.keys.len(), 15);
    let name = "ann".to_owned();
    machine
        .account(AccountChange::DeleteUser(DeleteUser { name }))
        .expect("a user deleted");
    assert_eq!(count(&machine, Family::User), 0);
    assert_eq!(
        machine.asked(AccountQuestion::User("ann".to_owned())),
        Err(ErrorCode::NoSuchUser)
    );
}

#[test]
fn a_new_bucket_may_have_an_owner_and_its_rights_go_with_it() {
    let mut machine = Machine::new();
    let create = |owner_key: &str| CreateBucket {
        name: "owned".to_owned(),
        data_shards: 4,
        parity_shards: 2,
        chunk_size_bytes: 0,
        owner_key: owner_key.to_owned(),
    };
    assert_eq!(
        machine.run(Command::CreateBucket(create("KEY1"))),
        Err(ErrorCode::NoSuchAccessKey)
    );
    machine.user("ann").expect("a user");
    machine.access_key("ann", "KEY1").expect("a key");
    machine.run(Command::CreateBucket(create("KEY1"))).expect("a bucket");
    assert_eq!(machine.rights("KEY1"), [("owned".to_owned(), true, true)]);
    let name = "owned".to_owned();
    machine
        .run(Command::DeleteBucket(DeleteBucket { name }))
        .expect("deleted");
    assert_eq!(machine.rights("KEY1"), []);
}

#[test]
fn users_are_listed_by_name() {
    let mut machine = Machine::new();
    for name in ["c", "a", "b"] {
        machine.user(name).expect("a user");
    }
    let page = |after: &str| {
        let after = after.to_owned();
        match machine.asked(AccountQuestion::Users(UsersQuery { after, limit: 2 })) {
            Ok(AccountReply::Users(page)) => (
                page.users.into_iter().map(|user| user.name).collect::<Vec<_>>(),
                page.more,
            ),
            other => panic!("no users: {other:?}"),
        }
    };
    assert_eq!(page(""), (vec!["a".to_owned(), "b".to_owned()], true));
    assert_eq!(page("b"), (vec!["c".to_owned()], false));
}
