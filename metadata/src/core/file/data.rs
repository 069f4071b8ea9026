//! Data of files: written, merged, cut, and where it lies.
//!
//! Invariant: a small file whose data is all in its inode is as long as its size says; any other has extents, and what they
//! leave out is a hole. Every change of the data moves the data version; merging, which changes none, does not.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, InodeId, SessionId},
    limits,
    wire::{
        command::ErrorCode,
        file::{FileOutcome, FilePlan, FilePlanQuery, MergeExtents, WriteFile},
        object::{Body, Chunk, Extent},
    },
};

use super::{
    attributes::{self, clear_suid, require_regular},
    outcome, require_inode,
};
use crate::{
    core::{
        bucket::Bucket,
        chunk::{commit_body, malformed},
        extents::{self, File, References},
        path,
        plan::{page, require_version},
        tx::{ApplyError, Tx, refuse},
        usage,
        view::View,
    },
    record::{extent::ExtentRecord, inode::InodeRecord},
};

pub(super) fn write(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    session: SessionId,
    write: &WriteFile,
) -> Result<FileOutcome, ApplyError> {
    let mut file = require_file(tx, bucket.id, InodeId::new(write.inode))?;
    if let Some(expected) = write.expected_version {
        require_version(&file.record, expected)?;
    }
    let end = check_extents(&write.extents)?;
    let mut references = commit(tx, bucket, session, &write.extents)?;
    begin(&mut file);
    let size = file.record.size.max(end);
    account(bucket, &file.record, size)?;
    let is_inline = write.extents.iter().all(|extent| extent.chunk.is_none());
    if is_inline && file.record.is_inline() && size <= limits::INLINE_SIZE_BYTES as u64 {
        let patches = write.extents.iter().map(|extent| (extent.file_offset, &extent.inline));
        file.record.inline = patched(&file.record.inline, size, patches);
    } else {
        to_extents(&mut file.record);
        for run in runs(&write.extents, file.record.data_version()) {
            overlay(tx, &mut file, &mut references, run)?;
        }
    }
    file.record.size = size;
    finish(tx, file, references, write.clear_suid)
}

pub(super) fn merge(
    tx: &mut Tx<'_>,
    bucket: &Bucket,
    session: SessionId,
    merge: &MergeExtents,
) -> Result<FileOutcome, ApplyError> {
    let mut file = require_file(tx, bucket.id, InodeId::new(merge.inode))?;
    require_version(&file.record, merge.expected_version)?;
    let to = merge.offset.saturating_add(merge.length);
    let end = check_extents(&merge.extents)?;
    let first = merge.extents.first().map_or(merge.offset, |extent| extent.file_offset);
    if file.record.is_inline() || to > file.record.size || end > to || first < merge.offset {
        return Err(malformed("nothing to merge, or extents outside of the range"));
    }
    let mut references = commit(tx, bucket, session, &merge.extents)?;
    let new = runs(&merge.extents, file.record.data_version())
        .into_iter()
        .flatten()
        .collect();
    extents::replace(tx, &mut file, &mut references, merge.offset, to, new)?;
    path::put_inode(tx, file.bucket, file.inode, &file.record)?;
    references.settle(tx, file.bucket)?;
    Ok(outcome(file.inode, &file.record))
}

/// The file of this inode.
pub(super) fn require_file(view: &dyn View, bucket: BucketId, inode: InodeId) -> Result<File, ApplyError> {
    let record = require_inode(view, bucket, inode)?;
    require_regular(&record)?;
    Ok(File { bucket, inode, record })
}

/// Checks new extents: in order, apart, each with bytes. Gives where the last ends.
fn check_extents(extents: &[Extent]) -> Result<u64, ApplyError> {
    if extents.is_empty() || extents.len() > limits::COMMAND_EXTENTS_MAX {
        return Err(malformed("no extents, or too many"));
    }
    let (mut end, mut inline_bytes) = (0_u64, 0);
    for extent in extents {
        let length = match &extent.chunk {
            Some(chunk) if extent.inline.is_empty() => {
                let chunk_end = u64::from(extent.chunk_offset).saturating_add(extent.length);
                (chunk_end <= u64::from(chunk.length)).then_some(extent.length)
            }
            None => Some(extent.inline.len() as u64),
            Some(_) => None,
        };
        if length != Some(extent.length) || extent.length == 0 || extent.file_offset < end {
            return Err(malformed("extents out of order, without bytes, or beyond their chunk"));
        }
        end = extent.file_offset.saturating_add(extent.length);
        inline_bytes += extent.inline.len();
    }
    if inline_bytes > limits::INLINE_SIZE_BYTES {
        return Err(malformed("more inline bytes than an inode holds"));
    }
    check_size(end)?;
    Ok(end)
}

fn check_size(size: u64) -> Result<(), ApplyError> {
    if size > limits::FILE_SIZE_BYTES_MAX {
        return Err(refuse(ErrorCode::FileTooLarge, "a file has at most 2^63 - 1 bytes"));
    }
    Ok(())
}

/// Commits the chunks of new extents, of which several may share one: each is entered with one reference.
fn commit(tx: &mut Tx<'_>, bucket: &Bucket, session: SessionId, extents: &[Extent]) -> Result<References, ApplyError> {
    let mut chunks: BTreeMap<&Bytes, &Chunk> = BTreeMap::new();
    for chunk in extents.iter().filter_map(|extent| extent.chunk.as_ref()) {
        if *chunks.entry(&chunk.id).or_insert(chunk) != chunk {
            return Err(malformed("two different chunks under one id"));
        }
    }
    if !chunks.is_empty() {
        commit_body(tx, bucket, session, &whole(chunks.values()))?;
    }
    Ok(References::committed(chunks.into_keys().cloned()))
}

/// A body of whole chunks, one behind the other.
fn whole<'c>(chunks: impl Iterator<Item = &'c &'c Chunk>) -> Body {
    let mut body = Body::default();
    for chunk in chunks {
        body.extents.push(Extent {
            file_offset: body.size,
            length: chunk.length.into(),
            chunk: Some((*chunk).clone()),
            ..Extent::default()
        });
        body.size += u64::from(chunk.length);
    }
    body
}

/// The extents as records, those that follow each other together.
fn runs(extents: &[Extent], generation: u64) -> Vec<Vec<ExtentRecord>> {
    let mut runs: Vec<Vec<ExtentRecord>> = Vec::new();
    for extent in extents {
        let record = ExtentRecord {
            file_offset: extent.file_offset,
            length: extent.length,
            chunk_offset: extent.chunk_offset,
            chunk_id: extent.chunk.as_ref().map(|chunk| chunk.id.clone()).unwrap_or_default(),
            generation,
            inline: extent.inline.clone(),
        };
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| last.end() == record.file_offset) => run.push(record),
            Some(_) | None => runs.push(vec![record]),
        }
    }
    runs
}

/// Lays extents that follow each other over what the file holds there.
pub(super) fn overlay(
    tx: &mut Tx<'_>,
    file: &mut File,
    references: &mut References,
    run: Vec<ExtentRecord>,
) -> Result<(), ApplyError> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Ok(());
    };
    let (from, to) = (first.file_offset, last.end());
    extents::replace(tx, file, references, from, to, run)
}

/// Begins a change of the data: the next version, and nothing left of what S3 said of the one before.
pub(super) fn begin(file: &mut File) {
    file.record.posix_mut();
    file.record.changes_mut().version += 1;
    if let Some(attributes) = &mut file.record.attributes {
        attributes.etag.clear();
        attributes.checksums.clear();
    }
}

/// Ends a change of the data.
pub(super) fn finish(
    tx: &mut Tx<'_>,
    mut file: File,
    references: References,
    clears_suid: bool,
) -> Result<FileOutcome, ApplyError> {
    file.record.touch_data(tx.time_ms);
    if clears_suid {
        clear_suid(&mut file.record);
    }
    path::put_inode(tx, file.bucket, file.inode, &file.record)?;
    references.settle(tx, file.bucket)?;
    Ok(outcome(file.inode, &file.record))
}

/// Accounts for a file's new size. One without a name counts no more.
pub(super) fn account(bucket: &mut Bucket, record: &InodeRecord, size: u64) -> Result<(), ApplyError> {
    if record.unlinked_at > 0 {
        return Ok(());
    }
    usage::resize(bucket, record.size, size)
}

/// A small body of `size` bytes with `patches` at their offsets, all of them within it.
pub(super) fn patched<'p>(old: &Bytes, size: u64, patches: impl Iterator<Item = (u64, &'p Bytes)>) -> Bytes {
    let as_len = |bytes: u64| usize::try_from(bytes).expect("an inline body is small");
    let mut body = old.to_vec();
    body.resize(as_len(size), 0);
    for (offset, bytes) in patches {
        let from = as_len(offset);
        body[from..from + bytes.len()].copy_from_slice(bytes);
    }
    body.into()
}

/// Makes an extent of a small body, so that others can lie beside it.
pub(super) fn to_extents(record: &mut InodeRecord) {
    let inline = std::mem::take(&mut record.inline);
    if !inline.is_empty() {
        record.extents.push(ExtentRecord {
            length: inline.len() as u64,
            generation: record.data_version(),
            inline,
            ..ExtentRecord::default()
        });
    }
}

/// Cuts a file off or lets it grow by a hole. Its times are the caller's.
pub(super) fn resize(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    file: &mut File,
    references: &mut References,
    size: u64,
) -> Result<(), ApplyError> {
    check_size(size)?;
    if size == file.record.size {
        return Ok(());
    }
    account(bucket, &file.record, size)?;
    begin(file);
    if !file.record.inline.is_empty() {
        if size <= limits::INLINE_SIZE_BYTES as u64 {
            file.record.inline = patched(&file.record.inline, size, std::iter::empty());
        } else {
            to_extents(&mut file.record);
        }
    } else if size < file.record.size {
        extents::truncate(tx, file, references, size)?;
    }
    file.record.size = size;
    Ok(())
}

/// Where the bytes of a file lie.
pub(super) fn plan(view: &dyn View, bucket: BucketId, query: &FilePlanQuery) -> Result<FilePlan, ApplyError> {
    let File { inode, record, .. } = require_file(view, bucket, InodeId::new(query.inode))?;
    if let Some(expected) = query.expected_version {
        require_version(&record, expected)?;
    }
    Ok(FilePlan {
        attributes: Some(attributes::of(inode, &record)),
        plan: Some(page(view, bucket, inode, &record, query.from)?),
    })
}
