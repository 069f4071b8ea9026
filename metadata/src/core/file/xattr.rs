//! Extended attributes.
//!
//! Invariant: an inode's record counts the bytes of all its extended attributes, names and values.

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, InodeId},
    limits,
    wire::{
        command::ErrorCode,
        file::{FileOutcome, RemoveXattr, SetXattr, XattrMode, XattrNames, XattrNamesQuery, XattrQuery},
    },
};

use super::{lookup::require_directory, outcome, require_inode};
use crate::{
    core::{
        bucket::Bucket,
        chunk::malformed,
        path,
        tx::{ApplyError, Tx, read_record, refuse, scan_prefix},
        view::{Family, View, ViewError},
    },
    record::{
        inode::{InodeKind, InodeRecord},
        xattr::{self, XattrRecord},
    },
};

pub(super) fn set(tx: &mut Tx<'_>, bucket: &mut Bucket, set: &SetXattr) -> Result<FileOutcome, ApplyError> {
    let mode = XattrMode::try_from(set.mode).map_err(|_| malformed("an unknown mode"))?;
    check_name(&set.name)?;
    let inode = InodeId::new(set.inode);
    let record = require_changeable(tx, bucket, inode)?;
    let key = xattr::key(bucket.id, inode, &set.name);
    let old: Option<XattrRecord> = tx.record(Family::Xattr, &key)?;
    match (mode, &old) {
        (XattrMode::Create, Some(_)) => {
            return Err(refuse(ErrorCode::Exists, "the extended attribute is there already"));
        }
        (XattrMode::Replace, None) => return Err(no_such()),
        (XattrMode::Set, _) | (XattrMode::Create, None) | (XattrMode::Replace, Some(_)) => {}
    }
    let freed = old.map_or(0, |old| set.name.len() + old.value.len());
    let bytes = record.xattr_bytes().saturating_sub(freed) + set.name.len() + set.value.len();
    if bytes > limits::XATTRS_BYTES_MAX {
        let detail = format!(
            "extended attributes of an inode have at most {} bytes",
            limits::XATTRS_BYTES_MAX
        );
        return Err(refuse(ErrorCode::XattrTooLarge, detail));
    }
    let value = set.value.clone();
    tx.put(Family::Xattr, key, &XattrRecord { value });
    Ok(changed(tx, bucket, inode, record, bytes)?)
}

pub(super) fn remove(tx: &mut Tx<'_>, bucket: &mut Bucket, remove: &RemoveXattr) -> Result<FileOutcome, ApplyError> {
    let inode = InodeId::new(remove.inode);
    let record = require_changeable(tx, bucket, inode)?;
    let key = xattr::key(bucket.id, inode, &remove.name);
    let old: XattrRecord = tx.record(Family::Xattr, &key)?.ok_or_else(no_such)?;
    tx.delete(Family::Xattr, key);
    let freed = remove.name.len() + old.value.len();
    let bytes = record.xattr_bytes().saturating_sub(freed);
    Ok(changed(tx, bucket, inode, record, bytes)?)
}

/// The record of an inode whose attributes may change; a directory is explicit then.
fn require_changeable(tx: &mut Tx<'_>, bucket: &mut Bucket, inode: InodeId) -> Result<InodeRecord, ApplyError> {
    let record = require_inode(tx, bucket.id, inode)?;
    if record.kind() != InodeKind::Directory {
        return Ok(record);
    }
    require_directory(tx, bucket.id, inode)?;
    path::make_explicit(tx, bucket, inode)?;
    Ok(path::inode_record(tx, bucket.id, inode)?)
}

fn changed(
    tx: &mut Tx<'_>,
    bucket: &Bucket,
    inode: InodeId,
    mut record: InodeRecord,
    bytes: usize,
) -> Result<FileOutcome, ViewError> {
    record.touch(tx.time_ms);
    record.posix_mut().xattr_bytes = u32::try_from(bytes).expect("at most 64 KiB");
    path::put_inode(tx, bucket.id, inode, &record)?;
    Ok(outcome(inode, &record))
}

fn check_name(name: &[u8]) -> Result<(), ApplyError> {
    match name.len() {
        0 => Err(refuse(ErrorCode::InvalidName, "an extended attribute without a name")),
        1..=limits::XATTR_NAME_LEN_MAX => Ok(()),
        _ => Err(refuse(
            ErrorCode::NameTooLong,
            "the name of an extended attribute has at most 255 bytes",
        )),
    }
}

fn no_such() -> ApplyError {
    refuse(ErrorCode::NoSuchXattr, "there is no extended attribute of this name")
}

/// The value of an extended attribute.
pub(super) fn value(view: &dyn View, bucket: BucketId, query: &XattrQuery) -> Result<Bytes, ApplyError> {
    let inode = InodeId::new(query.inode);
    require_inode(view, bucket, inode)?;
    let record: Option<XattrRecord> = read_record(view, Family::Xattr, &xattr::key(bucket, inode, &query.name))?;
    Ok(record.ok_or_else(no_such)?.value)
}

/// All names; the bound on their bytes bounds their number.
pub(super) fn names(view: &dyn View, bucket: BucketId, query: &XattrNamesQuery) -> Result<XattrNames, ApplyError> {
    let inode = InodeId::new(query.inode);
    let record = require_inode(view, bucket, inode)?;
    let mut names = Vec::new();
    if record.xattr_bytes() > 0 {
        let prefix = xattr::key(bucket, inode, b"");
        scan_prefix(view, Family::Xattr, &prefix, &prefix, &mut |key, _| {
            names.push(Bytes::copy_from_slice(&key[xattr::PREFIX_LEN..]));
            Ok(true)
        })?;
    }
    Ok(XattrNames { names })
}
