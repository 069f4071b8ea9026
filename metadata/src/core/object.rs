//! Objects: put under a key and removed from it.
//!
//! Invariant: a put swaps the dentry to a new inode, so whoever reads the old body goes on reading it; the old one is queued
//! for release in the same command.

use bytes::Bytes;
use cairn_common::{
    ids::{InodeId, SessionId},
    limits,
    name::check_key,
    wire::{
        command::{DeleteObject, ErrorCode, Outcome, PutObject, WriteCondition},
        object::ObjectAttributes,
    },
};

use super::{
    apply::done,
    bucket::{self, Bucket},
    chunk::{commit_body, malformed},
    lock, path, release,
    tx::{ApplyError, Tx, refuse},
    view::Family,
};
use crate::record::{
    extent::{self, ExtentRecord},
    garbage::Release,
    inode::{self, InodeKind, InodeRecord},
};

pub(crate) fn put(tx: &mut Tx<'_>, session: SessionId, put: &PutObject) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require(tx, &put.bucket)?;
    let (Some(attributes), Some(body)) = (&put.attributes, &put.body) else {
        return Err(malformed("no attributes or no body"));
    };
    check_key(&put.key).map_err(|error| refuse(ErrorCode::Malformed, error.to_string()))?;
    check_attributes(attributes)?;
    let old = existing(tx, &bucket, &put.key)?;
    check_condition(put.condition.as_ref(), old.as_ref())?;
    let extents = commit_body(tx, &bucket, session, body)?;
    let record = InodeRecord {
        kind: InodeKind::File.into(),
        modified_ms: tx.time_ms,
        size: body.size,
        attributes: Some(attributes.clone()),
        inline: body.inline.clone(),
        ..InodeRecord::default()
    };
    enter(tx, &mut bucket, &put.key, old, record, extents)?;
    bucket.save(tx)?;
    Ok(Outcome::CommittedMs(tx.time_ms))
}

/// The object now under a key.
pub(crate) struct Existing {
    pub(crate) inode: InodeId,
    pub(crate) record: InodeRecord,
}

pub(crate) fn existing(tx: &Tx<'_>, bucket: &Bucket, key: &[u8]) -> Result<Option<Existing>, ApplyError> {
    let Some(inode) = path::resolve(tx, bucket, key)? else {
        return Ok(None);
    };
    Ok(Some(Existing {
        inode,
        record: path::inode_record(tx, bucket, inode)?,
    }))
}

/// Enters a body under `key` in place of `old`, with its extents, and accounts for it. Gives the new inode.
pub(crate) fn enter(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    key: &[u8],
    old: Option<Existing>,
    mut record: InodeRecord,
    mut extents: Vec<ExtentRecord>,
) -> Result<InodeId, ApplyError> {
    tx.key = Bytes::copy_from_slice(key);
    let inode = bucket.next_inode();
    let further = extents.split_off(extents.len().min(limits::INODE_EXTENTS_MAX));
    record.extents = extents;
    record.more_extents = !further.is_empty();
    for extent in further {
        tx.put(Family::Extent, extent::key(bucket.id, inode, extent.end()), &extent);
    }
    bucket.record.objects += 1;
    bucket.record.object_bytes += record.size;
    path::put_inode(tx, bucket.id, inode, &record)?;
    let place = path::make_directories(tx, bucket, key)?;
    match old {
        Some(old) => {
            path::relink(tx, bucket, &place, inode, Some(old.inode))?;
            give_up(tx, bucket, &old)?;
        }
        None => path::link(tx, bucket, &place, inode)?,
    }
    Ok(inode)
}

/// Accounts for a body that lost its name and queues it for release.
fn give_up(tx: &mut Tx<'_>, bucket: &mut Bucket, old: &Existing) -> Result<(), ApplyError> {
    bucket.record.objects = bucket.record.objects.saturating_sub(1);
    bucket.record.object_bytes = bucket.record.object_bytes.saturating_sub(old.record.size);
    if old.record.extents.is_empty() && old.record.upload == 0 && !lock::any(tx, bucket.id, old.inode)? {
        // Inline: nothing but the record itself, and no reader comes back for it.
        tx.delete(Family::Inode, inode::key(bucket.id, old.inode));
        return Ok(());
    }
    release::queue(tx, bucket.id, Release::Inode(old.inode.value()))?;
    Ok(())
}

pub(crate) fn delete(tx: &mut Tx<'_>, delete: &DeleteObject) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require(tx, &delete.bucket)?;
    let old = existing(tx, &bucket, &delete.key)?;
    check_condition(delete.condition.as_ref(), old.as_ref())?;
    let Some(old) = old else { return Ok(done()) };
    tx.key = delete.key.clone();
    path::unlink(tx, &bucket, &delete.key)?;
    give_up(tx, &mut bucket, &old)?;
    bucket.save(tx)?;
    Ok(done())
}

/// Decides a conditional write.
pub(crate) fn check_condition(condition: Option<&WriteCondition>, old: Option<&Existing>) -> Result<(), ApplyError> {
    let Some(condition) = condition else { return Ok(()) };
    if condition.must_be_absent && old.is_some() {
        return Err(refuse(ErrorCode::PreconditionFailed, "an object exists under the key"));
    }
    if let Some(old) = old
        && (condition.size.is_some_and(|size| size != old.record.size)
            || condition
                .modified_s
                .is_some_and(|second| second != old.record.modified_ms / 1000))
    {
        return Err(refuse(
            ErrorCode::PreconditionFailed,
            "the object under the key has another size, or was committed at another time",
        ));
    }
    if condition.etag.is_empty() {
        return Ok(());
    }
    let Some(old) = old else {
        return Err(refuse(ErrorCode::NoSuchKey, "no object exists under the key"));
    };
    let etag = old
        .record
        .attributes
        .as_ref()
        .map_or("", |attributes| attributes.etag.as_str());
    if condition.etag == "*" || condition.etag == etag {
        return Ok(());
    }
    Err(refuse(
        ErrorCode::PreconditionFailed,
        format!("the object's entity tag is {etag:?}"),
    ))
}

/// Bounds what an object carries beside its bytes.
pub(crate) fn check_attributes(attributes: &ObjectAttributes) -> Result<(), ApplyError> {
    let size = |fields: &[cairn_common::wire::object::Field]| -> usize {
        fields.iter().map(|field| field.name.len() + field.value.len()).sum()
    };
    if size(&attributes.user_metadata) > limits::USER_METADATA_BYTES_MAX {
        return Err(refuse(ErrorCode::LimitExceeded, "user metadata is over 2 KiB"));
    }
    if size(&attributes.headers) > limits::CONTENT_HEADER_BYTES_MAX || attributes.etag.len() > 256 {
        return Err(refuse(ErrorCode::LimitExceeded, "content headers are over 8 KiB"));
    }
    Ok(())
}
