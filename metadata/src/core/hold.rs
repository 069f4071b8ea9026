//! Files without a name that mount sessions hold open.
//!
//! A mount tells with its heartbeats; opening a file writes nothing. Invariant: what a live mount session holds is not
//! released; what no session holds any more goes back into the release queue.
//! A hold is of an inode that is there.

use std::collections::BTreeSet;

use cairn_common::{
    ids::{BucketId, InodeId, SessionId},
    limits,
    wire::{
        command::ErrorCode,
        file::{FileId, OrphansPage},
    },
};

use super::{
    release,
    tx::{ApplyError, Tx, open_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    garbage::{self, Release, ReleaseRecord},
    hold, inode,
};

/// Lets `session` hold just these files.
pub(crate) fn set(tx: &mut Tx<'_>, session: SessionId, files: &[FileId]) -> Result<(), ApplyError> {
    if files.len() > limits::HELD_FILES_MAX {
        let detail = format!(
            "a session holds at most {} files without a name",
            limits::HELD_FILES_MAX
        );
        return Err(refuse(ErrorCode::LimitExceeded, detail));
    }
    let wanted: BTreeSet<FileId> = files.iter().copied().collect();
    let held = held_by(tx, session)?;
    for file in wanted.difference(&held) {
        // What is released already is no longer held by anything.
        let key = inode::key(BucketId::new(file.bucket), InodeId::new(file.inode));
        if tx.get(Family::Inode, &key)?.is_none() {
            continue;
        }
        for key in hold::keys(session, *file) {
            tx.put_raw(Family::Hold, key, Vec::new());
        }
    }
    for file in held.difference(&wanted) {
        let_go(tx, session, *file)?;
    }
    Ok(())
}

/// Lets a session that ends hold nothing.
pub(crate) fn clear(tx: &mut Tx<'_>, session: SessionId) -> Result<(), ViewError> {
    for file in held_by(tx, session)? {
        let_go(tx, session, file)?;
    }
    Ok(())
}

/// Whether any session holds a file.
pub(crate) fn is_held(view: &dyn View, bucket: BucketId, inode: InodeId) -> Result<bool, ViewError> {
    let prefix = hold::file_prefix(bucket, inode);
    let mut held = false;
    scan_prefix(view, Family::Hold, &prefix, &prefix, &mut |_, _| {
        held = true;
        Ok(false)
    })?;
    Ok(held)
}

fn held_by(tx: &Tx<'_>, session: SessionId) -> Result<BTreeSet<FileId>, ViewError> {
    let prefix = hold::session_prefix(session);
    let mut held = BTreeSet::new();
    scan_prefix(tx, Family::Hold, &prefix, &prefix, &mut |key, _| {
        held.extend(hold::file_of(key));
        Ok(true)
    })?;
    Ok(held)
}

fn let_go(tx: &mut Tx<'_>, session: SessionId, file: FileId) -> Result<(), ViewError> {
    for key in hold::keys(session, file) {
        tx.delete(Family::Hold, key);
    }
    let (bucket, inode) = (BucketId::new(file.bucket), InodeId::new(file.inode));
    let waiting = garbage::held_key(bucket, inode);
    if tx.get(Family::Garbage, &waiting)?.is_some() && !is_held(tx, bucket, inode)? {
        tx.delete(Family::Garbage, waiting);
        release::requeue(tx, bucket, Release::Inode(file.inode));
    }
    Ok(())
}

/// The files that lost their last name behind log index `seen`, as far as that is settled before the entry at hand.
pub(crate) fn orphans(tx: &Tx<'_>, seen: u64) -> Result<OrphansPage, ViewError> {
    let settled = tx.log_index.saturating_sub(1);
    let mut page = OrphansPage {
        orphans: Vec::new(),
        reached: settled.max(seen),
        more: false,
    };
    let mut visited = 0;
    let mut last = seen;
    let from = garbage::queue_key(seen.saturating_add(1), 0);
    scan_prefix(
        tx,
        Family::Garbage,
        &[garbage::QUEUE_PREFIX],
        &from,
        &mut |key, value| {
            let queued_at = garbage::queued_at(key).unwrap_or(u64::MAX);
            if queued_at > settled {
                return Ok(false);
            }
            // A page ends between two log indices, so that there is one to go on behind.
            if visited >= limits::ORPHANS_PAGE_MAX && queued_at > last {
                page.more = true;
                page.reached = last;
                return Ok(false);
            }
            visited += 1;
            last = queued_at;
            let record: ReleaseRecord = open_record(Family::Garbage, value)?;
            if let Some(Release::Inode(inode)) = record.release {
                page.orphans.push(FileId {
                    bucket: record.bucket,
                    inode,
                });
            }
            Ok(true)
        },
    )?;
    Ok(page)
}
