//! Locks: both keys of each agree, each is of a file that is there and of a session that lives, and sessions count theirs.

use std::collections::BTreeMap;

use cairn_common::ids::SessionId;

use super::{
    super::error::MaintenanceError,
    check::{Check, Gathered},
};
use crate::{
    core::view::Family,
    record::{
        inode,
        key::u64_at,
        lock::{self, LockCount, LockPlace, LockRecord},
        session,
    },
};

const FAMILY: Family = Family::Lock;
/// The first bytes of the three kinds of keys.
const BY_INODE: u8 = 0;
const BY_SESSION: u8 = 1;
const COUNT: u8 = 2;

pub(super) fn pass(check: &mut Check<'_>, gathered: &Gathered) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(FAMILY)?;
    // Locks of each session: as many numbers as there are sessions with locks.
    let mut held: BTreeMap<u64, u64> = BTreeMap::new();
    while let Some((key, value)) = cursor.take(check) {
        match key.first() {
            Some(&BY_INODE) => {
                check.open::<LockRecord>(FAMILY, &key, &value);
                of_inode(check, &key)?;
            }
            Some(&BY_SESSION) => {
                if let Some(session) = of_session(check, gathered, &key)? {
                    *held.entry(session).or_default() += 1;
                }
            }
            Some(&COUNT) => {
                let session = u64_at(&key, 1).unwrap_or_default();
                let there = held.remove(&session).unwrap_or_default();
                let says = check.open::<LockCount>(FAMILY, &key, &value).map(|count| count.locks);
                if says.is_some_and(|says| says != there) {
                    let what = format!("it counts {} locks, there are {there}", says.unwrap_or_default());
                    check.wrong(FAMILY, &key, what);
                }
            }
            Some(_) | None => check.damaged(FAMILY, &key, "the key is of no known kind"),
        }
    }
    for (session, locks) in held {
        let key = lock::count_key(SessionId::new(session));
        check.wrong(
            FAMILY,
            &key,
            format!("session {session} holds {locks} locks, and no count says so"),
        );
    }
    Ok(())
}

fn of_inode(check: &mut Check<'_>, key: &[u8]) -> Result<(), MaintenanceError> {
    let Some(place) = LockPlace::of_key(key) else {
        check.damaged(FAMILY, key, "the key is too short for a lock");
        return Ok(());
    };
    if check.state.value(FAMILY, &place.session_key())?.is_none() {
        check.wrong(FAMILY, key, "the lock's key by session is not there");
    }
    let inode = inode::key(place.bucket, place.inode);
    if check.state.value(Family::Inode, &inode)?.is_none() {
        check.wrong(FAMILY, key, "the file that is locked is not there");
    }
    Ok(())
}

/// Gives the session that the key names.
fn of_session(check: &mut Check<'_>, gathered: &Gathered, key: &[u8]) -> Result<Option<u64>, MaintenanceError> {
    let Some(place) = LockPlace::of_session_key(key) else {
        check.damaged(FAMILY, key, "the key is too short for a lock");
        return Ok(None);
    };
    if check.state.value(FAMILY, &place.key())?.is_none() {
        check.wrong(FAMILY, key, "the lock itself is not there");
    }
    let session = place.session.value();
    let is_known = gathered.ended_sessions.contains(&session)
        || check
            .state
            .value(Family::Session, &session::key(place.session))?
            .is_some();
    if !is_known {
        check.wrong(
            FAMILY,
            key,
            "its session has ended, and its locks are not queued for release",
        );
    }
    Ok(Some(session))
}
