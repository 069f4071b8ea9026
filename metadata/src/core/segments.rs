//! What of a file is live: its extents over the parts of the multipart object that it was, page by page.
//!
//! Invariant: segments are in order and do not overlap; what none covers, up to where the page reaches, is a hole.

use cairn_common::{
    ids::{BucketId, InodeId, UploadId},
    limits,
    wire::object::Extent,
};

use super::{
    extents::{live, visit_stored},
    tx::{missing, read_record},
    view::{Family, View, ViewError},
};
use crate::record::{
    extent::{self, ExtentRecord, ManifestRecord},
    inode::InodeRecord,
    part::{self, PartRecord},
};

/// A page of segments.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    /// The segments; the first may begin before the byte asked for, the last end behind the range.
    pub(crate) list: Vec<ExtentRecord>,
    /// The page covers the range up to here.
    pub(crate) reached: u64,
}

/// The parts of a multipart object; none for any other.
pub(crate) fn manifest(
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

/// Segments of `from..to`, about `limit` of them at most. The file is not inline.
pub(crate) fn segments(
    view: &dyn View,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
    from: u64,
    to: u64,
    limit: usize,
) -> Result<Segments, ViewError> {
    let over = stored(view, bucket, inode, record, from, to, limit)?;
    if record.upload == 0 {
        return Ok(Segments {
            list: over.list.into_iter().filter(|extent| !extent.is_hole()).collect(),
            reached: over.reached,
        });
    }
    let manifest = manifest(view, bucket, inode, record)?;
    let parts_end = record.changes.as_ref().and_then(|changes| changes.parts_end);
    let parts_to = to.min(parts_end.unwrap_or(u64::MAX));
    let upload = UploadId::new(record.upload);
    let mut under = parts(view, bucket, upload, &manifest, from, parts_to, limit)?;
    if under.reached >= parts_to {
        under.reached = to;
    }
    Ok(laid_over(over, under))
}

/// Live extents, holes that are stored among them.
fn stored(
    view: &dyn View,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
    from: u64,
    to: u64,
    limit: usize,
) -> Result<Segments, ViewError> {
    let mut page = Segments {
        list: Vec::new(),
        reached: to,
    };
    let (mut visited, mut last_end, mut inline_bytes) = (0, from, 0);
    visit_stored(view, bucket, inode, record, from.saturating_add(1), &mut |extent| {
        if extent.file_offset >= to {
            return false;
        }
        if visited == limit || inline_bytes >= limits::PLAN_INLINE_BYTES_MAX {
            page.reached = last_end;
            return false;
        }
        visited += 1;
        inline_bytes += extent.inline.len();
        last_end = extent.end();
        page.list
            .extend(live(record, &extent).filter(|extent| extent.end() > from));
        true
    })?;
    Ok(page)
}

/// Extents of the parts, offsets as in the file.
fn parts(
    view: &dyn View,
    bucket: BucketId,
    upload: UploadId,
    manifest: &ManifestRecord,
    from: u64,
    to: u64,
    limit: usize,
) -> Result<Segments, ViewError> {
    let mut page = Segments {
        list: Vec::new(),
        reached: to,
    };
    let (mut start, mut inline_bytes) = (0_u64, 0);
    for (number, size) in manifest.numbers.iter().zip(&manifest.sizes) {
        let end = start + size;
        if start >= to {
            break;
        }
        if page.list.len() >= limit || inline_bytes >= limits::PLAN_INLINE_BYTES_MAX {
            page.reached = start;
            break;
        }
        if end > from {
            let part: PartRecord = read_record(view, Family::Part, &part::key(bucket, upload, *number))?
                .ok_or_else(|| missing(Family::Part, format!("part {number} of upload {upload}")))?;
            inline_bytes += part.inline.len();
            let within = |extent: &ExtentRecord| extent.end() > from && extent.file_offset < to;
            let extents = part_extents(part, start).filter(within);
            page.list.extend(extents.filter_map(|extent| extent.clipped(0, to)));
        }
        start = end;
    }
    Ok(page)
}

fn part_extents(part: PartRecord, start: u64) -> impl Iterator<Item = ExtentRecord> {
    let inline = (!part.inline.is_empty()).then(|| ExtentRecord {
        length: part.inline.len() as u64,
        inline: part.inline,
        ..ExtentRecord::default()
    });
    inline.into_iter().chain(part.extents).map(move |extent| ExtentRecord {
        file_offset: start + extent.file_offset,
        ..extent
    })
}

/// What shows of `under` where `over` lies on it.
fn laid_over(over: Segments, under: Segments) -> Segments {
    let reached = over.reached.min(under.reached);
    let mut list: Vec<ExtentRecord> = Vec::with_capacity(over.list.len() + under.list.len());
    for extent in &under.list {
        let mut at = extent.file_offset;
        let first = over.list.partition_point(|other| other.end() <= at);
        for other in over.list.iter().skip(first) {
            if other.file_offset >= extent.end() {
                break;
            }
            list.extend(extent.clipped(at, other.file_offset.min(reached)));
            at = other.end();
        }
        list.extend(extent.clipped(at, reached));
    }
    let shown = over.list.iter().filter(|extent| !extent.is_hole());
    list.extend(shown.filter_map(|extent| extent.clipped(0, reached)));
    list.sort_unstable_by_key(|extent| extent.file_offset);
    Segments { list, reached }
}

/// A segment without its chunk, as a wire message begins.
pub(crate) fn message(segment: &ExtentRecord) -> Extent {
    Extent {
        file_offset: segment.file_offset,
        length: segment.length,
        chunk_offset: segment.chunk_offset,
        chunk: None,
        inline: segment.inline.clone(),
    }
}
