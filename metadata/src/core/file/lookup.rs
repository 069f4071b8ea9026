//! What a name stands for in a mount.
//!
//! Invariant: where a file `a` and a directory `a/` exist side by side, the directory is what the name stands for.

use cairn_common::{
    ids::{BucketId, InodeId},
    wire::{
        command::ErrorCode,
        file::{FileAttributes, LookupQuery},
    },
};

use super::{attributes, require_inode};
use crate::{
    core::{
        path::{self, Entry, Place, check_name},
        tx::{ApplyError, refuse},
        view::{View, ViewError},
    },
    record::inode::{InodeKind, InodeRecord},
};

/// A name as a mount finds it.
pub(super) struct Found {
    pub(super) parent: InodeId,
    pub(super) component: Vec<u8>,
    pub(super) entry: Entry,
}

impl Found {
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            parent: self.parent,
            component: &self.component,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.entry.kind == InodeKind::Directory
    }
}

/// The record of a directory that names can be found in and entered into.
pub(super) fn require_directory(
    view: &dyn View,
    bucket: BucketId,
    directory: InodeId,
) -> Result<InodeRecord, ApplyError> {
    let record = require_inode(view, bucket, directory)?;
    if record.kind() != InodeKind::Directory {
        return Err(refuse(
            ErrorCode::NotDirectory,
            format!("inode {directory} is no directory"),
        ));
    }
    if record.unlinked_at > 0 {
        return Err(refuse(
            ErrorCode::NoSuchInode,
            format!("directory {directory} was removed"),
        ));
    }
    Ok(record)
}

/// The component under which a name of this kind stands.
pub(super) fn component_of(name: &[u8], kind: InodeKind) -> Vec<u8> {
    let mark: &[u8] = if kind == InodeKind::Directory { b"/" } else { b"" };
    [name, mark].concat()
}

/// What `name` stands for in the directory `parent`, which must be one.
pub(super) fn find(
    view: &dyn View,
    bucket: BucketId,
    parent: InodeId,
    name: &[u8],
) -> Result<Option<Found>, ApplyError> {
    Ok(find_with_directory(view, bucket, parent, name)?.1)
}

/// The same with the directory's record.
pub(super) fn find_with_directory(
    view: &dyn View,
    bucket: BucketId,
    parent: InodeId,
    name: &[u8],
) -> Result<(InodeRecord, Option<Found>), ApplyError> {
    check_name(name)?;
    let record = require_directory(view, bucket, parent)?;
    let found = find_in(view, bucket, parent, &record, name)?;
    Ok((record, found))
}

fn find_in(
    view: &dyn View,
    bucket: BucketId,
    parent: InodeId,
    record: &InodeRecord,
    name: &[u8],
) -> Result<Option<Found>, ViewError> {
    let found = |component: Vec<u8>| -> Result<Option<Found>, ViewError> {
        let entry = path::lookup(view, bucket, parent, &component)?;
        Ok(entry.map(|entry| Found {
            parent,
            component,
            entry,
        }))
    };
    if record.subdirectories > 0
        && let Some(directory) = found(component_of(name, InodeKind::Directory))?
    {
        return Ok(Some(directory));
    }
    found(component_of(name, InodeKind::File))
}

/// What `name` stands for, which must be there.
pub(super) fn require(view: &dyn View, bucket: BucketId, parent: InodeId, name: &[u8]) -> Result<Found, ApplyError> {
    find(view, bucket, parent, name)?.ok_or_else(|| {
        let name = String::from_utf8_lossy(name);
        refuse(ErrorCode::NoSuchEntry, format!("directory {parent} holds no {name:?}"))
    })
}

/// Answers a lookup.
pub(super) fn lookup(view: &dyn View, bucket: BucketId, query: &LookupQuery) -> Result<FileAttributes, ApplyError> {
    let found = require(view, bucket, InodeId::new(query.parent), &query.name)?;
    let inode = found.entry.inode;
    Ok(attributes::of(inode, &path::inode_record(view, bucket, inode)?))
}
