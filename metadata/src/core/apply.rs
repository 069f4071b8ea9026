//! Applying an entry: each command in order, exactly once.
//!
//! Invariant: the reply to a command of a session is stored with its effects; the same (session, sequence) applied again
//! gives that reply and changes nothing.

use bytes::Bytes;
use cairn_common::{
    ids::SessionId,
    limits,
    wire::{
        command::{Command, Done, EntryBatch, ErrorCode, Outcome, WriteReply, WriteRequest},
        file::FileId,
    },
};

use super::{
    account, authority, bucket, copy, feature, file, lock, map, object, permit, release, repair, replies, server,
    session,
    tx::{ApplyError, Tx, read_record, refuse},
    upload,
    view::{Family, View, ViewError, Write},
};
use crate::record::{dentry, key::u64_at, session::SessionRecord, system};

/// What applying an entry came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// The changes, to be made in one atomic batch.
    pub writes: Vec<Write>,
    /// One reply for each command of the entry, in order.
    pub replies: Vec<WriteReply>,
    /// What of files and names the commands have changed, in their order.
    pub touched: Vec<Touched>,
}

/// A record of a file, or of a name, that a command has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Which of the entry's commands.
    pub command: usize,
    family: Family,
    key: Vec<u8>,
}

impl Touched {
    /// The inode; of a name, the directory that it is in.
    pub fn file(&self) -> Option<FileId> {
        Some(FileId {
            bucket: u64_at(&self.key, 0)?,
            inode: u64_at(&self.key, 8)?,
        })
    }

    /// The name, where it is the record of one, as a mount shows it.
    pub fn name(&self) -> Option<Bytes> {
        let component = self
            .key
            .get(dentry::PREFIX_LEN..)
            .filter(|_| self.family == Family::Dentry)?;
        Some(Bytes::copy_from_slice(
            component.strip_suffix(b"/").unwrap_or(component),
        ))
    }
}

/// Applies an entry to the state. An error means that the state cannot be read; nothing may be written then.
pub fn apply(view: &dyn View, log_index: u64, batch: &EntryBatch) -> Result<Applied, ViewError> {
    let store: system::StoreRecord = read_record(view, Family::System, system::STORE_KEY)?.unwrap_or_default();
    let mut tx = Tx::new(view, log_index, batch.time_ms.max(store.time_ms));
    tx.put(
        Family::System,
        system::STORE_KEY.to_vec(),
        &system::StoreRecord {
            time_ms: tx.time_ms,
            ..store
        },
    );
    tx.accept();
    let mut replies = Vec::with_capacity(batch.requests.len());
    let mut touched = Vec::new();
    for (command, request) in batch.requests.iter().enumerate() {
        replies.push(apply_request(&mut tx, request)?);
        let of_command = tx.take_touched().map(|(family, key)| Touched { command, family, key });
        touched.extend(of_command);
    }
    replies::store(&mut tx);
    Ok(Applied {
        writes: tx.into_writes(),
        replies,
        touched,
    })
}

fn apply_request(tx: &mut Tx<'_>, request: &WriteRequest) -> Result<WriteReply, ViewError> {
    let log_index = tx.log_index;
    let outcome = match apply_once(tx, request) {
        Ok(Once::Before(reply)) => return Ok(reply),
        Ok(Once::Now(outcome)) => {
            tx.accept();
            outcome
        }
        Err(ApplyError::Refused(refusal)) => {
            tx.reject();
            Outcome::Refused(refusal)
        }
        Err(ApplyError::View(error)) => return Err(error),
    };
    let reply = WriteReply {
        log_index,
        outcome: Some(outcome),
        ..WriteReply::default()
    };
    remember(tx, request, &reply)?;
    Ok(reply)
}

enum Once {
    Before(WriteReply),
    Now(Outcome),
}

fn apply_once(tx: &mut Tx<'_>, request: &WriteRequest) -> Result<Once, ApplyError> {
    let command = || {
        let command = request.command.as_ref();
        command.ok_or_else(|| refuse(ErrorCode::Malformed, "a command without content"))
    };
    if request.sequence == 0 {
        let command = command()?;
        feature::check(tx, command)?;
        return apply_unnumbered(tx, SessionId::new(request.session), command).map(Once::Now);
    }
    let session = SessionId::new(request.session);
    let record = require_session(tx, session, request)?;
    if request.sequence < record.answered_below {
        return Err(refuse(
            ErrorCode::OutcomeUnknown,
            "the command's answer was given and is forgotten",
        ));
    }
    if let Some(reply) = reply_before(tx, session, &record, request.sequence)? {
        return Ok(Once::Before(reply));
    }
    if !is_in_window(&record, request) {
        return Err(refuse(
            ErrorCode::SlowDown,
            "the session has too many commands without an answer",
        ));
    }
    let command = command()?;
    feature::check(tx, command)?;
    apply_numbered(tx, session, command).map(Once::Now)
}

/// The session of a numbered command. Where it has ended, a command that was never sent before was certainly not carried
/// out; one that was sent before may have been.
fn require_session(view: &dyn View, session: SessionId, request: &WriteRequest) -> Result<SessionRecord, ApplyError> {
    match session::require(view, session) {
        Err(ApplyError::Refused(_)) if request.resent => Err(refuse(
            ErrorCode::OutcomeUnknown,
            "the session has ended since the command was first sent: it may have been carried out before; look at the \
             state, and send it under a new session where it was not",
        )),
        outcome => outcome,
    }
}

/// Commands that may be repeated without harm.
fn apply_unnumbered(tx: &mut Tx<'_>, session: SessionId, command: &Command) -> Result<Outcome, ApplyError> {
    match command {
        Command::OpenSession(open) => session::open(tx, open),
        Command::Heartbeat(heartbeat) => session::heartbeat(tx, session, heartbeat),
        Command::EndSession(end) => session::end(tx, SessionId::new(end.session)),
        Command::InstallMap(install) => map::install(tx, install),
        Command::ReleaseStep(step) => release::step(tx, step),
        Command::ForgetChunks(forget) => release::forget(tx, forget),
        Command::RaiseFeatureLevel(raise) => session::raise_feature_level(tx, raise.level),
        Command::HoldDeletion(hold) => permit::hold_deletion(tx, hold),
        Command::ExpireUploads(expire) => upload::expire(tx, expire),
        Command::Chunk(command) => repair::apply(tx, command),
        Command::RegisterServer(register) => server::register(tx, register),
        Command::KeepAuthority(keep) => authority::keep(tx, keep),
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
        | Command::Account(_) => Err(refuse(
            ErrorCode::Malformed,
            "the command needs a session and a sequence",
        )),
    }
}

/// Commands that happen exactly once.
fn apply_numbered(tx: &mut Tx<'_>, session: SessionId, command: &Command) -> Result<Outcome, ApplyError> {
    match command {
        Command::CreateBucket(create) => bucket::create(tx, create),
        Command::DeleteBucket(delete) => bucket::delete(tx, &delete.name),
        Command::UpdateBucket(update) => bucket::update(tx, update),
        Command::PutBucketDocument(put) => bucket::put_document(tx, put),
        Command::PutObject(put) => object::put(tx, session, put),
        Command::DeleteObject(delete) => object::delete(tx, delete),
        Command::CopyObject(copy) => copy::object(tx, copy),
        Command::CreateUpload(create) => upload::create(tx, create),
        Command::PutPart(put) => upload::put_part(tx, session, put),
        Command::CopyPart(copy) => copy::part(tx, copy),
        Command::CompleteUpload(complete) => upload::complete(tx, complete),
        Command::AbortUpload(abort) => upload::abort(tx, abort),
        Command::File(command) => file::apply(tx, session, command),
        Command::Lock(command) => lock::apply(tx, session, command),
        Command::Account(command) => account::apply(tx, command),
        Command::OpenSession(_)
        | Command::Heartbeat(_)
        | Command::EndSession(_)
        | Command::InstallMap(_)
        | Command::ReleaseStep(_)
        | Command::ForgetChunks(_)
        | Command::RaiseFeatureLevel(_)
        | Command::HoldDeletion(_)
        | Command::ExpireUploads(_)
        | Command::RegisterServer(_)
        | Command::KeepAuthority(_)
        | Command::Chunk(_) => Err(refuse(ErrorCode::Malformed, "the command takes no sequence")),
    }
}

/// The reply to a command that was applied before.
fn reply_before(
    tx: &mut Tx<'_>,
    session: SessionId,
    record: &SessionRecord,
    sequence: u64,
) -> Result<Option<WriteReply>, ViewError> {
    // Commands come mostly in ascending order, so that there is mostly no reply to look for.
    if sequence > record.newest_sequence {
        return Ok(None);
    }
    replies::find(tx, session, sequence)
}

/// Whether the command's reply can be kept without giving up one that may still be asked for.
fn is_in_window(record: &SessionRecord, request: &WriteRequest) -> bool {
    let answered_below = record.answered_below.max(request.answered_below);
    request.sequence.saturating_sub(answered_below) < limits::REPLY_WINDOW_MAX as u64
}

/// Stores the reply of a numbered command, and notes which ones its session has received.
fn remember(tx: &mut Tx<'_>, request: &WriteRequest, reply: &WriteReply) -> Result<(), ViewError> {
    let session = SessionId::new(request.session);
    let session_key = crate::record::session::key(session);
    let record: Option<SessionRecord> = read_record(tx, Family::Session, &session_key)?;
    let Some(mut record) = record.filter(|_| request.sequence > 0) else {
        return Ok(());
    };
    if request.sequence < record.answered_below || !is_in_window(&record, request) {
        return Ok(());
    }
    let received = request.answered_below.min(request.sequence);
    record.answered_below = record.answered_below.max(received);
    replies::keep(tx, session, record.answered_below, request.sequence, reply.clone())?;
    record.newest_sequence = record.newest_sequence.max(request.sequence);
    tx.put(Family::Session, session_key, &record);
    tx.accept();
    Ok(())
}

/// Nothing to tell.
pub(crate) const fn done() -> Outcome {
    Outcome::Done(Done {})
}
