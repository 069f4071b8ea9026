//! Users, keys and rights as the metadata service keeps them, over an operator's way to it.
//!
//! Invariant: what it says of a name was true at one moment; it keeps nothing.

use std::path::Path;

use anyhow::{anyhow, bail};
use bytes::Bytes;
use cairn_common::{
    limits,
    wire::{
        account::{
            AccountChange, AccountCommand, AccountQuery, AccountQuestion, AccountReply, CreateKey, CreateUser,
            DeleteKey, DeleteUser, Grant, KeyAnswer, KeyInfo, Revoke, Rights, UserInfo, UsersQuery,
        },
        command::{Command, ErrorCode},
        query::{Answer, BucketQuery, Query},
    },
};

use super::code;
use crate::cluster::Operator;

/// The way to the accounts.
pub(super) struct Accounts(Operator);

/// What a name or an access key id stands for.
pub(super) struct Found {
    pub(super) user: String,
    pub(super) keys: Vec<KeyInfo>,
    /// The key, where an id was given.
    named: Option<String>,
}

impl Found {
    /// The one key that is meant.
    pub(super) fn key_id(&self) -> anyhow::Result<String> {
        match (&self.named, self.keys.as_slice()) {
            (Some(id), _) => Ok(id.clone()),
            (None, [only]) => Ok(only.key_id.clone()),
            (None, []) => bail!(
                "the making of key {:?} was cut short: delete it, and make it again",
                self.user
            ),
            (None, several) => bail!(
                "{:?} has {} access keys: name one of them by its id, as `cairn key list` shows it",
                self.user,
                several.len()
            ),
        }
    }
}

impl Accounts {
    /// Those of the store or cluster that the directory `data` is of.
    pub(super) async fn reach(data: &Path) -> anyhow::Result<Self> {
        Ok(Self(Operator::reach(data).await?))
    }

    pub(super) async fn create_user(&mut self, name: &str, admin: bool, create_buckets: bool) -> anyhow::Result<()> {
        let create = CreateUser {
            name: name.to_owned(),
            admin,
            may_create_buckets: create_buckets || admin,
        };
        self.change(AccountChange::CreateUser(create)).await
    }

    pub(super) async fn delete_user(&mut self, name: &str) -> anyhow::Result<()> {
        let delete = DeleteUser { name: name.to_owned() };
        self.change(AccountChange::DeleteUser(delete)).await
    }

    pub(super) async fn create_key(&mut self, key_id: &str, user: &str, secret: &str) -> anyhow::Result<()> {
        let create = CreateKey {
            key_id: key_id.to_owned(),
            user: user.to_owned(),
            secret: Bytes::copy_from_slice(secret.as_bytes()),
            note: String::new(),
        };
        self.change(AccountChange::CreateKey(create)).await
    }

    pub(super) async fn delete_key(&mut self, key_id: &str) -> anyhow::Result<()> {
        let delete = DeleteKey {
            key_id: key_id.to_owned(),
        };
        self.change(AccountChange::DeleteKey(delete)).await
    }

    /// Sets what a key may do in a bucket.
    pub(super) async fn grant(&mut self, key_id: &str, bucket: &str, rights: Rights) -> anyhow::Result<()> {
        let grant = Grant {
            key_id: key_id.to_owned(),
            bucket: bucket.to_owned(),
            rights: Some(rights),
        };
        self.change(AccountChange::Grant(grant)).await
    }

    /// Takes all rights in a bucket from a key.
    pub(super) async fn revoke(&mut self, key_id: &str, bucket: &str) -> anyhow::Result<()> {
        let revoke = Revoke {
            key_id: key_id.to_owned(),
            bucket: bucket.to_owned(),
        };
        self.change(AccountChange::Revoke(revoke)).await
    }

    /// The bucket must be there.
    pub(super) async fn require_bucket(&mut self, name: &str) -> anyhow::Result<()> {
        let asked = self.0.query(Query::Bucket(BucketQuery { name: name.to_owned() })).await;
        asked.map(|_| ()).map_err(|error| match code(&error) {
            Some(ErrorCode::NoSuchBucket) => anyhow!("there is no bucket {name:?}: make it first, with the root key"),
            _ => error,
        })
    }

    /// The key of this id.
    pub(super) async fn key(&mut self, key_id: &str) -> anyhow::Result<KeyAnswer> {
        match self.ask(AccountQuestion::Key(key_id.to_owned())).await? {
            AccountReply::Key(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    /// What a name or an access key id stands for.
    pub(super) async fn find(&mut self, name: &str) -> anyhow::Result<Option<Found>> {
        if let Some(keys) = existing(self.keys_of(name).await)? {
            return Ok(Some(Found {
                user: name.to_owned(),
                keys,
                named: None,
            }));
        }
        let Some(answer) = existing(self.key(name).await)? else {
            return Ok(None);
        };
        let user = answer.user.ok_or_else(unexpected)?.name;
        Ok(Some(Found {
            keys: self.keys_of(&user).await?,
            user,
            named: Some(name.to_owned()),
        }))
    }

    /// All users with their keys, by name.
    pub(super) async fn all(&mut self) -> anyhow::Result<Vec<(UserInfo, Vec<KeyInfo>)>> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let query = UsersQuery {
                after,
                limit: u32::try_from(limits::LIST_PAGE_MAX).unwrap_or(u32::MAX),
            };
            let AccountReply::Users(page) = self.ask(AccountQuestion::Users(query)).await? else {
                return Err(unexpected());
            };
            after = page.users.last().map(|user| user.name.clone()).unwrap_or_default();
            let is_last = !page.more;
            for user in page.users {
                // One that was deleted meanwhile is listed no more.
                if let Some(keys) = existing(self.keys_of(&user.name).await)? {
                    all.push((user, keys));
                }
            }
            if is_last {
                return Ok(all);
            }
        }
    }

    pub(super) async fn close(self) {
        self.0.close().await;
    }

    async fn keys_of(&mut self, user: &str) -> anyhow::Result<Vec<KeyInfo>> {
        match self.ask(AccountQuestion::KeysOfUser(user.to_owned())).await? {
            AccountReply::Keys(page) => Ok(page.keys),
            _ => Err(unexpected()),
        }
    }

    async fn ask(&mut self, question: AccountQuestion) -> anyhow::Result<AccountReply> {
        let query = AccountQuery {
            question: Some(question),
        };
        match self.0.query(Query::Account(query)).await? {
            Answer::Account(answer) => answer.reply.ok_or_else(unexpected),
            _ => Err(unexpected()),
        }
    }

    async fn change(&mut self, change: AccountChange) -> anyhow::Result<()> {
        let change = Some(change);
        self.0.change(Command::Account(AccountCommand { change })).await
    }
}

/// Nothing where there is no such user or key.
fn existing<T>(asked: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(code(&error), Some(ErrorCode::NoSuchUser | ErrorCode::NoSuchAccessKey)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn unexpected() -> anyhow::Error {
    anyhow!("the metadata service gave an answer of another kind than was asked for")
}
