//! Users, their access keys, and rights in buckets.
//!
//! ```text
//! family user   key 00 | user name                        → UserRecord
//!               key 01 | key id                           → AccessKeyRecord
//!               key 02 | user name, escaped | key id      → empty
//!               key 03 | key id, escaped | bucket u64     → GrantRecord
//!               key 04 | bucket u64 | key id              → GrantRecord
//! ```

use bytes::Bytes;
use cairn_common::{envelope::Record, ids::BucketId, wire::account::Rights};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::{KeyWriter, u64_at},
};

/// A user.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UserRecord {
    #[prost(bool, tag = "1")]
    pub(crate) admin: bool,
    #[prost(bool, tag = "2")]
    pub(crate) may_create_buckets: bool,
    #[prost(uint64, tag = "3")]
    pub(crate) created_ms: u64,
    /// Keys of the user.
    #[prost(uint32, tag = "4")]
    pub(crate) keys: u32,
}

impl Record for UserRecord {
    const VERSION: u8 = 1;
}

/// An access key.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct AccessKeyRecord {
    #[prost(string, tag = "1")]
    pub(crate) user: String,
    /// The secret, as it was given.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) secret: Bytes,
    #[prost(bool, tag = "3")]
    pub(crate) disabled: bool,
    #[prost(uint64, tag = "4")]
    pub(crate) created_ms: u64,
    #[prost(string, tag = "5")]
    pub(crate) note: String,
    /// Buckets that it has rights in.
    #[prost(uint32, tag = "6")]
    pub(crate) grants: u32,
}

impl Record for AccessKeyRecord {
    const VERSION: u8 = 1;
}

impl std::fmt::Debug for AccessKeyRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKeyRecord")
            .field("user", &self.user)
            .field("disabled", &self.disabled)
            .field("created_ms", &self.created_ms)
            .field("note", &self.note)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

/// What a key may do in a bucket.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GrantRecord {
    #[prost(message, optional, tag = "1")]
    pub(crate) rights: Option<Rights>,
}

impl Record for GrantRecord {
    const VERSION: u8 = 1;
}

pub(crate) fn user_key(name: &str) -> Vec<u8> {
    KeyWriter::new().u8(0).tail(name.as_bytes())
}

pub(crate) fn access_key(key_id: &str) -> Vec<u8> {
    KeyWriter::new().u8(1).tail(key_id.as_bytes())
}

/// The first bytes of the keys that list a user's access keys.
pub(crate) fn of_user_prefix(name: &str) -> Vec<u8> {
    KeyWriter::new().u8(2).bytes(name.as_bytes()).finish()
}

pub(crate) fn of_user(name: &str, key_id: &str) -> Vec<u8> {
    KeyWriter::new().u8(2).bytes(name.as_bytes()).tail(key_id.as_bytes())
}

/// The first bytes of the keys of an access key's rights.
pub(crate) fn grants_prefix(key_id: &str) -> Vec<u8> {
    KeyWriter::new().u8(3).bytes(key_id.as_bytes()).finish()
}

pub(crate) fn grant(key_id: &str, bucket: BucketId) -> Vec<u8> {
    KeyWriter::new()
        .u8(3)
        .bytes(key_id.as_bytes())
        .u64(bucket.value())
        .finish()
}

/// The first bytes of the keys of rights in a bucket.
pub(crate) fn in_bucket_prefix(bucket: BucketId) -> Vec<u8> {
    KeyWriter::new().u8(4).u64(bucket.value()).finish()
}

pub(crate) fn in_bucket(bucket: BucketId, key_id: &str) -> Vec<u8> {
    KeyWriter::new().u8(4).u64(bucket.value()).tail(key_id.as_bytes())
}

/// The bucket in the key of an access key's right, whose prefix is `prefix`.
pub(crate) fn bucket_behind(key: &[u8], prefix: &[u8]) -> Option<BucketId> {
    u64_at(key, prefix.len()).map(BucketId::new)
}

/// The text behind `prefix` in a key.
pub(crate) fn text_behind(key: &[u8], prefix: &[u8]) -> Option<String> {
    String::from_utf8(key.get(prefix.len()..)?.to_vec()).ok()
}

/// A user, an access key or a right for a person. Secrets are left out.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let mut key = KeyReader::new(key);
    match key.tag()? {
        0 => key.name("user").with::<UserRecord>(value),
        1 => key.name("key").with::<AccessKeyRecord>(value),
        2 => key.escaped("user")?.name("key").with_text("of the user".to_owned()),
        3 => key.escaped("key")?.u64("bucket")?.with::<GrantRecord>(value),
        4 => key.u64("bucket")?.name("key").with::<GrantRecord>(value),
        tag => Err(Unreadable(format!("a key of unknown kind {tag}"))),
    }
}
