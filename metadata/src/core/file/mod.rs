//! What mounts ask for: files and directories with POSIX's rules, by inode and name.
//!
//! Each family of commands has a file here. Invariant: a directory that a mount changes is explicit first; every change of an
//! inode moves the times that POSIX says, by the entry's own time; what is behind a name is decided by [`lookup::find`] alone.

mod acl;
mod attributes;
mod create;
mod data;
mod directory;
mod link;
mod lookup;
mod rename;
mod reserved;
mod space;
mod xattr;

use cairn_common::{
    ids::{BucketId, InodeId, SessionId},
    wire::{
        command::{ErrorCode, Outcome},
        file::{FileAction, FileAnswer, FileCommand, FileOutcome, FileQuery, FileQuestion, FileReply},
        object::ObjectAttributes,
    },
};

use self::create::Making;
use super::{
    bucket,
    chunk::malformed,
    path, plan,
    tx::{ApplyError, Tx, refuse},
    view::View,
};
use crate::record::inode::{InodeKind, InodeRecord};

/// Carries out a command of a mount.
pub(crate) fn apply(tx: &mut Tx<'_>, session: SessionId, command: &FileCommand) -> Result<Outcome, ApplyError> {
    let action = command.action.as_ref().ok_or_else(|| malformed("no action"))?;
    let mut bucket = bucket::require_id(tx, BucketId::new(command.bucket))?;
    let outcome = match action {
        FileAction::Create(create) => {
            let making = Making {
                inode: None,
                time_ns: tx.time_ns(),
            };
            create::create(tx, &mut bucket, create, making)
        }
        FileAction::MakeDirectory(make) => create::make_directory(tx, &mut bucket, make),
        FileAction::Link(link) => link::link(tx, &mut bucket, link),
        FileAction::Unlink(unlink) => link::unlink(tx, &mut bucket, unlink),
        FileAction::RemoveDirectory(remove) => link::remove_directory(tx, &mut bucket, remove),
        FileAction::Rename(rename) => rename::rename(tx, &mut bucket, rename),
        FileAction::SetAttributes(set) => attributes::set(tx, &mut bucket, set),
        FileAction::SetXattr(set) => xattr::set(tx, &mut bucket, set),
        FileAction::RemoveXattr(remove) => xattr::remove(tx, &mut bucket, remove),
        FileAction::Write(write) => data::write(tx, &mut bucket, session, write),
        FileAction::ChangeSpace(change) => space::change(tx, &mut bucket, change),
        FileAction::CloneRange(clone) => space::clone_range(tx, &mut bucket, clone),
        FileAction::Merge(merge) => data::merge(tx, &bucket, session, merge),
        FileAction::ReserveInodes(reserve) => reserved::reserve(&mut bucket, *reserve),
        FileAction::CreateWritten(made) => reserved::create(tx, &mut bucket, session, made),
    }?;
    bucket.save(tx)?;
    Ok(Outcome::File(outcome))
}

/// Answers a question of a mount.
pub(crate) fn answer(view: &dyn View, query: &FileQuery) -> Result<FileAnswer, ApplyError> {
    let question = query.question.as_ref().ok_or_else(|| malformed("no question"))?;
    let bucket = BucketId::new(query.bucket);
    let reply = match question {
        FileQuestion::Lookup(query) => FileReply::Attributes(lookup::lookup(view, bucket, query)?),
        FileQuestion::Attributes(query) => {
            let inode = InodeId::new(query.inode);
            FileReply::Attributes(attributes::of(inode, &require_inode(view, bucket, inode)?))
        }
        FileQuestion::Directory(query) => FileReply::Directory(directory::page(view, bucket, query)?),
        FileQuestion::Xattr(query) => FileReply::Xattr(xattr::value(view, bucket, query)?),
        FileQuestion::XattrNames(query) => FileReply::XattrNames(xattr::names(view, bucket, query)?),
        FileQuestion::Plan(query) => FileReply::Plan(data::plan(view, bucket, query)?),
        FileQuestion::Space(_) => FileReply::Space(space::space(view, bucket)?),
        FileQuestion::ObjectAttributes(query) => {
            FileReply::ObjectAttributes(object_attributes(view, bucket, InodeId::new(query.inode))?)
        }
    };
    Ok(FileAnswer { reply: Some(reply) })
}

/// What S3 tells of a file; of a directory, what it tells of the key `d/` where that is there.
fn object_attributes(view: &dyn View, bucket: BucketId, inode: InodeId) -> Result<ObjectAttributes, ApplyError> {
    let record = require_inode(view, bucket, inode)?;
    let no_object = || refuse(ErrorCode::NoSuchXattr, "it is no object");
    match record.kind() {
        InodeKind::File => Ok(plan::attributes(inode, record)),
        InodeKind::Directory => {
            let own = path::lookup(view, bucket, inode, b"")?.filter(|entry| entry.is_object(b""));
            let own = own.ok_or_else(no_object)?.inode;
            Ok(plan::attributes(own, path::inode_record(view, bucket, own)?))
        }
        InodeKind::Unspecified
        | InodeKind::Symlink
        | InodeKind::Fifo
        | InodeKind::Socket
        | InodeKind::CharacterDevice
        | InodeKind::BlockDevice => Err(no_object()),
    }
}

/// The record of an inode that a mount names; it may have lost its last name.
fn require_inode(view: &dyn View, bucket: BucketId, inode: InodeId) -> Result<InodeRecord, ApplyError> {
    path::find_readable(view, bucket, inode)?.ok_or_else(|| {
        refuse(
            ErrorCode::NoSuchInode,
            format!("inode {inode} of bucket {bucket} is gone"),
        )
    })
}

/// The answer to a command that made or changed one inode.
fn outcome(inode: InodeId, record: &InodeRecord) -> FileOutcome {
    FileOutcome {
        attributes: Some(attributes::of(inode, record)),
        ..FileOutcome::default()
    }
}
