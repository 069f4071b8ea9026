//! Files whose numbers were given before they were made: a mount that alone uses a directory tells its programs of a new file
//! first, and the service once something of it has to last.
//!
//! Invariant: a number is given once. Who may make files is trusted to use each for one file only; that no inode has it now is checked.

use cairn_common::{
    ids::{InodeId, SessionId},
    limits,
    wire::{
        command::ErrorCode,
        file::{CreateFile, CreateWritten, FileKind, FileOutcome, ReserveInodes, SetAttributes, WriteFile},
    },
};

use super::{
    attributes,
    create::{self, Making},
    data, lookup, outcome,
};
use crate::{
    core::{
        bucket::Bucket,
        chunk::malformed,
        path,
        tx::{ApplyError, Tx, refuse},
    },
    record::inode::InodeRecord,
};

/// How far from its command, by the clocks of both, a file may have been made, in nanoseconds.
const APART_NS_MAX: i64 = 10_000_000_000;

pub(super) fn reserve(bucket: &mut Bucket, reserve: ReserveInodes) -> Result<FileOutcome, ApplyError> {
    if !(1..=limits::RESERVED_INODES_MAX).contains(&reserve.count) {
        return Err(malformed("no inodes to reserve, or too many"));
    }
    Ok(FileOutcome {
        first_reserved: bucket.reserve_inodes(reserve.count).value(),
        ..FileOutcome::default()
    })
}

pub(super) fn create(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    session: SessionId,
    made: &CreateWritten,
) -> Result<FileOutcome, ApplyError> {
    let create = made.create.as_ref().ok_or_else(|| malformed("no file"))?;
    let (parent, inode) = (InodeId::new(create.parent), InodeId::new(made.inode));
    check(bucket, create, made)?;
    if let Some(record) = path::find_inode(tx, bucket.id, inode)? {
        let found = lookup::find(tx, bucket.id, parent, &create.name)?;
        if found.is_none_or(|found| found.entry.inode != inode) {
            return Err(refuse(ErrorCode::Exists, format!("inode {inode} is there already")));
        }
        return Ok(FileOutcome {
            created: true,
            ..outcome(inode, &record)
        });
    }
    let now_ns = tx.time_ns();
    let making = Making {
        inode: Some(inode),
        time_ns: if (now_ns - APART_NS_MAX..=now_ns + APART_NS_MAX).contains(&made.made_ns) {
            made.made_ns
        } else {
            now_ns
        },
    };
    let before = path::find_inode(tx, bucket.id, parent)?;
    create::create(tx, bucket, create, making)?;
    if let Some(before) = before {
        move_times(tx, bucket, parent, &before, making.time_ns)?;
    }
    if !made.extents.is_empty() {
        let write = WriteFile {
            inode: made.inode,
            extents: made.extents.clone(),
            ..WriteFile::default()
        };
        data::write(tx, bucket, session, &write)?;
    }
    for set in &made.then {
        let set = SetAttributes {
            inode: made.inode,
            ..*set
        };
        attributes::set(tx, bucket, &set)?;
    }
    Ok(FileOutcome {
        created: true,
        ..outcome(inode, &path::inode_record(tx, bucket.id, inode)?)
    })
}

/// Gives a directory the times of when the file was made, for whom the mount has told so already, in whatever order it tells of files.
fn move_times(
    tx: &mut Tx<'_>,
    bucket: &Bucket,
    directory: InodeId,
    before: &InodeRecord,
    time_ns: i64,
) -> Result<(), ApplyError> {
    let now_ns = tx.time_ns();
    let moved = |before_ns: i64| match before_ns {
        to_come if to_come > now_ns => time_ns,
        before_ns => before_ns.max(time_ns),
    };
    let mut record = path::inode_record(tx, bucket.id, directory)?;
    let (posix, before) = (record.posix_mut(), before.posix());
    posix.mtime_ns = moved(before.mtime_ns);
    posix.ctime_ns = moved(before.ctime_ns);
    path::put_inode(tx, bucket.id, directory, &record)?;
    Ok(())
}

fn check(bucket: &Bucket, create: &CreateFile, made: &CreateWritten) -> Result<(), ApplyError> {
    if create.kind() != FileKind::File || !create.exclusive {
        return Err(malformed("what has a reserved number is an exclusive regular file"));
    }
    if made.then.len() > limits::LATER_ATTRIBUTES_MAX || made.then.iter().any(|set| set.size.is_some()) {
        return Err(malformed("too many attributes to set, or a size"));
    }
    if made.inode <= InodeId::ROOT.value() || !bucket.has_given(InodeId::new(made.inode)) {
        return Err(malformed("this inode was not reserved"));
    }
    Ok(())
}
