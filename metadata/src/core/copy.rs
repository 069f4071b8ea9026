//! Copies by reference: a new object, or a part, made of the chunks of an object of the same bucket.
//!
//! Invariant: each extent that is made adds one reference to its chunk, and one command shares a bounded number of them.
//! What cannot be shared in one command is refused whole, so that the sender copies ranges, or reads and writes.

use bytes::Bytes;
use cairn_common::{
    ids::{ChunkId, UploadId},
    limits,
    name::check_key,
    wire::{
        command::{Copied, CopyObject, CopyPart, CopySource, ErrorCode, Outcome, WriteCondition},
        object::Extent,
    },
};

use super::{
    bucket::{self, Bucket},
    chunk::{self, malformed},
    object::{Existing, check_attributes, check_condition, enter, entity_tag, existing},
    path, plan, recode,
    tx::{ApplyError, Tx, missing, refuse},
    upload,
    view::Family,
};
use crate::record::{
    extent::ExtentRecord,
    inode::{InodeKind, InodeRecord},
    part::PartRecord,
};

/// Bytes that a copy holds: inline, or extents from offset 0 without holes.
struct Shared {
    inline: Bytes,
    extents: Vec<ExtentRecord>,
}

pub(crate) fn object(tx: &mut Tx<'_>, copy: &CopyObject) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require(tx, &copy.bucket)?;
    check_key(&copy.key).map_err(|error| refuse(ErrorCode::Malformed, error.to_string()))?;
    if let Some(attributes) = &copy.attributes {
        check_attributes(attributes)?;
    }
    let source = source(tx, &bucket, copy.source.as_ref())?;
    let old = existing(tx, &bucket, &copy.key)?;
    check_condition(copy.condition.as_ref(), old.as_ref())?;
    let size = source.record.size;
    let shared = share(tx, &bucket, &source, (0, size), limits::COPY_EXTENTS_MAX)?;
    recode::touch(tx, bucket.id, shared.extents.iter().map(|extent| &extent.chunk_id))?;
    let attributes = copy.attributes.clone().or(source.record.attributes);
    let record = InodeRecord {
        kind: InodeKind::File.into(),
        modified_ms: tx.time_ms,
        size,
        attributes,
        inline: shared.inline,
        ..InodeRecord::default()
    };
    let inode = enter(tx, &mut bucket, &copy.key, old, record, shared.extents)?;
    let etag = entity_tag(inode, &path::inode_record(tx, bucket.id, inode)?);
    bucket.save(tx)?;
    let committed_ms = tx.time_ms;
    Ok(Outcome::Copied(Copied {
        committed_ms,
        etag,
        size,
    }))
}

pub(crate) fn part(tx: &mut Tx<'_>, copy: &CopyPart) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require(tx, &copy.bucket)?;
    let upload = upload::require(tx, &bucket, &copy.key, UploadId::new(copy.upload))?;
    let source = source(tx, &bucket, copy.source.as_ref())?;
    let end = copy
        .offset
        .checked_add(copy.length)
        .filter(|end| *end <= source.record.size);
    let end = end.ok_or_else(|| malformed("a range that is not within the source"))?;
    let shared = share(tx, &bucket, &source, (copy.offset, end), limits::COPY_PART_EXTENTS_MAX)?;
    recode::touch(tx, bucket.id, shared.extents.iter().map(|extent| &extent.chunk_id))?;
    let record = PartRecord {
        size: copy.length,
        etag: copy.etag.clone(),
        modified_ms: tx.time_ms,
        checksums: copy.checksums.clone(),
        inline: shared.inline,
        extents: shared.extents,
    };
    upload::enter_part(tx, &mut bucket, upload, copy.number, record)?;
    bucket.save(tx)?;
    Ok(Outcome::Copied(Copied {
        committed_ms: tx.time_ms,
        etag: copy.etag.clone(),
        size: copy.length,
    }))
}

/// The object that is copied, which must be as its reader found it.
fn source(tx: &Tx<'_>, bucket: &Bucket, source: Option<&CopySource>) -> Result<Existing, ApplyError> {
    let source = source.ok_or_else(|| malformed("no source"))?;
    let object = match existing(tx, bucket, &source.key) {
        // S3 does not see it.
        Err(ApplyError::Refused(refusal)) if refusal.code() == ErrorCode::NotAnObject => None,
        found => found?,
    };
    let object = object.ok_or_else(|| refuse(ErrorCode::NoSuchKey, "there is no object to copy under the key"))?;
    let condition = WriteCondition {
        must_be_absent: false,
        ..source.condition.clone().unwrap_or_default()
    };
    let same = source.inode == 0 || source.inode == object.entry.inode.value();
    if !same {
        return Err(refuse(
            ErrorCode::PreconditionFailed,
            "the object was replaced since it was looked at",
        ));
    }
    check_condition(Some(&condition), Some(&object))?;
    Ok(object)
}

/// Shares what `source` holds between the two offsets, one reference for each extent.
fn share(
    tx: &mut Tx<'_>,
    bucket: &Bucket,
    source: &Existing,
    (start, end): (u64, u64),
    extents_max: usize,
) -> Result<Shared, ApplyError> {
    let mut shared = Shared {
        inline: Bytes::new(),
        extents: Vec::new(),
    };
    let mut at = start;
    while at < end {
        let page = plan::page(tx, bucket.id, source.entry.inode, &source.record, at)?;
        if !page.inline.is_empty() {
            shared.inline = slice(&page.inline, start, end);
            return Ok(shared);
        }
        let before = at;
        for extent in &page.extents {
            if at >= end {
                break;
            }
            // A hole, or an end too early, shows as an extent that does not hold the byte at hand.
            if extent.file_offset > at || extent.file_offset + extent.length <= at {
                return Err(in_steps());
            }
            let until = end.min(extent.file_offset + extent.length);
            if extent.chunk.is_none() {
                if (at, until) != (start, end) {
                    return Err(in_steps());
                }
                shared.inline = slice(&extent.inline, start - extent.file_offset, end - extent.file_offset);
                return Ok(shared);
            }
            if shared.extents.len() == extents_max {
                return Err(in_steps());
            }
            shared.extents.push(refer(tx, extent, start, (at, until))?);
            at = until;
        }
        if at == before {
            return Err(in_steps());
        }
    }
    Ok(shared)
}

/// An extent of the copy, and the reference that it holds.
fn refer(tx: &mut Tx<'_>, extent: &Extent, start: u64, (from, to): (u64, u64)) -> Result<ExtentRecord, ApplyError> {
    let chunk = extent
        .chunk
        .as_ref()
        .ok_or_else(|| missing(Family::Chunk, "the chunk of an extent"))?;
    let id = ChunkId::from_bytes(&chunk.id).ok_or_else(|| missing(Family::Chunk, "a valid chunk id"))?;
    chunk::share(tx, id)?;
    let within = u32::try_from(from - extent.file_offset).map_err(|_| missing(Family::Chunk, "an extent's end"))?;
    Ok(ExtentRecord {
        file_offset: from - start,
        length: to - from,
        chunk_offset: extent.chunk_offset + within,
        chunk_id: chunk.id.clone(),
        ..ExtentRecord::default()
    })
}

fn slice(bytes: &Bytes, start: u64, end: u64) -> Bytes {
    let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(place(start)..place(end))
}

fn in_steps() -> ApplyError {
    refuse(
        ErrorCode::CopyInSteps,
        "the bytes cannot be shared in one command: copy smaller ranges, or read and write them",
    )
}
