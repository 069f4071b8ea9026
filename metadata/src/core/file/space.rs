//! Holes, room behind the end, ranges cloned by reference, and what a bucket holds.
//!
//! Invariant: cloning shares chunks by their reference counts and copies bytes only where they are inline.

use cairn_common::{
    ids::{BucketId, InodeId},
    limits,
    wire::{
        command::ErrorCode,
        file::{ChangeSpace, CloneRange, FileOutcome, Space, SpaceMode},
    },
};

use super::data::{account, begin, finish, patched, require_file, resize, to_extents};
use crate::{
    core::{
        bucket::{self, Bucket},
        chunk::malformed,
        extents::{self, File, References},
        segments::segments,
        tx::{ApplyError, Tx, refuse},
        view::View,
    },
    record::extent::ExtentRecord,
};

/// Inline bytes that one command clones at most: they are copied.
const CLONED_INLINE_BYTES_MAX: usize = 16 * limits::INLINE_SIZE_BYTES;

pub(super) fn change(tx: &mut Tx<'_>, bucket: &mut Bucket, change: &ChangeSpace) -> Result<FileOutcome, ApplyError> {
    let mode = SpaceMode::try_from(change.mode).map_err(|_| malformed("an unknown mode"))?;
    let mut file = require_file(tx, bucket.id, InodeId::new(change.inode))?;
    if change.length == 0 {
        return Err(malformed("a range without a byte"));
    }
    let end = change.offset.saturating_add(change.length);
    let mut references = References::default();
    match mode {
        SpaceMode::Allocate => {}
        SpaceMode::Punch | SpaceMode::Zero => punch(tx, &mut file, &mut references, change.offset, end)?,
    }
    match mode {
        SpaceMode::Punch => {}
        SpaceMode::Allocate | SpaceMode::Zero => {
            let size = file.record.size.max(end);
            resize(tx, bucket, &mut file, &mut references, size)?;
        }
    }
    finish(tx, file, references, change.clear_suid)
}

/// Makes a hole of what the file holds of the range.
fn punch(tx: &mut Tx<'_>, file: &mut File, references: &mut References, from: u64, end: u64) -> Result<(), ApplyError> {
    begin(file);
    let to = end.min(file.record.size);
    if from >= to {
        return Ok(());
    }
    if file.record.inline.is_empty() {
        return extents::replace(tx, file, references, from, to, Vec::new());
    }
    let zeros = vec![0; usize::try_from(to - from).expect("an inline body is small")].into();
    file.record.inline = patched(&file.record.inline, file.record.size, [(from, &zeros)].into_iter());
    Ok(())
}

pub(super) fn clone_range(tx: &mut Tx<'_>, bucket: &mut Bucket, clone: &CloneRange) -> Result<FileOutcome, ApplyError> {
    let source = require_file(tx, bucket.id, InodeId::new(clone.source))?;
    let mut file = require_file(tx, bucket.id, InodeId::new(clone.inode))?;
    let source_end = clone.source_offset.saturating_add(clone.length).min(source.record.size);
    let length = source_end.saturating_sub(clone.source_offset);
    if length == 0 {
        return Ok(super::outcome(file.inode, &file.record));
    }
    let end = clone.offset.saturating_add(length);
    let apart = end <= clone.source_offset || source_end <= clone.offset;
    if clone.source == clone.inode && !apart {
        return Err(malformed("ranges of one file that overlap"));
    }
    if end > limits::FILE_SIZE_BYTES_MAX {
        return Err(refuse(ErrorCode::FileTooLarge, "a file has at most 2^63 - 1 bytes"));
    }
    let pieces = source_pieces(tx, &source, clone.source_offset, source_end)?;
    begin(&mut file);
    let size = file.record.size.max(end);
    account(bucket, &file.record, size)?;
    let generation = file.record.data_version();
    let new: Vec<ExtentRecord> = pieces
        .into_iter()
        .map(|piece| ExtentRecord {
            file_offset: piece.file_offset - clone.source_offset + clone.offset,
            generation,
            ..piece
        })
        .collect();
    let mut references = References::default();
    let is_inline = new.iter().all(|extent| extent.chunk_id.is_empty());
    if is_inline && file.record.is_inline() && size <= limits::INLINE_SIZE_BYTES as u64 {
        // Holes of the source become zeros.
        let zeros = vec![0; usize::try_from(length).expect("an inline body is small")].into();
        let cleared = [(clone.offset, &zeros)].into_iter();
        let patches = cleared.chain(new.iter().map(|extent| (extent.file_offset, &extent.inline)));
        file.record.inline = patched(&file.record.inline, size, patches);
    } else {
        to_extents(&mut file.record);
        extents::replace(tx, &mut file, &mut references, clone.offset, end, new)?;
    }
    file.record.size = size;
    let outcome = finish(tx, file, references, clone.clear_suid)?;
    Ok(FileOutcome {
        cloned_bytes: length,
        ..outcome
    })
}

/// What the source holds of the range.
fn source_pieces(view: &dyn View, source: &File, from: u64, to: u64) -> Result<Vec<ExtentRecord>, ApplyError> {
    let File { bucket, inode, record } = source;
    let list = if record.inline.is_empty() {
        let page = segments(view, *bucket, *inode, record, from, to, limits::TOUCHED_EXTENTS_MAX)?;
        if page.reached < to {
            return Err(too_much());
        }
        page.list
    } else {
        let mut inline = record.clone();
        to_extents(&mut inline);
        inline.extents
    };
    let pieces: Vec<ExtentRecord> = list.iter().filter_map(|extent| extent.clipped(from, to)).collect();
    let inline_bytes: usize = pieces.iter().map(|piece| piece.inline.len()).sum();
    if pieces.len() > limits::TOUCHED_EXTENTS_MAX || inline_bytes > CLONED_INLINE_BYTES_MAX {
        return Err(too_much());
    }
    Ok(pieces)
}

fn too_much() -> ApplyError {
    refuse(
        ErrorCode::LimitExceeded,
        "the range holds too many extents: take a smaller one",
    )
}

/// What a bucket holds and may hold.
pub(super) fn space(view: &dyn View, bucket: BucketId) -> Result<Space, ApplyError> {
    let bucket = bucket::require_id(view, bucket)?;
    let record = &bucket.record;
    Ok(Space {
        used_bytes: record.object_bytes,
        quota_bytes: bucket.settings().quota_bytes,
        inodes: record.inodes,
    })
}
