//! Locks of files: a list for each inode.

use cairn_common::wire::{
    command::{ErrorCode, Outcome},
    file::FileId,
    lock::{HeldLock, LockAction, LockCommand, LockKind, LockOutcome, LockRange},
};

use super::{Verdict, World, no};

impl World {
    pub(crate) fn lock(&mut self, session: u64, command: &LockCommand) -> Verdict {
        let (range, sets) = match &command.action {
            Some(LockAction::Set(range)) => (range, true),
            Some(LockAction::Release(range)) => (range, false),
            None => return no(ErrorCode::Malformed),
        };
        let file = FileId {
            bucket: command.bucket_id,
            inode: command.inode,
        };
        let mut codes = range_codes(range);
        let bucket = self.buckets.values().find(|bucket| bucket.id == file.bucket);
        if sets && bucket.is_none_or(|bucket| !bucket.inodes.contains_key(&file.inode)) {
            codes.push(ErrorCode::NoSuchInode);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        if sets && let Some(conflict) = self.lock_conflict(file, session, range) {
            return Ok(Outcome::Lock(LockOutcome {
                conflict: Some(conflict),
            }));
        }
        let locks = self.locks.entry(file).or_default();
        let mut kept = Vec::new();
        let mut wanted = range.clone();
        for lock in locks.drain(..) {
            let of_owner = lock.session == session
                && lock
                    .lock
                    .as_ref()
                    .is_some_and(|held| held.owner == range.owner && held.kind == range.kind);
            let held = lock.lock.clone().unwrap_or_default();
            if !of_owner {
                kept.push(lock);
            } else if sets && held.exclusive == range.exclusive && touch(&held, range) {
                wanted.first = wanted.first.min(held.first);
                wanted.last = wanted.last.max(held.last);
            } else {
                kept.extend(without(&held, range).into_iter().map(|left| HeldLock {
                    session,
                    lock: Some(left),
                }));
            }
        }
        if sets {
            kept.push(HeldLock {
                session,
                lock: Some(wanted),
            });
        }
        *locks = kept;
        Ok(Outcome::Lock(LockOutcome { conflict: None }))
    }

    /// The first lock of another owner that does not go with this one.
    pub(crate) fn lock_conflict(&self, file: FileId, session: u64, range: &LockRange) -> Option<HeldLock> {
        let others = |lock: &HeldLock| {
            let held = lock.lock.clone().unwrap_or_default();
            held.kind == range.kind
                && (lock.session, held.owner) != (session, range.owner)
                && held.first <= range.last
                && range.first <= held.last
                && (held.exclusive || range.exclusive)
        };
        self.locks_of(file).into_iter().find(others)
    }

    /// The locks of an inode in order of (kind, first byte, session, owner).
    pub(crate) fn locks_of(&self, file: FileId) -> Vec<HeldLock> {
        let mut locks = self.locks.get(&file).cloned().unwrap_or_default();
        locks.sort_by_key(|lock| {
            let held = lock.lock.clone().unwrap_or_default();
            (held.kind, held.first, lock.session, held.owner)
        });
        locks
    }
}

pub(crate) fn range_codes(range: &LockRange) -> Vec<ErrorCode> {
    let sound = match range.kind() {
        LockKind::Unspecified => false,
        LockKind::WholeFile => range.first == 0 && range.last == u64::MAX,
        LockKind::Range => range.first <= range.last,
    };
    if sound { Vec::new() } else { vec![ErrorCode::Malformed] }
}

/// Whether two ranges overlap or lie side by side.
fn touch(left: &LockRange, right: &LockRange) -> bool {
    let (left, right) = ((left.first, left.last), (right.first, right.last));
    let follows = |(_, last): (u64, u64), (first, _): (u64, u64)| last.checked_add(1) == Some(first);
    (left.0 <= right.1 && right.0 <= left.1) || follows(left, right) || follows(right, left)
}

/// What is left of a lock without a range.
fn without(held: &LockRange, range: &LockRange) -> Vec<LockRange> {
    if held.last < range.first || range.last < held.first {
        return vec![held.clone()];
    }
    let mut left = Vec::new();
    if held.first < range.first {
        left.push(LockRange {
            last: range.first - 1,
            ..held.clone()
        });
    }
    if held.last > range.last {
        left.push(LockRange {
            first: range.last + 1,
            ..held.clone()
        });
    }
    left
}
