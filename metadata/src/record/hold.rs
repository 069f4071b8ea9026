//! Files without a name that mount sessions hold open, by file and by session.
//!
//! ```text
//! family hold   key 01 | bucket u64 | inode u64 | session u64 → empty
//!               key 02 | session u64 | bucket u64 | inode u64 → empty
//! ```

use cairn_common::{
    ids::{BucketId, InodeId, SessionId},
    wire::file::FileId,
};

use super::{
    description::{Description, KeyReader, Unreadable},
    key::{KeyWriter, u64_at},
};

const FILE_PREFIX: u8 = 1;
const SESSION_PREFIX: u8 = 2;

/// The first bytes of the keys of all sessions that hold a file.
pub(crate) fn file_prefix(bucket: BucketId, inode: InodeId) -> Vec<u8> {
    KeyWriter::new()
        .u8(FILE_PREFIX)
        .u64(bucket.value())
        .u64(inode.value())
        .finish()
}

/// The first bytes of the keys of all files that a session holds.
pub(crate) fn session_prefix(session: SessionId) -> Vec<u8> {
    KeyWriter::new().u8(SESSION_PREFIX).u64(session.value()).finish()
}

/// Both keys of one hold.
pub(crate) fn keys(session: SessionId, file: FileId) -> [Vec<u8>; 2] {
    let by_file = file_prefix(BucketId::new(file.bucket), InodeId::new(file.inode));
    let by_session = KeyWriter::new()
        .u8(SESSION_PREFIX)
        .u64(session.value())
        .u64(file.bucket)
        .u64(file.inode)
        .finish();
    [
        [by_file.as_slice(), &session.value().to_be_bytes()].concat(),
        by_session,
    ]
}

/// The file in the key of a session's hold.
pub(crate) fn file_of(key: &[u8]) -> Option<FileId> {
    let (bucket, inode) = (u64_at(key, 9)?, u64_at(key, 17)?);
    (key.first() == Some(&SESSION_PREFIX)).then_some(FileId { bucket, inode })
}

/// The file and the session in a key of either kind.
pub(crate) fn parts_of(key: &[u8]) -> Option<(FileId, SessionId)> {
    let (first, second, third) = (u64_at(key, 1)?, u64_at(key, 9)?, u64_at(key, 17)?);
    let (bucket, inode, session) = match *key.first()? {
        FILE_PREFIX => (first, second, third),
        SESSION_PREFIX => (second, third, first),
        _ => return None,
    };
    Some((FileId { bucket, inode }, SessionId::new(session)))
}

/// A hold for a person.
pub(crate) fn describe(key: &[u8]) -> Result<Description, Unreadable> {
    let mut key = KeyReader::new(key);
    let key = match key.tag()? {
        1 => key.u64("bucket")?.u64("inode")?.u64("session")?,
        2 => key.u64("session")?.u64("bucket")?.u64("inode")?,
        tag => return Err(Unreadable(format!("a key of unknown kind {tag}"))),
    };
    key.with_text("held open".to_owned())
}
