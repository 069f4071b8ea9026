//! Objects: put under a key and removed from it.
//!
//! Invariant: a put swaps the dentry to a new inode, so whoever reads the old body goes on reading it; the old one loses a
//! link, and with the last one is queued for release in the same command. What a mount made and S3 cannot show, symbolic links
//! and special files, is never replaced or removed by a key.

use bytes::Bytes;
use cairn_common::{
    ids::{InodeId, SessionId},
    limits,
    name::{check_key, split_key},
    wire::{
        command::{DeleteObject, ErrorCode, Outcome, PutObject, WriteCondition},
        object::ObjectAttributes,
    },
};

use super::{
    apply::done,
    bucket::{self, Bucket},
    chunk::{commit_body, malformed},
    links,
    path::{self, Entry},
    tx::{ApplyError, Tx, refuse},
    usage,
    view::Family,
};
use crate::record::{
    extent::{self, ExtentRecord},
    inode::{InodeKind, InodeRecord},
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
    pub(crate) entry: Entry,
    pub(crate) record: InodeRecord,
}

/// The object under a key that is to be written; refused where a mount made something else of it.
pub(crate) fn existing(tx: &Tx<'_>, bucket: &Bucket, key: &[u8]) -> Result<Option<Existing>, ApplyError> {
    let Some(entry) = path::resolve(tx, bucket, key)? else {
        return Ok(None);
    };
    let (_, component) = split_key(key);
    if !entry.is_object(component) {
        return Err(refuse(
            ErrorCode::NotAnObject,
            "a symbolic link or special file has this name: remove it through a mount",
        ));
    }
    Ok(Some(Existing {
        entry,
        record: path::inode_record(tx, bucket.id, entry.inode)?,
    }))
}

/// The entity tag of a body. One whose data a mount made or changed has one that no body put whole can have.
pub(crate) fn entity_tag(inode: InodeId, record: &InodeRecord) -> String {
    let given = record.attributes.as_ref().map_or("", |attributes| &attributes.etag);
    if given.is_empty() {
        format!("{:016x}{:016x}-1", inode.value(), record.data_version())
    } else {
        given.to_owned()
    }
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
    let further = extents.split_off(extents.len().min(limits::INODE_EXTENTS_MAX));
    record.extents = extents;
    record.more_extents = !further.is_empty();
    let inode = path::new_inode(tx, bucket, &record);
    for extent in further {
        tx.put(Family::Extent, extent::key(bucket.id, inode, extent.end()), &extent);
    }
    let place = path::make_directories(tx, bucket, key)?;
    let entry = Entry {
        inode,
        kind: InodeKind::File,
    };
    match old {
        Some(old) => {
            path::swap(tx, bucket, &place, old.entry, entry)?;
            links::drop_link(tx, bucket, old.entry.inode, old.record)?;
        }
        None => path::enter(tx, bucket, &place, entry)?,
    }
    usage::grow(bucket, record.size)?;
    Ok(inode)
}

/// Removes a key. What is no object to S3 stays, as if there were none.
pub(crate) fn delete(tx: &mut Tx<'_>, delete: &DeleteObject) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require(tx, &delete.bucket)?;
    let (_, component) = split_key(&delete.key);
    let entry = path::resolve(tx, &bucket, &delete.key)?.filter(|entry| entry.is_object(component));
    let old = entry
        .map(|entry| path::inode_record(tx, bucket.id, entry.inode).map(|record| Existing { entry, record }))
        .transpose()?;
    check_condition(delete.condition.as_ref(), old.as_ref())?;
    let Some(old) = old else { return Ok(done()) };
    tx.key = delete.key.clone();
    path::unlink(tx, &mut bucket, &delete.key)?;
    links::drop_link(tx, &mut bucket, old.entry.inode, old.record)?;
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
    let etag = entity_tag(old.entry.inode, &old.record);
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
