//! Sessions: opened, kept alive, ended; and the feature level.
//!
//! Invariant: a commit is refused where the session of its chunks has ended, so an uncommitted chunk of an ended session is
//! garbage for certain. Numbers only grow: a late heartbeat takes nothing back.

use cairn_common::{
    ids::SessionId,
    wire::command::{ErrorCode, Heartbeat, OpenSession, Outcome},
};

use super::{
    apply::done,
    hold, lock, replies,
    tx::{ApplyError, Tx, open_record, read_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    key::u64_at,
    session::{self, SessionRecord},
    system::{STORE_KEY, StoreRecord},
};

/// Sessions per generation: the counter part of a session id. A thousand a second fill it in 34 years.
const COUNTER_BITS: u32 = 40;

/// The highest generation: what a session id has room for.
pub(crate) const GENERATION_MAX: u32 = u32::MAX >> (COUNTER_BITS - u32::BITS);

/// The record of a session that must be alive.
pub(crate) fn require(view: &dyn View, session: SessionId) -> Result<SessionRecord, ApplyError> {
    read_record(view, Family::Session, &session::key(session))?.ok_or_else(|| {
        refuse(
            ErrorCode::SessionEnded,
            "the session has ended; what it had not committed is given up: send it again",
        )
    })
}

/// The generation of a session id, and its counter.
pub(crate) fn parts_of(session: SessionId) -> (u64, u64) {
    (
        session.value() >> COUNTER_BITS,
        session.value() & ((1 << COUNTER_BITS) - 1),
    )
}

pub(crate) fn store(view: &dyn View) -> Result<StoreRecord, ViewError> {
    Ok(read_record(view, Family::System, STORE_KEY)?.unwrap_or_default())
}

pub(crate) fn put_store(tx: &mut Tx<'_>, store: &StoreRecord) {
    tx.put(Family::System, STORE_KEY.to_vec(), store);
}

/// Whether a session with this id was opened, or can never be. Of an older generation none can be any more; which ones
/// were, metadata that was restored does not know.
pub(crate) fn was_opened(store: &StoreRecord, session: SessionId) -> bool {
    let (generation, counter) = parts_of(session);
    let present = u64::from(store.generation);
    generation < present || (generation == present && (1..=store.last_session).contains(&counter))
}

pub(crate) fn open(tx: &mut Tx<'_>, open: &OpenSession) -> Result<Outcome, ApplyError> {
    let mut store = store(tx)?;
    store.last_session += 1;
    store.sessions += 1;
    store.mounts += u64::from(open.mounts);
    put_store(tx, &store);
    let id = SessionId::new(u64::from(store.generation) << COUNTER_BITS | store.last_session);
    let reads_from = tx.log_index;
    let record = SessionRecord {
        settled_below: 1,
        reads_from,
        answered_below: 1,
        opened_ms: tx.time_ms,
        mounts: open.mounts,
        orphans_seen: if open.mounts { tx.log_index } else { 0 },
        newest_sequence: 0,
        newest_chunk: 0,
    };
    tx.put(Family::Session, session::key(id), &record);
    Ok(Outcome::Session(id.value()))
}

pub(crate) fn heartbeat(tx: &mut Tx<'_>, session: SessionId, heartbeat: &Heartbeat) -> Result<Outcome, ApplyError> {
    let mut record = require(tx, session)?;
    record.settled_below = record.settled_below.max(heartbeat.settled_below);
    record.reads_from = record.reads_from.max(heartbeat.reads_from.min(tx.log_index));
    let outcome = if record.mounts {
        // What a late heartbeat holds was held before: the newer one's list stands.
        if heartbeat.orphans_seen >= record.orphans_seen {
            hold::set(tx, session, &heartbeat.held)?;
        }
        record.orphans_seen = record.orphans_seen.max(heartbeat.orphans_seen.min(tx.log_index));
        Outcome::Orphans(hold::orphans(tx, record.orphans_seen)?)
    } else {
        done()
    };
    tx.put(Family::Session, session::key(session), &record);
    Ok(outcome)
}

pub(crate) fn end(tx: &mut Tx<'_>, session: SessionId) -> Result<Outcome, ApplyError> {
    let record: Option<SessionRecord> = tx.record(Family::Session, &session::key(session))?;
    let Some(record) = record else { return Ok(done()) };
    lock::end_session(tx, session)?;
    hold::clear(tx, session)?;
    tx.delete(Family::Session, session::key(session));
    let mut store = store(tx)?;
    store.sessions = store.sessions.saturating_sub(1);
    store.mounts = store.mounts.saturating_sub(record.mounts.into());
    put_store(tx, &store);
    replies::forget(tx, session)?;
    Ok(done())
}

pub(crate) fn raise_feature_level(tx: &mut Tx<'_>, level: u32) -> Result<Outcome, ApplyError> {
    let mut store = store(tx)?;
    store.feature_level = store.feature_level.max(level);
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

/// Those of them that are mounts'.
pub fn mount_sessions(view: &dyn View) -> Result<Vec<SessionId>, ViewError> {
    let mut sessions = Vec::new();
    scan_prefix(view, Family::Session, &[], &[], &mut |key, value| {
        let record: SessionRecord = open_record(Family::Session, value)?;
        sessions.extend(u64_at(key, 0).map(SessionId::new).filter(|_| record.mounts));
        Ok(true)
    })?;
    Ok(sessions)
}

/// What sessions still need of what was given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// The oldest log index that a read, running or to come, may see.
    pub(crate) reads_from: u64,
    /// Every mount has compared its open files with the inodes that lost their last name up to this log index.
    pub(crate) orphans_seen: u64,
}

/// What all sessions together still need.
pub(crate) fn needs(view: &dyn View) -> Result<Needs, ViewError> {
    let mut needs = Needs {
        reads_from: u64::MAX,
        orphans_seen: u64::MAX,
    };
    scan_prefix(view, Family::Session, &[], &[], &mut |_, value| {
        let record: SessionRecord = open_record(Family::Session, value)?;
        needs.reads_from = needs.reads_from.min(record.reads_from);
        if record.mounts {
            needs.orphans_seen = needs.orphans_seen.min(record.orphans_seen);
        }
        Ok(true)
    })?;
    Ok(needs)
}
