//! Locks of files.
//!
//! ```text
//! family lock   key 00 | bucket u64 | inode u64 | kind u8 | first u64 | session u64 | owner u64 → LockRecord
//!               key 01 | session u64 | bucket u64 | inode u64 | kind u8 | first u64 | owner u64 → empty
//!               key 02 | session u64                                                             → LockCount
//! ```
//!
//! Ranges of one owner never overlap, so the first byte tells them apart.

use cairn_common::{
    envelope::Record,
    ids::{BucketId, InodeId, SessionId},
};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::{KeyWriter, u64_at},
};

/// A lock, beside what its key says.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LockRecord {
    /// Last byte, itself included.
    #[prost(uint64, tag = "1")]
    pub(crate) last: u64,
    #[prost(bool, tag = "2")]
    pub(crate) exclusive: bool,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
}

impl Record for LockRecord {
    const VERSION: u8 = 1;
}

/// How many locks a session holds.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LockCount {
    #[prost(uint64, tag = "1")]
    pub(crate) locks: u64,
}

impl Record for LockCount {
    const VERSION: u8 = 1;
}

/// A lock's place: all that its keys say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockPlace {
    pub(crate) bucket: BucketId,
    pub(crate) inode: InodeId,
    /// The number of a `LockKind`.
    pub(crate) kind: u8,
    pub(crate) first: u64,
    pub(crate) session: SessionId,
    pub(crate) owner: u64,
}

impl LockPlace {
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = kind_prefix(self.bucket, self.inode, self.kind);
        key.extend_from_slice(
            &KeyWriter::new()
                .u64(self.first)
                .u64(self.session.value())
                .u64(self.owner)
                .finish(),
        );
        key
    }

    pub(crate) fn session_key(&self) -> Vec<u8> {
        KeyWriter::new()
            .u8(1)
            .u64(self.session.value())
            .u64(self.bucket.value())
            .u64(self.inode.value())
            .u8(self.kind)
            .u64(self.first)
            .u64(self.owner)
            .finish()
    }

    /// The place in a lock's key.
    pub(crate) fn of_key(key: &[u8]) -> Option<Self> {
        Some(Self {
            bucket: BucketId::new(u64_at(key, 1)?),
            inode: InodeId::new(u64_at(key, 9)?),
            kind: *key.get(17)?,
            first: u64_at(key, 18)?,
            session: SessionId::new(u64_at(key, 26)?),
            owner: u64_at(key, 34)?,
        })
    }

    /// The place in a session's key.
    pub(crate) fn of_session_key(key: &[u8]) -> Option<Self> {
        Some(Self {
            session: SessionId::new(u64_at(key, 1)?),
            bucket: BucketId::new(u64_at(key, 9)?),
            inode: InodeId::new(u64_at(key, 17)?),
            kind: *key.get(25)?,
            first: u64_at(key, 26)?,
            owner: u64_at(key, 34)?,
        })
    }
}

/// The first bytes of the keys of an inode's locks.
pub(crate) fn inode_prefix(bucket: BucketId, inode: InodeId) -> Vec<u8> {
    KeyWriter::new().u8(0).u64(bucket.value()).u64(inode.value()).finish()
}

/// The first bytes of the keys of an inode's locks of one kind.
pub(crate) fn kind_prefix(bucket: BucketId, inode: InodeId, kind: u8) -> Vec<u8> {
    let mut key = inode_prefix(bucket, inode);
    key.push(kind);
    key
}

/// The first bytes of the keys of a session's locks.
pub(crate) fn session_prefix(session: SessionId) -> Vec<u8> {
    KeyWriter::new().u8(1).u64(session.value()).finish()
}

pub(crate) fn count_key(session: SessionId) -> Vec<u8> {
    KeyWriter::new().u8(2).u64(session.value()).finish()
}

/// A lock, or a session's count of them, for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let mut reader = KeyReader::new(key);
    match reader.tag()? {
        0 => {
            let reader = reader.u64("bucket")?.u64("inode")?.u8("kind")?.u64("first")?;
            reader.u64("session")?.u64("owner")?.with::<LockRecord>(value)
        }
        1 => {
            let reader = reader.u64("session")?.u64("bucket")?.u64("inode")?.u8("kind")?;
            reader
                .u64("first")?
                .u64("owner")?
                .with_text("of the session".to_owned())
        }
        2 => reader.u64("session")?.with::<LockCount>(value),
        tag => Err(Unreadable(format!("a key of unknown kind {tag}"))),
    }
}
