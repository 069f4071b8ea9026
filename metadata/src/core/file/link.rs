//! Names given to files and taken from them, and directories removed.
//!
//! Invariant: no command here takes a name from something that a mount does not show: a directory that holds any hidden key is
//! not empty.

use cairn_common::{
    ids::InodeId,
    limits,
    wire::{
        command::ErrorCode,
        file::{FileOutcome, LinkFile, RemoveDirectory, UnlinkFile},
    },
};

use super::{
    attributes,
    lookup::{Found, find, require},
    outcome, require_inode,
};
use crate::{
    core::{
        bucket::Bucket,
        links,
        path::{self, Entry, Place},
        tx::{ApplyError, Tx, refuse},
    },
    record::inode::{InodeKind, InodeRecord},
};

pub(super) fn link(tx: &mut Tx<'_>, bucket: &mut Bucket, link: &LinkFile) -> Result<FileOutcome, ApplyError> {
    let (inode, parent) = (InodeId::new(link.inode), InodeId::new(link.parent));
    let mut record = require_inode(tx, bucket.id, inode)?;
    if record.kind() == InodeKind::Directory {
        return Err(refuse(ErrorCode::IsDirectory, "a directory has one name"));
    }
    if record.unlinked_at > 0 {
        return Err(refuse(
            ErrorCode::NoSuchInode,
            "the file lost its last name and gets no other",
        ));
    }
    if find(tx, bucket.id, parent, &link.name)?.is_some() {
        return Err(refuse(ErrorCode::Exists, "the name is there already"));
    }
    if record.links() >= limits::LINKS_MAX {
        let detail = format!("the file has {} names, as many as it may", limits::LINKS_MAX);
        return Err(refuse(ErrorCode::TooManyLinks, detail));
    }
    record.touch(tx.time_ms);
    record.posix_mut().links += 1;
    path::put_inode(tx, bucket.id, inode, &record)?;
    path::make_explicit(tx, bucket, parent)?;
    let place = Place {
        parent,
        component: &link.name,
    };
    let kind = record.kind();
    path::enter(tx, bucket, &place, Entry { inode, kind })?;
    Ok(outcome(inode, &record))
}

pub(super) fn unlink(tx: &mut Tx<'_>, bucket: &mut Bucket, unlink: &UnlinkFile) -> Result<FileOutcome, ApplyError> {
    let found = require(tx, bucket.id, InodeId::new(unlink.parent), &unlink.name)?;
    if found.is_directory() {
        return Err(refuse(
            ErrorCode::IsDirectory,
            "a directory is removed by another command",
        ));
    }
    path::make_explicit(tx, bucket, found.parent)?;
    let record = path::inode_record(tx, bucket.id, found.entry.inode)?;
    path::remove(tx, bucket, &found.place(), found.entry)?;
    let record = links::drop_link(tx, bucket, found.entry.inode, record)?;
    Ok(removed(found.entry.inode, &record))
}

pub(super) fn remove_directory(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    remove: &RemoveDirectory,
) -> Result<FileOutcome, ApplyError> {
    let found = require(tx, bucket.id, InodeId::new(remove.parent), &remove.name)?;
    if !found.is_directory() {
        return Err(refuse(ErrorCode::NotDirectory, "the name is no directory's"));
    }
    path::make_explicit(tx, bucket, found.parent)?;
    let record = take_empty_directory(tx, bucket, &found)?;
    Ok(removed(found.entry.inode, &record))
}

/// Removes a directory that holds nothing but its own key `d/` without a byte, and its name.
pub(super) fn take_empty_directory(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    found: &Found,
) -> Result<InodeRecord, ApplyError> {
    let directory = found.entry.inode;
    let record = path::inode_record(tx, bucket.id, directory)?;
    let own = Place {
        parent: directory,
        component: b"",
    };
    let own_key = path::lookup(tx, bucket.id, directory, b"")?;
    if record.children > u64::from(own_key.is_some()) {
        return Err(refuse(ErrorCode::NotEmpty, "the directory holds keys, shown or not"));
    }
    if let Some(entry) = own_key {
        let body = path::inode_record(tx, bucket.id, entry.inode)?;
        if body.kind() != InodeKind::Directory && body.size > 0 {
            return Err(refuse(
                ErrorCode::NotEmpty,
                "an object with bytes has the directory's own key",
            ));
        }
        path::remove(tx, bucket, &own, entry)?;
        links::drop_link(tx, bucket, entry.inode, body)?;
    }
    path::remove(tx, bucket, &found.place(), found.entry)?;
    let record = path::inode_record(tx, bucket.id, directory)?;
    Ok(links::drop_inode(tx, bucket, directory, record)?)
}

/// The answer to a command that took a name from an inode.
pub(super) fn removed(inode: InodeId, record: &InodeRecord) -> FileOutcome {
    FileOutcome {
        removed: Some(attributes::of(inode, record)),
        ..FileOutcome::default()
    }
}
