//! Extended attributes.
//!
//! Invariant: an inode's record counts the bytes of all its extended attributes, names and values.

use bytes::Bytes;
use cairn_common::{
    acl::is_acl,
    ids::{BucketId, InodeId},
    limits,
    wire::{
        command::ErrorCode,
        file::{FileOutcome, RemoveXattr, SetXattr, XattrMode, XattrNames, XattrNamesQuery, XattrQuery},
    },
};

use super::{acl, lookup::require_directory, outcome, require_inode};
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
    let mut record = require_changeable(tx, bucket, inode)?;
    let is_there = !matches!(mode, XattrMode::Set) && find(tx, bucket.id, inode, &set.name)?.is_some();
    match (mode, is_there) {
        (XattrMode::Create, true) => {
            return Err(refuse(ErrorCode::Exists, "the extended attribute is there already"));
        }
        (XattrMode::Replace, false) => return Err(no_such()),
        (XattrMode::Set | XattrMode::Create, false) | (XattrMode::Set | XattrMode::Replace, true) => {}
    }
    if is_acl(&set.name) {
        acl::set(tx, bucket.id, inode, &mut record, set)?;
    } else {
        put(tx, bucket.id, inode, &mut record, &set.name, set.value.clone())?;
    }
    Ok(changed(tx, bucket, inode, record)?)
}

pub(super) fn remove(tx: &mut Tx<'_>, bucket: &mut Bucket, remove: &RemoveXattr) -> Result<FileOutcome, ApplyError> {
    let inode = InodeId::new(remove.inode);
    let mut record = require_changeable(tx, bucket, inode)?;
    if !take(tx, bucket.id, inode, &mut record, &remove.name)? {
        return Err(no_such());
    }
    acl::removed(&mut record, &remove.name);
    Ok(changed(tx, bucket, inode, record)?)
}

fn find(view: &dyn View, bucket: BucketId, inode: InodeId, name: &[u8]) -> Result<Option<XattrRecord>, ViewError> {
    read_record(view, Family::Xattr, &xattr::key(bucket, inode, name))
}

/// Sets a value, and counts its bytes in `record`, which the caller stores.
pub(super) fn put(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    inode: InodeId,
    record: &mut InodeRecord,
    name: &[u8],
    value: Bytes,
) -> Result<(), ApplyError> {
    let freed = find(tx, bucket, inode, name)?.map_or(0, |old| name.len() + old.value.len());
    let bytes = record.xattr_bytes().saturating_sub(freed) + name.len() + value.len();
    if bytes > limits::XATTRS_BYTES_MAX {
        let detail = format!(
            "extended attributes of an inode have at most {} bytes",
            limits::XATTRS_BYTES_MAX
        );
        return Err(refuse(ErrorCode::XattrTooLarge, detail));
    }
    count(record, bytes);
    tx.put(Family::Xattr, xattr::key(bucket, inode, name), &XattrRecord { value });
    Ok(())
}

/// Removes a value where there is one, which it says, and takes its bytes from `record`, which the caller stores.
pub(super) fn take(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    inode: InodeId,
    record: &mut InodeRecord,
    name: &[u8],
) -> Result<bool, ViewError> {
    let Some(old) = find(tx, bucket, inode, name)? else {
        return Ok(false);
    };
    tx.delete(Family::Xattr, xattr::key(bucket, inode, name));
    let bytes = record.xattr_bytes().saturating_sub(name.len() + old.value.len());
    count(record, bytes);
    Ok(true)
}

fn count(record: &mut InodeRecord, bytes: usize) {
    record.posix_mut().xattr_bytes = u32::try_from(bytes).expect("at most 64 KiB");
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
) -> Result<FileOutcome, ViewError> {
    record.touch(tx.time_ms);
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
    Ok(find(view, bucket, inode, &query.name)?.ok_or_else(no_such)?.value)
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
