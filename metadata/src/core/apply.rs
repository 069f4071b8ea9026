//! Applying an entry: each command in order, exactly once.
//!
//! Invariant: the reply to a command of a session is stored with its effects; the same (session, sequence) applied again
//! gives that reply and changes nothing.

use cairn_common::{
    envelope::seal,
    ids::SessionId,
    limits,
    wire::command::{Command, Done, EntryBatch, ErrorCode, Outcome, WriteReply, WriteRequest},
};

use super::{
    bucket, map, object, release, session,
    tx::{ApplyError, Tx, read_record, refuse},
    upload,
    view::{Family, View, ViewError, Write},
};
use crate::record::{reply, session::SessionRecord, system};

/// What applying an entry came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// The changes, to be made in one atomic batch.
    pub writes: Vec<Write>,
    /// One reply for each command of the entry, in order.
    pub replies: Vec<WriteReply>,
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
    for request in &batch.requests {
        replies.push(apply_request(&mut tx, request)?);
    }
    Ok(Applied {
        writes: tx.into_writes(),
        replies,
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
    };
    remember(tx, request, &reply)?;
    Ok(reply)
}

enum Once {
    Before(WriteReply),
    Now(Outcome),
}

fn apply_once(tx: &mut Tx<'_>, request: &WriteRequest) -> Result<Once, ApplyError> {
    let Some(command) = &request.command else {
        return Err(refuse(ErrorCode::Malformed, "a command without content"));
    };
    if request.sequence == 0 {
        return apply_unnumbered(tx, SessionId::new(request.session), command).map(Once::Now);
    }
    let session = SessionId::new(request.session);
    let record = session::require(tx, session)?;
    if request.sequence < record.answered_below {
        return Err(refuse(
            ErrorCode::OutcomeUnknown,
            "the command's answer was given and is forgotten",
        ));
    }
    if let Some(reply) = read_record(tx, Family::Reply, &reply::key(session, request.sequence))? {
        return Ok(Once::Before(reply));
    }
    if request.sequence - record.answered_below.max(request.answered_below) >= limits::REPLY_WINDOW_MAX as u64 {
        return Err(refuse(
            ErrorCode::SlowDown,
            "the session has too many commands without an answer",
        ));
    }
    apply_numbered(tx, session, command).map(Once::Now)
}

/// Commands that may be repeated without harm.
fn apply_unnumbered(tx: &mut Tx<'_>, session: SessionId, command: &Command) -> Result<Outcome, ApplyError> {
    match command {
        Command::OpenSession(_) => session::open(tx),
        Command::Heartbeat(heartbeat) => session::heartbeat(tx, session, heartbeat),
        Command::EndSession(end) => session::end(tx, SessionId::new(end.session)),
        Command::InstallMap(install) => map::install(tx, install),
        Command::ReleaseStep(step) => release::step(tx, step),
        Command::ForgetChunks(forget) => release::forget(tx, forget),
        Command::RaiseFeatureLevel(raise) => session::raise_feature_level(tx, raise.level),
        Command::HoldDeletion(hold) => session::hold_deletion(tx, hold),
        Command::CreateBucket(_)
        | Command::DeleteBucket(_)
        | Command::PutObject(_)
        | Command::DeleteObject(_)
        | Command::CreateUpload(_)
        | Command::PutPart(_)
        | Command::CompleteUpload(_)
        | Command::AbortUpload(_) => Err(refuse(
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
        Command::PutObject(put) => object::put(tx, session, put),
        Command::DeleteObject(delete) => object::delete(tx, delete),
        Command::CreateUpload(create) => upload::create(tx, create),
        Command::PutPart(put) => upload::put_part(tx, session, put),
        Command::CompleteUpload(complete) => upload::complete(tx, complete),
        Command::AbortUpload(abort) => upload::abort(tx, abort),
        Command::OpenSession(_)
        | Command::Heartbeat(_)
        | Command::EndSession(_)
        | Command::InstallMap(_)
        | Command::ReleaseStep(_)
        | Command::ForgetChunks(_)
        | Command::RaiseFeatureLevel(_)
        | Command::HoldDeletion(_) => Err(refuse(ErrorCode::Malformed, "the command takes no sequence")),
    }
}

/// Stores the reply of a numbered command and forgets those that its session has received.
fn remember(tx: &mut Tx<'_>, request: &WriteRequest, reply: &WriteReply) -> Result<(), ViewError> {
    let session = SessionId::new(request.session);
    let session_key = crate::record::session::key(session);
    let record: Option<SessionRecord> = read_record(tx, Family::Session, &session_key)?;
    let Some(mut record) = record.filter(|_| request.sequence > 0) else {
        return Ok(());
    };
    if request.sequence < record.answered_below {
        return Ok(());
    }
    tx.put_raw(Family::Reply, reply::key(session, request.sequence), seal(reply));
    // The window bounds this loop: no reply is further ahead of the watermark than its length.
    let received = request.answered_below.min(request.sequence);
    let forget_to = received.min(
        record
            .answered_below
            .saturating_add(2 * limits::REPLY_WINDOW_MAX as u64),
    );
    for sequence in record.answered_below.max(1)..forget_to {
        tx.delete(Family::Reply, reply::key(session, sequence));
    }
    if forget_to > record.answered_below {
        record.answered_below = forget_to;
        tx.put(Family::Session, session_key, &record);
    }
    tx.accept();
    Ok(())
}

/// Nothing to tell.
pub(crate) const fn done() -> Outcome {
    Outcome::Done(Done {})
}
