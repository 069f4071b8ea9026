//! The plain model: what the metadata is, written down in the simplest way that can be right.
//!
//! It keeps trees of names, lists of byte ranges and plain vectors, computes counts by walking everything, and knows nothing
//! of keys, records or column families. Invariant: it says what the reply to a command must be before it sees the real one.

mod accounts;
mod buckets;
mod chunks;
mod data;
mod files;
mod inodes;
mod locks;
mod names;
mod objects;
mod reserved;
mod sessions;
mod space;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_common::wire::{
    account::Rights,
    command::{Command, ErrorCode, Outcome, WriteRequest},
    file::{FileId, FileKind},
    lock::HeldLock,
    map::MapMessage,
    object::{Chunk, ObjectAttributes, PartSize},
    query::BucketSettings,
};

use super::content::Content;

pub(crate) use {
    names::{keys, shown, split},
    objects::{entity_tag, object_size, seen_attributes},
};

/// A bound of a feed that no sequence reaches.
pub(crate) const FEED_UNBOUNDED: u64 = 1 << 20;

/// What a command comes to, or the codes of which one is the answer.
pub(crate) type Verdict<T = Outcome> = Result<T, Vec<ErrorCode>>;

pub(crate) fn no<T>(code: ErrorCode) -> Verdict<T> {
    Err(vec![code])
}

/// Refuses where any of the conditions holds, with its code.
pub(crate) fn refuse_if(conditions: &[(bool, ErrorCode)]) -> Verdict<()> {
    let codes: Vec<ErrorCode> = conditions
        .iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, code)| *code)
        .collect();
    if codes.is_empty() { Ok(()) } else { Err(codes) }
}

/// What the reply must be.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a dozen of them live at a time")]
pub(crate) enum Expected {
    Outcome(Outcome),
    /// A refusal with one of these codes.
    Refused(Vec<ErrorCode>),
    /// The reply that this session's command of this sequence got.
    Repeated(u64, u64),
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) log_index: u64,
    pub(crate) time_ms: u64,
    /// Tag of what the command at hand makes.
    pub(crate) tag: u64,
    pub(crate) last_session: u64,
    pub(crate) generation: u64,
    pub(crate) deletion_held: bool,
    pub(crate) feature_level: u32,
    pub(crate) map: MapMessage,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) last_bucket: u64,
    pub(crate) buckets: BTreeMap<String, Bucket>,
    /// Deleted buckets that still have inodes without a name.
    pub(crate) deleted: Vec<Bucket>,
    /// Every chunk that was committed and not forgotten.
    pub(crate) chunks: BTreeMap<Bytes, Chunk>,
    pub(crate) places: BTreeMap<Bytes, chunks::Place>,
    pub(crate) rows: chunks::Rows,
    /// Chunks of inodes that may be gone since this entry, and when these lost their names.
    pub(crate) unnamed: BTreeMap<Bytes, u64>,
    /// When a chunk was seen to have lost its last reference.
    pub(crate) lost: BTreeMap<Bytes, u64>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) keys: BTreeMap<String, Key>,
    pub(crate) locks: BTreeMap<FileId, Vec<HeldLock>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) tag: u64,
    pub(crate) mounts: bool,
    pub(crate) watermark: u64,
    pub(crate) replied: BTreeSet<u64>,
    pub(crate) settled_below: u64,
    pub(crate) reads_from: u64,
    pub(crate) orphans_seen: u64,
    pub(crate) held: BTreeSet<FileId>,
    /// For the generator.
    pub(crate) next_sequence: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) tag: u64,
    pub(crate) id: u64,
    pub(crate) created_ms: u64,
    pub(crate) data_shards: u32,
    pub(crate) parity_shards: u32,
    pub(crate) chunk_size_bytes: u32,
    pub(crate) settings: BucketSettings,
    /// The last log index at which the feed had a bound, or none was kept.
    pub(crate) feed_bounded_at: u64,
    pub(crate) documents: BTreeMap<String, (Bytes, u64)>,
    pub(crate) last_inode: u64,
    /// Numbers that were set aside and not used yet.
    pub(crate) reserved: BTreeSet<u64>,
    pub(crate) last_upload: u64,
    pub(crate) inodes: BTreeMap<u64, Inode>,
    pub(crate) uploads: BTreeMap<(Bytes, u64), Upload>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Inode {
    pub(crate) tag: u64,
    pub(crate) kind: FileKind,
    pub(crate) modified_ms: u64,
    /// Of a directory: component to inode.
    pub(crate) entries: BTreeMap<Vec<u8>, u64>,
    /// Of a directory: where it lies.
    pub(crate) parent: u64,
    pub(crate) content: Content,
    pub(crate) attributes: Option<ObjectAttributes>,
    pub(crate) parts: Vec<PartSize>,
    /// Chunks of the parts that it was made of: they may stay as long as it does, even where others were laid over them.
    pub(crate) part_chunks: BTreeSet<Bytes>,
    /// What POSIX knows of it, once a mount has touched it.
    pub(crate) posix: Option<Posix>,
    pub(crate) data_version: u64,
    /// The log index at which it lost its last name.
    pub(crate) unlinked_at: Option<u64>,
    /// Whether it may have been released since.
    pub(crate) may_be_gone: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Posix {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    pub(crate) device: u64,
    pub(crate) atime_ns: i64,
    pub(crate) mtime_ns: i64,
    pub(crate) ctime_ns: i64,
    pub(crate) target: Bytes,
    pub(crate) xattrs: BTreeMap<Bytes, Bytes>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Upload {
    pub(crate) tag: u64,
    pub(crate) attributes: ObjectAttributes,
    pub(crate) revision: u64,
    pub(crate) started_ms: u64,
    pub(crate) active_ms: u64,
    pub(crate) parts: BTreeMap<u32, Part>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) etag: String,
    pub(crate) modified_ms: u64,
    pub(crate) checksums: Vec<cairn_common::wire::object::ObjectChecksum>,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct User {
    pub(crate) admin: bool,
    pub(crate) may_create_buckets: bool,
    pub(crate) created_ms: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Key {
    pub(crate) user: String,
    pub(crate) secret: Bytes,
    pub(crate) note: String,
    pub(crate) enabled: bool,
    pub(crate) created_ms: u64,
    pub(crate) rights: BTreeMap<String, Rights>,
}

impl World {
    /// Starts an entry.
    pub(crate) fn begin(&mut self, log_index: u64, time_ms: u64) {
        self.log_index = log_index;
        self.time_ms = self.time_ms.max(time_ms);
    }

    pub(crate) fn time_ns(&self) -> i64 {
        self.time_ms as i64 * 1_000_000
    }

    /// Carries out a command that happens exactly once.
    fn numbered(&mut self, session: u64, command: &Command) -> Verdict {
        match command {
            Command::CreateBucket(create) => self.create_bucket(create),
            Command::DeleteBucket(delete) => self.delete_bucket(delete),
            Command::UpdateBucket(update) => self.update_bucket(update),
            Command::PutBucketDocument(put) => self.put_document(put),
            Command::PutObject(put) => self.put_object(session, put),
            Command::DeleteObject(delete) => self.delete_object(delete),
            Command::CopyObject(copy) => self.copy_object(copy),
            Command::CreateUpload(create) => self.create_upload(create),
            Command::PutPart(put) => self.put_part(session, put),
            Command::CopyPart(copy) => self.copy_part(copy),
            Command::CompleteUpload(complete) => self.complete_upload(complete),
            Command::AbortUpload(abort) => self.abort_upload(abort),
            Command::File(file) => self.file(session, file),
            Command::Lock(lock) => self.lock(session, lock),
            Command::Account(account) => self.account(account),
            Command::OpenSession(_)
            | Command::Heartbeat(_)
            | Command::EndSession(_)
            | Command::InstallMap(_)
            | Command::ExpireUploads(_)
            | Command::ReleaseStep(_)
            | Command::ForgetChunks(_)
            | Command::RaiseFeatureLevel(_)
            | Command::HoldDeletion(_)
            | Command::RegisterServer(_)
            | Command::KeepAuthority(_)
            | Command::Chunk(_) => no(ErrorCode::Malformed),
        }
    }

    /// Carries out a command that may be repeated without harm.
    fn unnumbered(&mut self, session: u64, command: &Command) -> Verdict {
        match command {
            Command::OpenSession(open) => self.open_session(open),
            Command::Heartbeat(heartbeat) => self.heartbeat(session, heartbeat),
            Command::EndSession(end) => self.end_session(end.session),
            Command::InstallMap(install) => self.install_map(install),
            Command::RaiseFeatureLevel(raise) => {
                self.feature_level = self.feature_level.max(raise.level);
                done()
            }
            Command::HoldDeletion(hold) if hold.generation > 0xff_ffff => no(ErrorCode::Malformed),
            Command::HoldDeletion(hold) => {
                self.deletion_held = hold.held;
                self.generation = self.generation.max(hold.generation.into());
                done()
            }
            Command::ExpireUploads(expire) => self.expire_uploads(expire),
            // How many steps are left is the code's own affair: what is gone in the end is compared.
            Command::ReleaseStep(_) => Ok(Outcome::ReleaseLeft(0)),
            Command::ForgetChunks(forget) => self.forget_chunks(forget),
            Command::Chunk(chunk) => self.chunk(chunk),
            // Never generated: no other record depends on who the servers are, or on the authority.
            Command::RegisterServer(_) | Command::KeepAuthority(_) => done(),
            Command::CreateBucket(_)
            | Command::DeleteBucket(_)
            | Command::UpdateBucket(_)
            | Command::PutBucketDocument(_)
            | Command::PutObject(_)
            | Command::DeleteObject(_)
            | Command::CopyObject(_)
            | Command::CreateUpload(_)
            | Command::PutPart(_)
            | Command::CopyPart(_)
            | Command::CompleteUpload(_)
            | Command::AbortUpload(_)
            | Command::File(_)
            | Command::Lock(_)
            | Command::Account(_) => no(ErrorCode::Malformed),
        }
    }

    /// Applies a request of the entry at hand, and says what the reply must be.
    pub(crate) fn apply(&mut self, request: &WriteRequest) -> Expected {
        let expected = self.carry_out(request);
        self.find_gone();
        expected
    }

    fn carry_out(&mut self, request: &WriteRequest) -> Expected {
        if request.sequence == 0 {
            return match &request.command {
                Some(command) => self.unnumbered(request.session, command).into(),
                None => Expected::Refused(vec![ErrorCode::Malformed]),
            };
        }
        if let Some(expected) = self.answer_without(request) {
            return expected;
        }
        let expected = match &request.command {
            Some(command) => self.numbered(request.session, command).into(),
            None => Expected::Refused(vec![ErrorCode::Malformed]),
        };
        self.remember(request);
        expected
    }
}

impl From<Verdict> for Expected {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Ok(outcome) => Self::Outcome(outcome),
            Err(codes) => Self::Refused(codes),
        }
    }
}

pub(crate) fn done() -> Verdict {
    Ok(Outcome::Done(cairn_common::wire::command::Done {}))
}
