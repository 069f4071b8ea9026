//! Users, their access keys, and what a key may do in which bucket.
//!
//! Invariant: a key's id names one key, a key belongs to one user, and a right names one key and one bucket; what a record
//! belongs to is there for as long as the record is.

use bytes::Bytes;
use prost::{Message, Oneof};

/// A change of users, keys or rights. Numbered: it happens exactly once.
#[derive(Clone, PartialEq, Message)]
pub struct AccountCommand {
    /// What is to change.
    #[prost(oneof = "AccountChange", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub change: Option<AccountChange>,
}

/// A change of users, keys or rights.
#[derive(Clone, PartialEq, Oneof)]
pub enum AccountChange {
    /// Makes a user.
    #[prost(message, tag = "1")]
    CreateUser(CreateUser),
    /// Changes a user.
    #[prost(message, tag = "2")]
    UpdateUser(UpdateUser),
    /// Deletes a user with all its keys and their rights.
    #[prost(message, tag = "3")]
    DeleteUser(DeleteUser),
    /// Makes a key of a user.
    #[prost(message, tag = "4")]
    CreateKey(CreateKey),
    /// Changes a key.
    #[prost(message, tag = "5")]
    UpdateKey(UpdateKey),
    /// Deletes a key with its rights.
    #[prost(message, tag = "6")]
    DeleteKey(DeleteKey),
    /// Sets what a key may do in a bucket, in place of what it might before.
    #[prost(message, tag = "7")]
    Grant(Grant),
    /// Takes all rights in a bucket from a key; taking none succeeds.
    #[prost(message, tag = "8")]
    Revoke(Revoke),
}

impl AccountCommand {
    /// Whether the command adds records.
    pub const fn adds_data(&self) -> bool {
        match &self.change {
            Some(AccountChange::CreateUser(_) | AccountChange::CreateKey(_) | AccountChange::Grant(_)) => true,
            None
            | Some(
                AccountChange::UpdateUser(_)
                | AccountChange::DeleteUser(_)
                | AccountChange::UpdateKey(_)
                | AccountChange::DeleteKey(_)
                | AccountChange::Revoke(_),
            ) => false,
        }
    }
}

/// Makes a user; refused where the name is taken.
#[derive(Clone, PartialEq, Message)]
pub struct CreateUser {
    /// Its name: 1 to 64 of letters, digits and `+=,.@_-`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Whether it may do everything, in every bucket, and change users.
    #[prost(bool, tag = "2")]
    pub admin: bool,
    /// Whether it may make buckets, which its key then owns.
    #[prost(bool, tag = "3")]
    pub may_create_buckets: bool,
}

/// Changes a user: what is left out stays.
#[derive(Clone, PartialEq, Message)]
pub struct UpdateUser {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// See [`CreateUser::admin`].
    #[prost(bool, optional, tag = "2")]
    pub admin: Option<bool>,
    /// See [`CreateUser::may_create_buckets`].
    #[prost(bool, optional, tag = "3")]
    pub may_create_buckets: Option<bool>,
}

/// Deletes a user with all its keys and their rights.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteUser {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Makes a key; refused where the id is taken.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct CreateKey {
    /// Its id: 3 to 128 of letters, digits, `_` and `-`.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The user that it is of.
    #[prost(string, tag = "2")]
    pub user: String,
    /// The secret as the sender wants it kept: 1 to 256 bytes, which mean nothing here.
    #[prost(bytes = "bytes", tag = "3")]
    pub secret: Bytes,
    /// What a person noted: up to 256 bytes.
    #[prost(string, tag = "4")]
    pub note: String,
}

/// Changes a key: what is left out stays.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct UpdateKey {
    /// Its id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// Whether it is accepted.
    #[prost(bool, optional, tag = "2")]
    pub enabled: Option<bool>,
    /// A new secret.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub secret: Option<Bytes>,
    /// A new note.
    #[prost(string, optional, tag = "4")]
    pub note: Option<String>,
}

/// Deletes a key with its rights.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteKey {
    /// Its id.
    #[prost(string, tag = "1")]
    pub key_id: String,
}

/// What a key may do in a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Rights {
    /// Read and list objects.
    #[prost(bool, tag = "1")]
    pub read: bool,
    /// Write and delete objects.
    #[prost(bool, tag = "2")]
    pub write: bool,
    /// Change the bucket's settings, and delete it.
    #[prost(bool, tag = "3")]
    pub owner: bool,
}

impl Rights {
    /// Whether none is given.
    pub const fn is_empty(&self) -> bool {
        !self.read && !self.write && !self.owner
    }
}

/// Sets what a key may do in a bucket.
#[derive(Clone, PartialEq, Message)]
pub struct Grant {
    /// The key's id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The bucket's name.
    #[prost(string, tag = "2")]
    pub bucket: String,
    /// One right at least.
    #[prost(message, optional, tag = "3")]
    pub rights: Option<Rights>,
}

/// Takes all rights in a bucket from a key.
#[derive(Clone, PartialEq, Message)]
pub struct Revoke {
    /// The key's id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The bucket's name.
    #[prost(string, tag = "2")]
    pub bucket: String,
}

/// A question about users, keys or rights.
#[derive(Clone, PartialEq, Message)]
pub struct AccountQuery {
    /// What is asked.
    #[prost(oneof = "AccountQuestion", tags = "1, 2, 3, 4, 5")]
    pub question: Option<AccountQuestion>,
}

/// A question about users, keys or rights.
#[derive(Clone, PartialEq, Oneof)]
pub enum AccountQuestion {
    /// The user of this name.
    #[prost(string, tag = "1")]
    User(String),
    /// A page of users by name.
    #[prost(message, tag = "2")]
    Users(UsersQuery),
    /// The key of this id, with its user and all its rights.
    #[prost(string, tag = "3")]
    Key(String),
    /// All keys of the user of this name, without secrets.
    #[prost(string, tag = "4")]
    KeysOfUser(String),
    /// A page of the keys that have rights in a bucket.
    #[prost(message, tag = "5")]
    RightsOfBucket(BucketRightsQuery),
}

/// A page of users in order of their names.
#[derive(Clone, PartialEq, Message)]
pub struct UsersQuery {
    /// Only users behind this name.
    #[prost(string, tag = "1")]
    pub after: String,
    /// Users at most.
    #[prost(uint32, tag = "2")]
    pub limit: u32,
}

/// A page of the keys that have rights in a bucket, in order of their ids.
#[derive(Clone, PartialEq, Message)]
pub struct BucketRightsQuery {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// Only keys behind this id.
    #[prost(string, tag = "2")]
    pub after: String,
    /// Keys at most.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
}

/// The answer to a question about users, keys or rights.
#[derive(Clone, PartialEq, Message)]
pub struct AccountAnswer {
    /// The answer, of the kind of the question.
    #[prost(oneof = "AccountReply", tags = "1, 2, 3, 4, 5")]
    pub reply: Option<AccountReply>,
}

/// The answer to a question about users, keys or rights.
#[derive(Clone, PartialEq, Oneof)]
pub enum AccountReply {
    /// A user.
    #[prost(message, tag = "1")]
    User(UserInfo),
    /// A page of users.
    #[prost(message, tag = "2")]
    Users(UsersPage),
    /// A key.
    #[prost(message, tag = "3")]
    Key(KeyAnswer),
    /// Keys of a user.
    #[prost(message, tag = "4")]
    Keys(KeysPage),
    /// Rights in a bucket.
    #[prost(message, tag = "5")]
    Rights(RightsPage),
}

/// A user.
#[derive(Clone, PartialEq, Message)]
pub struct UserInfo {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// See [`CreateUser::admin`].
    #[prost(bool, tag = "2")]
    pub admin: bool,
    /// See [`CreateUser::may_create_buckets`].
    #[prost(bool, tag = "3")]
    pub may_create_buckets: bool,
    /// When it was made, in milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub created_ms: u64,
    /// Its keys.
    #[prost(uint32, tag = "5")]
    pub keys: u32,
}

/// A page of users.
#[derive(Clone, PartialEq, Message)]
pub struct UsersPage {
    /// The users.
    #[prost(message, repeated, tag = "1")]
    pub users: Vec<UserInfo>,
    /// Whether more follow.
    #[prost(bool, tag = "2")]
    pub more: bool,
}

/// A key, without its secret.
#[derive(Clone, PartialEq, Message)]
pub struct KeyInfo {
    /// Its id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The name of its user.
    #[prost(string, tag = "2")]
    pub user: String,
    /// Whether it is accepted.
    #[prost(bool, tag = "3")]
    pub enabled: bool,
    /// When it was made, in milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub created_ms: u64,
    /// What a person noted.
    #[prost(string, tag = "5")]
    pub note: String,
}

/// A key with all that decides what it may do.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct KeyAnswer {
    /// The key.
    #[prost(message, optional, tag = "1")]
    pub key: Option<KeyInfo>,
    /// Its secret.
    #[prost(bytes = "bytes", tag = "2")]
    pub secret: Bytes,
    /// Its user.
    #[prost(message, optional, tag = "3")]
    pub user: Option<UserInfo>,
    /// Its rights, by bucket number.
    #[prost(message, repeated, tag = "4")]
    pub rights: Vec<BucketRight>,
}

/// Keys of a user.
#[derive(Clone, PartialEq, Message)]
pub struct KeysPage {
    /// The keys, by id.
    #[prost(message, repeated, tag = "1")]
    pub keys: Vec<KeyInfo>,
}

/// What one key may do in one bucket.
#[derive(Clone, PartialEq, Message)]
pub struct BucketRight {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The bucket's number.
    #[prost(uint64, tag = "2")]
    pub bucket_id: u64,
    /// The key's id.
    #[prost(string, tag = "3")]
    pub key_id: String,
    /// What it may do.
    #[prost(message, optional, tag = "4")]
    pub rights: Option<Rights>,
}

/// A page of rights in a bucket.
#[derive(Clone, PartialEq, Message)]
pub struct RightsPage {
    /// The rights, by key id.
    #[prost(message, repeated, tag = "1")]
    pub rights: Vec<BucketRight>,
    /// Whether more follow.
    #[prost(bool, tag = "2")]
    pub more: bool,
}

/// Stands for a secret where a message is printed.
const HIDDEN: &str = "(secret)";

impl std::fmt::Debug for CreateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateKey")
            .field("key_id", &self.key_id)
            .field("user", &self.user)
            .field("secret", &HIDDEN)
            .field("note", &self.note)
            .finish()
    }
}

impl std::fmt::Debug for UpdateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpdateKey")
            .field("key_id", &self.key_id)
            .field("enabled", &self.enabled)
            .field("secret", &self.secret.as_ref().map(|_| HIDDEN))
            .field("note", &self.note)
            .finish()
    }
}

impl std::fmt::Debug for KeyAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyAnswer")
            .field("key", &self.key)
            .field("secret", &HIDDEN)
            .field("user", &self.user)
            .field("rights", &self.rights)
            .finish()
    }
}
