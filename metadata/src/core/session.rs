//! Sessions: opened, kept alive, ended; and the feature level.
//!
//! Invariant: a commit is refused where the session of its chunks has ended, so an uncommitted chunk of an ended session is
//! garbage for certain. Numbers only grow: a late heartbeat takes nothing back.

use cairn_common::{
    ids::SessionId,
    wire::command::{ErrorCode, Heartbeat, HoldDeletion, Outcome},
};

use super::{
    apply::done,
    tx::{ApplyError, Tx, open_record, read_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    key::u64_at,
    session::{self, SessionRecord},
    system::{STORE_KEY, StoreRecord},
};

/// Sessions per generation: the counter part of a session id.
const COUNTER_BITS: u32 = 48;

/// The record of a session that must be alive.
pub(crate) fn require(view: &dyn View, session: SessionId) -> Result<SessionRecord, ApplyError> {
    read_record(view, Family::Session, &session::key(session))?.ok_or_else(|| {
        refuse(
            ErrorCode::SessionEnded,
            "the session has ended; what it had not committed is given up: send it again",
        )
    })
}

pub(crate) fn store(view: &dyn View) -> Result<StoreRecord, ViewError> {
    Ok(read_record(view, Family::System, STORE_KEY)?.unwrap_or_default())
}

pub(crate) fn put_store(tx: &mut Tx<'_>, store: &StoreRecord) {
    tx.put(Family::System, STORE_KEY.to_vec(), store);
}

/// Whether a session with this id was ever opened.
pub(crate) fn was_opened(store: &StoreRecord, session: SessionId) -> bool {
    let generation = session.value() >> COUNTER_BITS;
    let counter = session.value() & ((1 << COUNTER_BITS) - 1);
    // A store that was restored has lost sight of sessions of its former generations, and opens none in them again.
    generation < u64::from(store.generation)
        || generation == u64::from(store.generation) && (1..=store.last_session).contains(&counter)
}

pub(crate) fn open(tx: &mut Tx<'_>) -> Result<Outcome, ApplyError> {
    let mut store = store(tx)?;
    store.last_session += 1;
    store.sessions += 1;
    put_store(tx, &store);
    let id = SessionId::new(u64::from(store.generation) << COUNTER_BITS | store.last_session);
    let reads_from = tx.log_index;
    let record = SessionRecord {
        settled_below: 1,
        reads_from,
        answered_below: 1,
        opened_ms: tx.time_ms,
    };
    tx.put(Family::Session, session::key(id), &record);
    Ok(Outcome::Session(id.value()))
}

pub(crate) fn heartbeat(tx: &mut Tx<'_>, session: SessionId, heartbeat: &Heartbeat) -> Result<Outcome, ApplyError> {
    let mut record = require(tx, session)?;
    record.settled_below = record.settled_below.max(heartbeat.settled_below);
    record.reads_from = record.reads_from.max(heartbeat.reads_from.min(tx.log_index));
    tx.put(Family::Session, session::key(session), &record);
    Ok(done())
}

pub(crate) fn end(tx: &mut Tx<'_>, session: SessionId) -> Result<Outcome, ApplyError> {
    let record: Option<SessionRecord> = tx.record(Family::Session, &session::key(session))?;
    if record.is_none() {
        return Ok(done());
    }
    let prefix = session::key(session);
    let mut replies = Vec::new();
    scan_prefix(tx, Family::Reply, &prefix, &prefix, &mut |key, _| {
        replies.push(key.to_vec());
        Ok(true)
    })?;
    for key in replies {
        tx.delete(Family::Reply, key);
    }
    tx.delete(Family::Session, session::key(session));
    let mut store = store(tx)?;
    store.sessions = store.sessions.saturating_sub(1);
    put_store(tx, &store);
    Ok(done())
}

pub(crate) fn raise_feature_level(tx: &mut Tx<'_>, level: u32) -> Result<Outcome, ApplyError> {
    let mut store = store(tx)?;
    store.feature_level = store.feature_level.max(level);
    put_store(tx, &store);
    Ok(done())
}

pub(crate) fn hold_deletion(tx: &mut Tx<'_>, hold: &HoldDeletion) -> Result<Outcome, ApplyError> {
    let mut store = store(tx)?;
    store.deletion_held = hold.held;
    store.generation = store.generation.max(hold.generation);
    put_store(tx, &store);
    Ok(done())
}

/// All sessions alive.
pub fn live_sessions(view: &dyn View) -> Result<Vec<SessionId>, ViewError> {
    let mut sessions = Vec::new();
    scan_prefix(view, Family::Session, &[], &[], &mut |key, _| {
        sessions.extend(u64_at(key, 0).map(SessionId::new));
        Ok(true)
    })?;
    Ok(sessions)
}

/// The oldest log index that a read, running or to come, may see.
pub(crate) fn oldest_read(view: &dyn View) -> Result<u64, ViewError> {
    let mut oldest = u64::MAX;
    scan_prefix(view, Family::Session, &[], &[], &mut |_, value| {
        let record: SessionRecord = open_record(Family::Session, value)?;
        oldest = oldest.min(record.reads_from);
        Ok(true)
    })?;
    Ok(oldest)
}
