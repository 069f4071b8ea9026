//! Where the bytes of an object or file lie: its read plan, page by page.
//!
//! Invariant: extents of a page are in order and do not overlap, the first being the one that holds the byte asked for or
//! the next behind it; those of an object as it was put follow each other without a hole.

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, ChunkId, InodeId},
    limits,
    wire::{
        command::ErrorCode,
        object::{Extent, ObjectAttributes, ObjectInfo, PartSize},
        query::{ObjectAnswer, ObjectQuery, Plan, PlanQuery},
    },
};

use super::{
    bucket,
    object::entity_tag,
    path,
    segments::{manifest, message, segments},
    tx::{ApplyError, missing, read_record, refuse},
    view::{Family, View, ViewError},
};
use crate::record::{
    chunk::{self, ChunkRecord},
    extent::{ExtentRecord, ManifestRecord},
    inode::{InodeKind, InodeRecord},
};

/// An object under its key, with the start of its plan where that is wanted.
pub(crate) fn object(view: &dyn View, query: &ObjectQuery) -> Result<ObjectAnswer, ApplyError> {
    let bucket = bucket::require(view, &query.bucket)?;
    let (_, component) = cairn_common::name::split_key(&query.key);
    let entry = path::resolve(view, &bucket, &query.key)?.filter(|entry| entry.is_object(component));
    let entry = entry.ok_or_else(|| refuse(ErrorCode::NoSuchKey, "there is no object under the key"))?;
    let record = path::inode_record(view, bucket.id, entry.inode)?;
    let plan = query
        .with_plan
        .then(|| page(view, bucket.id, entry.inode, &record, query.plan_from))
        .transpose()?;
    let parts = part_sizes(view, bucket.id, entry.inode, &record)?;
    Ok(ObjectAnswer {
        info: Some(info(entry.inode, record, parts)),
        plan,
        bucket_id: bucket.id.value(),
    })
}

/// The parts as they were uploaded; none once a mount has changed the data.
fn part_sizes(
    view: &dyn View,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
) -> Result<Vec<PartSize>, ViewError> {
    if record.changes.is_some() {
        return Ok(Vec::new());
    }
    let ManifestRecord { numbers, sizes } = manifest(view, bucket, inode, record)?;
    let size = |(number, size)| PartSize { number, size };
    Ok(numbers.into_iter().zip(sizes).map(size).collect())
}

fn info(inode: InodeId, record: InodeRecord, parts: Vec<PartSize>) -> ObjectInfo {
    let is_directory = record.kind() == InodeKind::Directory;
    ObjectInfo {
        size: if is_directory { 0 } else { record.size },
        modified_ms: record.modified_ms,
        attributes: Some(attributes(inode, record)),
        parts,
        inode: inode.value(),
    }
}

/// What S3 tells of an inode beside its size and time.
pub(crate) fn attributes(inode: InodeId, record: InodeRecord) -> ObjectAttributes {
    ObjectAttributes {
        etag: entity_tag(inode, &record),
        ..record.attributes.unwrap_or_default()
    }
}

/// A further page of the plan of an inode, whether or not it still has a name.
pub(crate) fn further(view: &dyn View, query: &PlanQuery) -> Result<Plan, ApplyError> {
    let (bucket, inode) = (BucketId::new(query.bucket_id), InodeId::new(query.inode));
    let record = path::find_readable(view, bucket, inode)?;
    let record = record.ok_or_else(|| refuse(ErrorCode::NoSuchKey, "the object was deleted while it was read"))?;
    require_version(&record, query.data_version)?;
    Ok(page(view, bucket, inode, &record, query.from)?)
}

/// Refuses where the data is not at the version expected.
pub(crate) fn require_version(record: &InodeRecord, expected: u64) -> Result<(), ApplyError> {
    let version = record.data_version();
    if version == expected {
        return Ok(());
    }
    let detail = format!("the file's data is at version {version}, not {expected}: read it again");
    Err(refuse(ErrorCode::DataChanged, detail))
}

/// The page of a plan from byte `from` on.
pub(crate) fn page(
    view: &dyn View,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
    from: u64,
) -> Result<Plan, ViewError> {
    let data_version = record.data_version();
    if !record.inline.is_empty() || from >= record.size {
        return Ok(Plan {
            inline: record.inline.clone(),
            data_version,
            ..Plan::default()
        });
    }
    let segments = segments(view, bucket, inode, record, from, record.size, limits::PLAN_EXTENTS_MAX)?;
    let extents: Result<_, _> = segments.list.iter().map(|segment| with_chunk(view, segment)).collect();
    Ok(Plan {
        inline: Bytes::new(),
        extents: extents?,
        next_from: if segments.reached < record.size {
            segments.reached
        } else {
            0
        },
        data_version,
    })
}

fn with_chunk(view: &dyn View, segment: &ExtentRecord) -> Result<Extent, ViewError> {
    let mut extent = message(segment);
    if !segment.chunk_id.is_empty() {
        let id = ChunkId::from_bytes(&segment.chunk_id).ok_or_else(|| missing(Family::Chunk, "a valid chunk id"))?;
        let chunk: ChunkRecord = read_record(view, Family::Chunk, &chunk::key(id))?
            .ok_or_else(|| missing(Family::Chunk, format!("chunk {id}")))?;
        extent.chunk = super::chunk::as_read(view, id, chunk)?;
    }
    Ok(extent)
}
