//! Where the bytes of an object lie: its read plan, page by page.
//!
//! Invariant: extents of a page follow each other without a hole, the first holding the byte asked for.

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, ChunkId, InodeId, UploadId},
    limits,
    wire::{
        command::ErrorCode,
        object::{Extent, ObjectInfo, PartSize},
        query::{ObjectAnswer, ObjectQuery, Plan, PlanQuery},
    },
};

use super::{
    bucket, path,
    tx::{ApplyError, missing, open_record, read_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    chunk::{self, ChunkRecord},
    extent::{self, ExtentRecord, ManifestRecord},
    inode::{self, InodeRecord},
    part::{self, PartRecord},
};

/// An object under its key, with the start of its plan where that is wanted.
pub(crate) fn object(view: &dyn View, query: &ObjectQuery) -> Result<ObjectAnswer, ApplyError> {
    let bucket = bucket::require(view, &query.bucket)?;
    let inode = path::resolve(view, &bucket, &query.key)?;
    let inode = inode.ok_or_else(|| refuse(ErrorCode::NoSuchKey, "there is no object under the key"))?;
    let record = path::inode_record(view, &bucket, inode)?;
    let manifest = manifest(view, bucket.id, inode, &record)?;
    let plan = query
        .with_plan
        .then(|| page(view, bucket.id, inode, &record, &manifest, query.plan_from))
        .transpose()?;
    let size = |(number, size): (&u32, &u64)| PartSize {
        number: *number,
        size: *size,
    };
    let info = ObjectInfo {
        size: record.size,
        modified_ms: record.modified_ms,
        attributes: record.attributes,
        parts: manifest.numbers.iter().zip(&manifest.sizes).map(size).collect(),
        inode: inode.value(),
    };
    Ok(ObjectAnswer {
        info: Some(info),
        plan,
        bucket_id: bucket.id.value(),
    })
}

/// A further page of the plan of an inode, whether or not it still has a name.
pub(crate) fn further(view: &dyn View, query: &PlanQuery) -> Result<Plan, ApplyError> {
    let bucket = BucketId::new(query.bucket_id);
    let inode = InodeId::new(query.inode);
    let record: Option<InodeRecord> = read_record(view, Family::Inode, &inode::key(bucket, inode))?;
    let record = record.ok_or_else(|| refuse(ErrorCode::NoSuchKey, "the object was deleted while it was read"))?;
    let manifest = manifest(view, bucket, inode, &record)?;
    Ok(page(view, bucket, inode, &record, &manifest, query.from)?)
}

pub(super) fn manifest(
    view: &dyn View,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
) -> Result<ManifestRecord, ViewError> {
    if record.upload == 0 {
        return Ok(ManifestRecord::default());
    }
    read_record(view, Family::Extent, &extent::manifest_key(bucket, inode))?
        .ok_or_else(|| missing(Family::Extent, format!("the manifest of inode {inode}")))
}

pub(super) fn page(
    view: &dyn View,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
    manifest: &ManifestRecord,
    from: u64,
) -> Result<Plan, ViewError> {
    if !record.inline.is_empty() {
        return Ok(Plan {
            inline: record.inline.clone(),
            extents: Vec::new(),
        });
    }
    let extents = if record.upload == 0 {
        file_extents(view, bucket, inode, record, from)?
    } else {
        part_extents(view, bucket, UploadId::new(record.upload), manifest, from)?
    };
    Ok(Plan {
        inline: Bytes::new(),
        extents,
    })
}

/// Extents of a body that is one file, from the one that holds byte `from` on.
fn file_extents(
    view: &dyn View,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
    from: u64,
) -> Result<Vec<Extent>, ViewError> {
    let first = record.extents.iter().filter(|extent| extent.end() > from).cloned();
    let mut records: Vec<ExtentRecord> = first.collect();
    if record.more_extents {
        let prefix = inode::key(bucket, inode);
        let start = extent::key(bucket, inode, from.saturating_add(1));
        scan_prefix(view, Family::Extent, &prefix, &start, &mut |_, value| {
            records.push(open_record(Family::Extent, value)?);
            Ok(records.len() < limits::PLAN_EXTENTS_MAX)
        })?;
    }
    records.iter().map(|record| with_chunk(view, record, 0)).collect()
}

/// Extents of a multipart object, from the one that holds byte `from` on.
fn part_extents(
    view: &dyn View,
    bucket: BucketId,
    upload: UploadId,
    manifest: &ManifestRecord,
    from: u64,
) -> Result<Vec<Extent>, ViewError> {
    let mut extents = Vec::new();
    let mut start = 0_u64;
    for (number, size) in manifest.numbers.iter().zip(&manifest.sizes) {
        let end = start + size;
        if end > from {
            let part: PartRecord = read_record(view, Family::Part, &part::key(bucket, upload, *number))?
                .ok_or_else(|| missing(Family::Part, format!("part {number} of upload {upload}")))?;
            if !part.inline.is_empty() {
                let length = part.inline.len() as u64;
                extents.push(Extent {
                    file_offset: start,
                    length,
                    inline: part.inline,
                    ..Extent::default()
                });
            }
            for record in part.extents.iter().filter(|record| start + record.end() > from) {
                extents.push(with_chunk(view, record, start)?);
            }
            if extents.len() >= limits::PLAN_EXTENTS_MAX {
                break;
            }
        }
        start = end;
    }
    Ok(extents)
}

fn with_chunk(view: &dyn View, record: &ExtentRecord, base: u64) -> Result<Extent, ViewError> {
    let id = ChunkId::from_bytes(&record.chunk_id).ok_or_else(|| missing(Family::Chunk, "a valid chunk id"))?;
    let chunk: ChunkRecord = read_record(view, Family::Chunk, &chunk::key(id))?
        .ok_or_else(|| missing(Family::Chunk, format!("chunk {id}")))?;
    Ok(Extent {
        file_offset: base + record.file_offset,
        length: record.length,
        chunk_offset: record.chunk_offset,
        chunk: super::chunk::as_read(view, id, chunk)?,
        inline: Bytes::new(),
    })
}
