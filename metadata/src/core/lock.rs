//! Locks of files, held by owners of sessions.
//!
//! Invariant: two locks of one kind on one inode overlap only where both are shared or of one owner, and those of one owner
//! never overlap. A lock counts only while its session lives: what an ended one left is nobody's, and is removed by the
//! release queue or by whoever comes across it.

use cairn_common::{
    ids::{BucketId, InodeId, SessionId},
    limits,
    wire::{
        command::{ErrorCode, Outcome},
        lock::{
            HeldLock, LockAction, LockAnswer, LockCommand, LockKind, LockOutcome, LockPageQuery, LockQuery,
            LockQuestion, LockRange,
        },
    },
};

use super::{
    chunk::malformed,
    release,
    tx::{ApplyError, Tx, missing, open_record, read_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    garbage::Release,
    inode,
    lock::{self, LockCount, LockPlace, LockRecord},
    session as session_record,
};

/// A lock in the state.
#[derive(Clone, Debug, PartialEq)]
struct Lock {
    place: LockPlace,
    record: LockRecord,
}

impl Lock {
    fn held(&self) -> HeldLock {
        HeldLock {
            session: self.place.session.value(),
            lock: Some(LockRange {
                kind: self.place.kind.into(),
                owner: self.place.owner,
                pid: self.record.pid,
                exclusive: self.record.exclusive,
                first: self.place.first,
                last: self.record.last,
            }),
        }
    }

    fn is_of(&self, session: SessionId, owner: u64) -> bool {
        (self.place.session, self.place.owner) == (session, owner)
    }

    fn overlaps(&self, first: u64, last: u64) -> bool {
        self.place.first <= last && first <= self.record.last
    }

    /// Whether the two ranges make one: they overlap, or one begins where the other ends.
    fn touches(&self, first: u64, last: u64) -> bool {
        self.place.first <= last.saturating_add(1) && first <= self.record.last.saturating_add(1)
    }
}

pub(crate) fn apply(tx: &mut Tx<'_>, session: SessionId, command: &LockCommand) -> Result<Outcome, ApplyError> {
    let (bucket, inode) = (BucketId::new(command.bucket_id), InodeId::new(command.inode));
    let (range, sets) = match &command.action {
        Some(LockAction::Set(range)) => (range, true),
        Some(LockAction::Release(range)) => (range, false),
        None => return Err(malformed("no change of a lock")),
    };
    let kind = checked_kind(range)?;
    if sets && tx.get(Family::Inode, &inode::key(bucket, inode))?.is_none() {
        return Err(refuse(ErrorCode::NoSuchInode, "the file is gone"));
    }
    let all = all_of(tx, bucket, inode, kind)?;
    let (live, ended) = by_life(tx, all)?;
    remove(tx, &ended)?;
    if sets && let Some(conflict) = conflict(&live, session, range) {
        let conflict = Some(conflict.held());
        return Ok(Outcome::Lock(LockOutcome { conflict }));
    }
    let place = LockPlace {
        bucket,
        inode,
        kind,
        first: range.first,
        session,
        owner: range.owner,
    };
    let (others, own): (Vec<Lock>, Vec<Lock>) = live.into_iter().partition(|lock| !lock.is_of(session, range.owner));
    let (gone, new) = replace(&own, &place, range, sets);
    if others.len() + own.len() + new.len() > limits::LOCKS_PER_INODE_MAX + gone.len() {
        return Err(refuse(ErrorCode::LimitExceeded, "the file has as many locks as it may"));
    }
    remove(tx, &gone)?;
    insert(tx, session, &new)?;
    Ok(Outcome::Lock(LockOutcome { conflict: None }))
}

/// What of an owner's locks goes, and what comes, when a range is set or released.
fn replace(own: &[Lock], place: &LockPlace, range: &LockRange, sets: bool) -> (Vec<Lock>, Vec<Lock>) {
    let mut wanted = Lock {
        place: *place,
        record: LockRecord {
            last: range.last,
            exclusive: range.exclusive,
            pid: range.pid,
        },
    };
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    for lock in own {
        let merges = sets && lock.record.exclusive == range.exclusive && lock.touches(range.first, range.last);
        if merges {
            wanted.place.first = wanted.place.first.min(lock.place.first);
            wanted.record.last = wanted.record.last.max(lock.record.last);
            gone.push(lock.clone());
        } else if lock.overlaps(range.first, range.last) {
            gone.push(lock.clone());
            if lock.place.first < range.first {
                let mut left = lock.clone();
                left.record.last = range.first - 1;
                new.push(left);
            }
            if lock.record.last > range.last {
                let mut right = lock.clone();
                right.place.first = range.last + 1;
                new.push(right);
            }
        }
    }
    if sets {
        new.push(wanted);
    }
    (gone, new)
}

/// The first lock of another owner that does not go with this one.
fn conflict<'l>(locks: &'l [Lock], session: SessionId, range: &LockRange) -> Option<&'l Lock> {
    locks.iter().find(|lock| {
        !lock.is_of(session, range.owner)
            && lock.overlaps(range.first, range.last)
            && (lock.record.exclusive || range.exclusive)
    })
}

fn checked_kind(range: &LockRange) -> Result<u8, ApplyError> {
    match range.kind() {
        LockKind::Unspecified => Err(malformed("a lock without a kind")),
        LockKind::WholeFile if (range.first, range.last) != (0, u64::MAX) => {
            Err(malformed("a whole-file lock of a part of a file"))
        }
        LockKind::Range if range.first > range.last => Err(malformed("a lock that ends before it begins")),
        LockKind::WholeFile => Ok(1),
        LockKind::Range => Ok(2),
    }
}

/// All locks of one kind on an inode; [`limits::LOCKS_PER_INODE_MAX`] bounds them.
fn all_of(view: &dyn View, bucket: BucketId, inode: InodeId, kind: u8) -> Result<Vec<Lock>, ViewError> {
    let mut locks = Vec::new();
    scan_prefix(
        view,
        Family::Lock,
        &lock::kind_prefix(bucket, inode, kind),
        &[],
        &mut |key, value| {
            locks.push(read(key, value)?);
            Ok(true)
        },
    )?;
    Ok(locks)
}

fn read(key: &[u8], value: &[u8]) -> Result<Lock, ViewError> {
    Ok(Lock {
        place: LockPlace::of_key(key).ok_or_else(|| missing(Family::Lock, "a whole key"))?,
        record: open_record(Family::Lock, value)?,
    })
}

/// Locks of sessions that live, and of those that have ended.
fn by_life(view: &dyn View, locks: Vec<Lock>) -> Result<(Vec<Lock>, Vec<Lock>), ViewError> {
    let (mut live, mut ended) = (Vec::new(), Vec::new());
    // Locks of a session often follow each other.
    let mut last: Option<(SessionId, bool)> = None;
    for lock in locks {
        let session = lock.place.session;
        let lives = match last {
            Some((known, lives)) if known == session => lives,
            _ => view.get(Family::Session, &session_record::key(session))?.is_some(),
        };
        last = Some((session, lives));
        if lives { &mut live } else { &mut ended }.push(lock);
    }
    Ok((live, ended))
}

fn remove(tx: &mut Tx<'_>, locks: &[Lock]) -> Result<(), ApplyError> {
    for lock in locks {
        tx.delete(Family::Lock, lock.place.key());
        tx.delete(Family::Lock, lock.place.session_key());
        count(tx, lock.place.session, -1)?;
    }
    Ok(())
}

fn insert(tx: &mut Tx<'_>, session: SessionId, locks: &[Lock]) -> Result<(), ApplyError> {
    for lock in locks {
        tx.put(Family::Lock, lock.place.key(), &lock.record);
        tx.put_raw(Family::Lock, lock.place.session_key(), Vec::new());
    }
    let added = i64::try_from(locks.len()).unwrap_or(i64::MAX);
    if added > 0 && count(tx, session, added)? > limits::LOCKS_PER_SESSION_MAX {
        return Err(refuse(
            ErrorCode::LimitExceeded,
            "the session holds as many locks as it may",
        ));
    }
    Ok(())
}

/// Counts a session's locks up or down.
fn count(tx: &mut Tx<'_>, session: SessionId, change: i64) -> Result<u64, ViewError> {
    let key = lock::count_key(session);
    let count: LockCount = tx.record(Family::Lock, &key)?.unwrap_or_default();
    let locks = count.locks.saturating_add_signed(change);
    if locks == 0 {
        tx.delete(Family::Lock, key);
    } else {
        tx.put(Family::Lock, key, &LockCount { locks });
    }
    Ok(locks)
}

/// A session ends: its locks are nobody's from now on; their records are left to the release queue.
pub(crate) fn end_session(tx: &mut Tx<'_>, session: SessionId) -> Result<(), ViewError> {
    if tx.get(Family::Lock, &lock::count_key(session))?.is_some() {
        release::queue(tx, BucketId::new(0), Release::Locks(session.value()))?;
    }
    Ok(())
}

/// Removes locks of an ended session, a step each. `true` once all are gone.
pub(crate) fn release_session(tx: &mut Tx<'_>, session: SessionId, left: &mut usize) -> Result<bool, ViewError> {
    let mut places = Vec::new();
    scan_prefix(tx, Family::Lock, &lock::session_prefix(session), &[], &mut |key, _| {
        places.push(LockPlace::of_session_key(key).ok_or_else(|| missing(Family::Lock, "a whole key"))?);
        Ok(places.len() < *left)
    })?;
    let finished = places.len() < *left;
    *left -= places.len().min(*left);
    for place in &places {
        tx.delete(Family::Lock, place.key());
        tx.delete(Family::Lock, place.session_key());
        count(tx, session, -1)?;
    }
    Ok(finished)
}

/// Whether someone holds, or held when its session ended, a lock on the inode: then the inode is released step by step.
pub(crate) fn any(view: &dyn View, bucket: BucketId, inode: InodeId) -> Result<bool, ViewError> {
    let mut any = false;
    scan_prefix(
        view,
        Family::Lock,
        &lock::inode_prefix(bucket, inode),
        &[],
        &mut |_, _| {
            any = true;
            Ok(false)
        },
    )?;
    Ok(any)
}

/// Removes the locks of an inode that goes, a step each. `true` once all are gone.
pub(crate) fn release_inode(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    inode: InodeId,
    left: &mut usize,
) -> Result<bool, ViewError> {
    let mut locks = Vec::new();
    if *left > 0 {
        scan_prefix(
            tx,
            Family::Lock,
            &lock::inode_prefix(bucket, inode),
            &[],
            &mut |key, value| {
                locks.push(read(key, value)?);
                Ok(locks.len() < *left)
            },
        )?;
    }
    let finished = locks.len() < *left;
    *left -= locks.len().min(*left);
    for lock in &locks {
        tx.delete(Family::Lock, lock.place.key());
        tx.delete(Family::Lock, lock.place.session_key());
        count(tx, lock.place.session, -1)?;
    }
    Ok(finished)
}

pub(crate) fn answer(view: &dyn View, query: &LockQuery) -> Result<LockAnswer, ApplyError> {
    let (bucket, inode) = (BucketId::new(query.bucket_id), InodeId::new(query.inode));
    match &query.question {
        Some(LockQuestion::Test(test)) => {
            let range = test.lock.as_ref().ok_or_else(|| malformed("no lock to test for"))?;
            let all = all_of(view, bucket, inode, checked_kind(range)?)?;
            let (live, _) = by_life(view, all)?;
            let conflict = conflict(&live, SessionId::new(test.session), range);
            Ok(LockAnswer {
                locks: conflict.map(Lock::held).into_iter().collect(),
                more: false,
            })
        }
        Some(LockQuestion::Page(page)) => Ok(self::page(view, bucket, inode, page)?),
        None => Err(malformed("no question")),
    }
}

fn page(view: &dyn View, bucket: BucketId, inode: InodeId, query: &LockPageQuery) -> Result<LockAnswer, ApplyError> {
    let limit = (query.limit as usize).min(limits::LIST_PAGE_MAX);
    let mut from = Vec::new();
    if let Some(after) = &query.after {
        let range = after
            .lock
            .as_ref()
            .ok_or_else(|| malformed("no lock to go on behind"))?;
        let place = LockPlace {
            bucket,
            inode,
            kind: checked_kind(range)?,
            first: range.first,
            session: SessionId::new(after.session),
            owner: range.owner,
        };
        from = place.key();
        from.push(0);
    }
    let (mut locks, mut more) = (Vec::new(), false);
    scan_prefix(
        view,
        Family::Lock,
        &lock::inode_prefix(bucket, inode),
        &from,
        &mut |key, value| {
            let lock = read(key, value)?;
            let session: Option<session_record::SessionRecord> =
                read_record(view, Family::Session, &session_record::key(lock.place.session))?;
            if session.is_none() {
                return Ok(true);
            }
            more = locks.len() == limit;
            if !more {
                locks.push(lock.held());
            }
            Ok(!more)
        },
    )?;
    Ok(LockAnswer { locks, more })
}
