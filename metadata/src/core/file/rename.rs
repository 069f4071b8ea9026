//! Names moved: files and directories, over others or in exchange.
//!
//! Invariant: a directory is moved by its one name, however much it holds; it never comes to lie within itself; nothing that a
//! mount does not show is replaced.

use cairn_common::{
    ids::{BucketId, InodeId},
    limits,
    wire::{
        command::ErrorCode,
        file::{FileOutcome, Rename, RenameMode},
    },
};

use super::{
    link::{removed, take_empty_directory},
    lookup::{Found, component_of, find, require},
};
use crate::{
    core::{
        bucket::Bucket,
        chunk::malformed,
        links,
        path::{self, Entry, Place},
        tx::{ApplyError, Tx, refuse},
        view::{View, ViewError},
    },
    record::inode::InodeKind,
};

pub(super) fn rename(tx: &mut Tx<'_>, bucket: &mut Bucket, rename: &Rename) -> Result<FileOutcome, ApplyError> {
    let mode = RenameMode::try_from(rename.mode).map_err(|_| malformed("an unknown mode"))?;
    let new_parent = InodeId::new(rename.new_parent);
    let from = require(tx, bucket.id, InodeId::new(rename.parent), &rename.name)?;
    let to = find(tx, bucket.id, new_parent, &rename.new_name)?;
    match (mode, to) {
        (RenameMode::NoReplace, Some(_)) => Err(refuse(ErrorCode::Exists, "the new name is there already")),
        (RenameMode::Exchange, None) => Err(refuse(ErrorCode::NoSuchEntry, "there is nothing to exchange with")),
        // Two names of one file, or one name: POSIX changes nothing.
        (RenameMode::Replace | RenameMode::Exchange, Some(to)) if to.entry.inode == from.entry.inode => {
            Ok(FileOutcome::default())
        }
        (RenameMode::Exchange, Some(to)) => exchange(tx, bucket, &from, &to),
        (RenameMode::Replace | RenameMode::NoReplace, to) => {
            move_name(tx, bucket, &from, new_parent, &rename.new_name, to)
        }
    }
}

fn move_name(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    from: &Found,
    new_parent: InodeId,
    new_name: &[u8],
    to: Option<Found>,
) -> Result<FileOutcome, ApplyError> {
    if from.is_directory() && new_parent != from.parent {
        refuse_circle(tx, bucket.id, from.entry.inode, new_parent)?;
    }
    path::make_explicit(tx, bucket, from.parent)?;
    path::make_explicit(tx, bucket, new_parent)?;
    let outcome = match to {
        Some(to) => replaced(tx, bucket, from, &to)?,
        None => FileOutcome::default(),
    };
    path::remove(tx, bucket, &from.place(), from.entry)?;
    let place = Place {
        parent: new_parent,
        component: &component_of(new_name, from.entry.kind),
    };
    path::enter(tx, bucket, &place, from.entry)?;
    moved(tx, bucket.id, from.entry, new_parent)?;
    Ok(outcome)
}

/// Removes what the new name stood for, as rename(2) allows it.
fn replaced(tx: &mut Tx<'_>, bucket: &mut Bucket, from: &Found, to: &Found) -> Result<FileOutcome, ApplyError> {
    let inode = to.entry.inode;
    let record = match (from.is_directory(), to.is_directory()) {
        (true, false) => return Err(refuse(ErrorCode::NotDirectory, "a directory replaces a directory only")),
        (false, true) => {
            return Err(refuse(
                ErrorCode::IsDirectory,
                "a directory is replaced by a directory only",
            ));
        }
        (true, true) => take_empty_directory(tx, bucket, to)?,
        (false, false) => {
            let record = path::inode_record(tx, bucket.id, inode)?;
            path::remove(tx, bucket, &to.place(), to.entry)?;
            links::drop_link(tx, bucket, inode, record)?
        }
    };
    Ok(removed(inode, &record))
}

fn exchange(tx: &mut Tx<'_>, bucket: &mut Bucket, from: &Found, to: &Found) -> Result<FileOutcome, ApplyError> {
    if from.parent != to.parent {
        if from.is_directory() {
            refuse_circle(tx, bucket.id, from.entry.inode, to.parent)?;
        }
        if to.is_directory() {
            refuse_circle(tx, bucket.id, to.entry.inode, from.parent)?;
        }
    }
    path::make_explicit(tx, bucket, from.parent)?;
    path::make_explicit(tx, bucket, to.parent)?;
    path::remove(tx, bucket, &from.place(), from.entry)?;
    path::remove(tx, bucket, &to.place(), to.entry)?;
    for (found, entry) in [(from, to.entry), (to, from.entry)] {
        let component = component_of(path::name_of(&found.component), entry.kind);
        if path::lookup(tx, bucket.id, found.parent, &component)?.is_some() {
            return Err(refuse(
                ErrorCode::Exists,
                "a key beside the directory, which a mount does not show, has the name already",
            ));
        }
        let place = Place {
            parent: found.parent,
            component: &component,
        };
        path::enter(tx, bucket, &place, entry)?;
        moved(tx, bucket.id, entry, found.parent)?;
    }
    Ok(FileOutcome::default())
}

/// Notes the move in what was moved.
fn moved(tx: &mut Tx<'_>, bucket: BucketId, entry: Entry, parent: InodeId) -> Result<(), ViewError> {
    let mut record = path::inode_record(tx, bucket, entry.inode)?;
    if entry.kind == InodeKind::Directory {
        record.parent = parent.value();
    }
    record.touch(tx.time_ms);
    path::put_inode(tx, bucket, entry.inode, &record)?;
    Ok(())
}

/// Refuses to let `directory` lie in `parent` where that is within it.
fn refuse_circle(view: &dyn View, bucket: BucketId, directory: InodeId, parent: InodeId) -> Result<(), ApplyError> {
    let mut at = parent;
    for _ in 0..limits::RENAME_DEPTH_MAX {
        if at == directory {
            return Err(refuse(ErrorCode::Loop, "the directory would lie within itself"));
        }
        if at == InodeId::ROOT {
            return Ok(());
        }
        at = InodeId::new(path::inode_record(view, bucket, at)?.parent);
    }
    let detail = format!(
        "the new place lies more than {} directories deep",
        limits::RENAME_DEPTH_MAX
    );
    Err(refuse(ErrorCode::LimitExceeded, detail))
}
