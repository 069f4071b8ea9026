//! New files and directories.
//!
//! Invariant: what is made has a name from the start, and moves the times of its directory.

use cairn_common::{
    ids::InodeId,
    limits,
    wire::{
        command::ErrorCode,
        file::{CreateFile, FileKind, FileOutcome, MakeDirectory},
    },
};

use super::{
    acl,
    attributes::MODE_MASK,
    lookup::{component_of, find_with_directory},
    outcome,
};
use crate::{
    core::{
        bucket::Bucket,
        chunk::malformed,
        path::{self, Entry, Place},
        tx::{ApplyError, Tx, refuse},
        usage,
    },
    record::inode::{InodeKind, InodeRecord, PosixRecord},
};

/// Under which number something is made, and when.
#[derive(Clone, Copy)]
pub(super) struct Making {
    /// Where it was given before.
    pub(super) inode: Option<InodeId>,
    pub(super) time_ns: i64,
}

pub(super) fn create(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    create: &CreateFile,
    making: Making,
) -> Result<FileOutcome, ApplyError> {
    check_kind(create)?;
    let parent = InodeId::new(create.parent);
    let (directory, found) = find_with_directory(tx, bucket.id, parent, &create.name)?;
    if let Some(found) = found {
        if create.exclusive || create.kind() != FileKind::File {
            return Err(exists());
        }
        return match found.entry.kind {
            InodeKind::File => Ok(outcome(
                found.entry.inode,
                &path::inode_record(tx, bucket.id, found.entry.inode)?,
            )),
            InodeKind::Directory => Err(refuse(ErrorCode::IsDirectory, "the name is a directory's")),
            InodeKind::Unspecified
            | InodeKind::Symlink
            | InodeKind::Fifo
            | InodeKind::Socket
            | InodeKind::CharacterDevice
            | InodeKind::BlockDevice => Err(exists()),
        };
    }
    let device = match create.kind() {
        FileKind::CharacterDevice | FileKind::BlockDevice => create.device,
        FileKind::Unspecified
        | FileKind::File
        | FileKind::Directory
        | FileKind::Symlink
        | FileKind::Fifo
        | FileKind::Socket => 0,
    };
    let mut record = InodeRecord {
        kind: create.kind,
        modified_ms: tx.time_ms,
        size: create.target.len() as u64,
        inline: create.target.clone(),
        posix: Some(PosixRecord {
            device,
            ..posix(making.time_ns, create.mode, create.uid, create.gid)
        }),
        ..InodeRecord::default()
    };
    usage::grow(bucket, record.size)?;
    path::make_explicit(tx, bucket, parent)?;
    let lists = acl::inherit(tx, bucket.id, (parent, &directory), &mut record, create.umask)?;
    let inode = match making.inode {
        Some(inode) => {
            path::enter_inode(tx, bucket, inode, &record);
            inode
        }
        None => path::new_inode(tx, bucket, &record),
    };
    acl::enter(tx, bucket.id, inode, lists);
    let place = Place {
        parent,
        component: &create.name,
    };
    let kind = create.kind();
    path::enter(tx, bucket, &place, Entry { inode, kind })?;
    Ok(FileOutcome {
        created: true,
        ..outcome(inode, &record)
    })
}

fn check_kind(create: &CreateFile) -> Result<(), ApplyError> {
    let is_symlink = match create.kind() {
        FileKind::File | FileKind::Fifo | FileKind::Socket | FileKind::CharacterDevice | FileKind::BlockDevice => false,
        FileKind::Symlink => true,
        FileKind::Unspecified | FileKind::Directory => return Err(malformed("no kind of file")),
    };
    if is_symlink == create.target.is_empty() {
        return Err(malformed(
            "a symbolic link without a target, or a target for something else",
        ));
    }
    if create.target.len() > limits::SYMLINK_TARGET_LEN_MAX {
        return Err(refuse(
            ErrorCode::NameTooLong,
            "a symbolic link's target has at most 4,095 bytes",
        ));
    }
    Ok(())
}

fn exists() -> ApplyError {
    refuse(ErrorCode::Exists, "the name is there already")
}

/// Attributes of what is made.
fn posix(time_ns: i64, mode: u32, uid: u32, gid: u32) -> PosixRecord {
    PosixRecord {
        mode: mode & MODE_MASK,
        uid,
        gid,
        links: 1,
        atime_ns: time_ns,
        mtime_ns: time_ns,
        ctime_ns: time_ns,
        ..PosixRecord::default()
    }
}

pub(super) fn make_directory(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    make: &MakeDirectory,
) -> Result<FileOutcome, ApplyError> {
    let parent = InodeId::new(make.parent);
    let (directory, found) = find_with_directory(tx, bucket.id, parent, &make.name)?;
    if found.is_some() {
        return Err(exists());
    }
    let mut record = InodeRecord {
        posix: Some(posix(tx.time_ns(), make.mode, make.uid, make.gid)),
        ..InodeRecord::directory(parent, tx.time_ms)
    };
    path::make_explicit(tx, bucket, parent)?;
    let lists = acl::inherit(tx, bucket.id, (parent, &directory), &mut record, make.umask)?;
    let inode = path::new_inode(tx, bucket, &record);
    acl::enter(tx, bucket.id, inode, lists);
    let place = Place {
        parent,
        component: &component_of(&make.name, InodeKind::Directory),
    };
    let kind = InodeKind::Directory;
    path::enter(tx, bucket, &place, Entry { inode, kind })?;
    path::make_explicit(tx, bucket, inode)?;
    let record = path::inode_record(tx, bucket.id, inode)?;
    Ok(FileOutcome {
        created: true,
        ..outcome(inode, &record)
    })
}
