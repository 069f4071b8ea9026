//! Attributes of inodes, read and set.
//!
//! Invariant: what S3 made and no mount has changed has attributes by default, and no record of them.

use cairn_common::{
    ids::InodeId,
    wire::{
        command::ErrorCode,
        file::{FileAttributes, FileOutcome, SetAttributes, SetTime},
    },
};

use super::{acl, data, lookup::require_directory, outcome, require_inode};
use crate::{
    core::{
        bucket::Bucket,
        extents::{File, References},
        path,
        tx::{ApplyError, Tx, refuse},
    },
    record::inode::{InodeKind, InodeRecord},
};

/// Permission bits with setuid, setgid and the sticky bit.
pub(super) const MODE_MASK: u32 = 0o7777;
const SETUID: u32 = 0o4000;
pub(super) const SETGID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

/// An inode as POSIX sees it.
pub(super) fn of(inode: InodeId, record: &InodeRecord) -> FileAttributes {
    let posix = record.posix();
    let is_directory = record.kind() == InodeKind::Directory;
    let is_symlink = record.kind() == InodeKind::Symlink;
    FileAttributes {
        inode: inode.value(),
        kind: record.kind,
        mode: posix.mode,
        uid: posix.uid,
        gid: posix.gid,
        links: record.links(),
        device: posix.device,
        size: if is_directory { record.children } else { record.size },
        atime_ns: posix.atime_ns,
        mtime_ns: posix.mtime_ns,
        ctime_ns: posix.ctime_ns,
        data_version: record.data_version(),
        target: if is_symlink {
            record.inline.clone()
        } else {
            Default::default()
        },
        parent: record.parent,
        has_access_acl: posix.has_access_acl,
        has_default_acl: posix.has_default_acl,
    }
}

pub(super) fn set(tx: &mut Tx<'_>, bucket: &mut Bucket, set: &SetAttributes) -> Result<FileOutcome, ApplyError> {
    let inode = InodeId::new(set.inode);
    let mut record = require_inode(tx, bucket.id, inode)?;
    if record.kind() == InodeKind::Directory {
        require_directory(tx, bucket.id, inode)?;
        path::make_explicit(tx, bucket, inode)?;
        record = path::inode_record(tx, bucket.id, inode)?;
    }
    let mut file = File {
        bucket: bucket.id,
        inode,
        record,
    };
    file.record.touch(tx.time_ms);
    let mut references = References::default();
    if let Some(size) = set.size {
        require_regular(&file.record)?;
        data::resize(tx, bucket, &mut file, &mut references, size)?;
        file.record.touch_data(tx.time_ms);
    }
    if set.clear_suid {
        clear_suid(&mut file.record);
    }
    let now_ns = tx.time_ns();
    let time_ns = |time: SetTime| time.ns.unwrap_or(now_ns);
    let posix = file.record.posix_mut();
    posix.uid = set.uid.unwrap_or(posix.uid);
    posix.gid = set.gid.unwrap_or(posix.gid);
    posix.atime_ns = set.atime.map_or(posix.atime_ns, time_ns);
    posix.mtime_ns = set.mtime.map_or(posix.mtime_ns, time_ns);
    if let Some(mode) = set.mode {
        acl::change_mode(tx, bucket.id, inode, &mut file.record, mode & MODE_MASK)?;
    }
    path::put_inode(tx, bucket.id, inode, &file.record)?;
    references.settle(tx, bucket.id)?;
    Ok(outcome(inode, &file.record))
}

/// Clears setuid, and setgid where it does not stand for mandatory locking.
pub(super) fn clear_suid(record: &mut InodeRecord) {
    if record.kind() == InodeKind::Directory {
        return;
    }
    let posix = record.posix_mut();
    posix.mode &= !SETUID;
    if posix.mode & GROUP_EXECUTE != 0 {
        posix.mode &= !SETGID;
    }
}

/// Refuses what only a regular file can do.
pub(super) fn require_regular(record: &InodeRecord) -> Result<(), ApplyError> {
    match record.kind() {
        InodeKind::File => Ok(()),
        InodeKind::Directory => Err(refuse(ErrorCode::IsDirectory, "a directory holds no data")),
        InodeKind::Unspecified
        | InodeKind::Symlink
        | InodeKind::Fifo
        | InodeKind::Socket
        | InodeKind::CharacterDevice
        | InodeKind::BlockDevice => Err(refuse(ErrorCode::NotFile, "only a regular file holds data")),
    }
}
