//! The extents of a file while it is changed in place: laid over each other, split, merged, cut off.
//!
//! Invariant: the stored extents of a file do not overlap, and every one in a chunk stands for one reference of that chunk.
//! What loses its last reference waits in the release queue for the reads that began before. An extent is live where no
//! later truncation cuts it.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, ChunkId, InodeId},
    limits,
    wire::command::ErrorCode,
};

use super::{
    recode, release,
    tx::{ApplyError, Tx, missing, open_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    chunk::{self, ChunkRecord},
    extent::{self, ExtentRecord},
    garbage::{Chunks, Cut, Release},
    inode::{self, CutRecord, InodeRecord},
};

/// Extents behind a truncation that the command itself removes; more are left to the worker.
const DIRECT_CUT_MAX: usize = 64;

/// A file under change. Its record is stored by whoever changes it.
pub(crate) struct File {
    pub(crate) bucket: BucketId,
    pub(crate) inode: InodeId,
    pub(crate) record: InodeRecord,
}

/// References to chunks that a command adds and drops, and how many extents it touched.
#[derive(Debug, Default)]
pub(crate) struct References {
    net: BTreeMap<Bytes, i64>,
    touched: usize,
}

impl References {
    /// Of a command that has committed these chunks: each was entered with one reference.
    pub(crate) fn committed(ids: impl Iterator<Item = Bytes>) -> Self {
        Self {
            net: ids.map(|id| (id, -1)).collect(),
            touched: 0,
        }
    }

    fn count(&mut self, extent: &ExtentRecord, references: i64) {
        if !extent.chunk_id.is_empty() {
            *self.net.entry(extent.chunk_id.clone()).or_default() += references;
        }
    }

    fn touch(&mut self, extents: usize) -> Result<(), ApplyError> {
        self.touched += extents;
        if self.touched > limits::TOUCHED_EXTENTS_MAX {
            let detail = format!(
                "the range holds more than {} extents: take a smaller one",
                limits::TOUCHED_EXTENTS_MAX
            );
            return Err(refuse(ErrorCode::LimitExceeded, detail));
        }
        Ok(())
    }

    /// Enters the references that were added, and queues those that were dropped.
    pub(crate) fn settle(self, tx: &mut Tx<'_>, bucket: BucketId) -> Result<(), ViewError> {
        let mut dropped = Vec::new();
        let kept = self.net.iter().filter(|(_, net)| **net >= 0);
        recode::touch(tx, bucket, kept.map(|(bytes, _)| bytes))?;
        for (bytes, net) in self.net {
            match u64::try_from(net) {
                Ok(0) => {}
                Ok(added) => add_references(tx, &bytes, added)?,
                Err(_) => dropped.extend((0..net.unsigned_abs()).map(|_| bytes.clone())),
            }
        }
        if !dropped.is_empty() {
            release::queue(tx, bucket, Release::Chunks(Chunks { ids: dropped }))?;
        }
        Ok(())
    }
}

fn add_references(tx: &mut Tx<'_>, bytes: &Bytes, added: u64) -> Result<(), ViewError> {
    let id = ChunkId::from_bytes(bytes).ok_or_else(|| missing(Family::Chunk, "a valid chunk id"))?;
    let key = chunk::key(id);
    let mut record: ChunkRecord = tx
        .record(Family::Chunk, &key)?
        .ok_or_else(|| missing(Family::Chunk, format!("chunk {id}")))?;
    record.references += added;
    tx.put(Family::Chunk, key, &record);
    Ok(())
}

/// What of a stored extent no truncation has cut off.
pub(crate) fn live(record: &InodeRecord, extent: &ExtentRecord) -> Option<ExtentRecord> {
    // Both numbers of cuts ascend: the first later one cuts the most.
    let cut = record.cuts().iter().find(|cut| cut.generation > extent.generation);
    extent.clipped(0, cut.map_or(u64::MAX, |cut| cut.from))
}

/// Visits the stored extents that end at `end_from` or behind it, in order, until the visitor answers `false`.
pub(crate) fn visit_stored(
    view: &dyn View,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
    end_from: u64,
    visit: &mut dyn FnMut(ExtentRecord) -> bool,
) -> Result<(), ViewError> {
    for extent in record.extents.iter().filter(|extent| extent.end() >= end_from) {
        if !visit(extent.clone()) {
            return Ok(());
        }
    }
    if !record.more_extents {
        return Ok(());
    }
    let prefix = inode::key(bucket, inode);
    let manifest = extent::manifest_key(bucket, inode);
    let start = extent::key(bucket, inode, end_from);
    scan_prefix(view, Family::Extent, &prefix, &start, &mut |key, value| {
        if key == manifest.as_slice() {
            return Ok(false);
        }
        Ok(visit(open_record(Family::Extent, value)?))
    })
}

/// Lets `new` be all that the file holds of `from..to`; the rest of the range becomes a hole. Neighbours that go on in the
/// same chunk become one extent.
pub(crate) fn replace(
    tx: &mut Tx<'_>,
    file: &mut File,
    references: &mut References,
    from: u64,
    to: u64,
    new: Vec<ExtentRecord>,
) -> Result<(), ApplyError> {
    gather(tx, file);
    // Neighbours that only touch the range are read too: the new extents may continue them.
    let mut old = Vec::new();
    let mut budget = limits::TOUCHED_EXTENTS_MAX + 1;
    visit_stored(tx, file.bucket, file.inode, &file.record, from.max(1), &mut |extent| {
        let touches = extent.file_offset <= to && budget > 0;
        if touches {
            budget -= 1;
            old.push(extent);
        }
        touches
    })?;
    references.touch(old.len())?;
    let alive: Vec<ExtentRecord> = old.iter().filter_map(|extent| live(&file.record, extent)).collect();
    let mut result: Vec<ExtentRecord> = alive.iter().filter_map(|extent| extent.clipped(0, from)).collect();
    result.extend(with_holes(&file.record, from, to, new));
    result.extend(alive.iter().filter_map(|extent| extent.clipped(to, u64::MAX)));
    let result = merged(result, file.record.cuts().is_empty());
    old.iter().for_each(|extent| references.count(extent, -1));
    result.iter().for_each(|extent| references.count(extent, 1));
    store(tx, file, &old, result);
    Ok(())
}

/// Over parts of a multipart object a hole must be stored, or they would show through.
fn with_holes(record: &InodeRecord, from: u64, to: u64, new: Vec<ExtentRecord>) -> Vec<ExtentRecord> {
    if record.upload == 0 {
        return new;
    }
    let parts_end = record.changes.as_ref().and_then(|changes| changes.parts_end);
    let to = to.min(parts_end.unwrap_or(u64::MAX));
    let hole = |start: u64, end: u64| ExtentRecord {
        file_offset: start,
        length: end - start,
        generation: record.data_version(),
        ..ExtentRecord::default()
    };
    let mut filled = Vec::with_capacity(new.len() + 1);
    let mut at = from;
    for extent in new {
        if at < extent.file_offset.min(to) {
            filled.push(hole(at, extent.file_offset.min(to)));
        }
        at = extent.end();
        filled.push(extent);
    }
    if at < to {
        filled.push(hole(at, to));
    }
    filled
}

/// Joins neighbours that continue each other. While truncations are pending, only those of one generation.
fn merged(extents: Vec<ExtentRecord>, any_generation: bool) -> Vec<ExtentRecord> {
    let mut result: Vec<ExtentRecord> = Vec::with_capacity(extents.len());
    for extent in extents {
        match result.last_mut() {
            Some(last) if last.is_continued_by(&extent) && (any_generation || last.generation == extent.generation) => {
                last.length += extent.length;
                last.generation = last.generation.max(extent.generation);
            }
            Some(_) | None => result.push(extent),
        }
    }
    result
}

/// Where more extents than the inode holds have records of their own, those in the inode get some too.
fn gather(tx: &mut Tx<'_>, file: &mut File) {
    if file.record.more_extents {
        for extent in std::mem::take(&mut file.record.extents) {
            put(tx, file, &extent);
        }
    }
}

/// Puts `new` in the place of `old`, in the inode where all that the file has fits there.
fn store(tx: &mut Tx<'_>, file: &mut File, old: &[ExtentRecord], new: Vec<ExtentRecord>) {
    if !file.record.more_extents {
        let mut all = std::mem::take(&mut file.record.extents);
        all.retain(|extent| !old.contains(extent));
        all.extend(new);
        all.sort_unstable_by_key(|extent| extent.file_offset);
        let inline_bytes: usize = all.iter().map(|extent| extent.inline.len()).sum();
        if all.len() <= limits::INODE_EXTENTS_MAX && inline_bytes <= limits::INLINE_SIZE_BYTES {
            file.record.extents = all;
            return;
        }
        file.record.more_extents = true;
        all.iter().for_each(|extent| put(tx, file, extent));
        return;
    }
    let mut before: BTreeMap<u64, &ExtentRecord> = old.iter().map(|extent| (extent.end(), extent)).collect();
    for extent in &new {
        if before.remove(&extent.end()) != Some(extent) {
            put(tx, file, extent);
        }
    }
    for end in before.into_keys() {
        tx.delete(Family::Extent, extent::key(file.bucket, file.inode, end));
    }
}

fn put(tx: &mut Tx<'_>, file: &File, extent: &ExtentRecord) {
    tx.put(
        Family::Extent,
        extent::key(file.bucket, file.inode, extent.end()),
        extent,
    );
}

/// Cuts off what lies at `size` or behind: at once where it is little, else by a mark that the worker follows. `record` has
/// the data version of the truncation already.
pub(crate) fn truncate(
    tx: &mut Tx<'_>,
    file: &mut File,
    references: &mut References,
    size: u64,
) -> Result<(), ApplyError> {
    if file.record.upload != 0 {
        let parts_end = &mut file.record.changes_mut().parts_end;
        *parts_end = Some(parts_end.map_or(size, |end| end.min(size)));
    }
    gather(tx, file);
    let mut behind = 0;
    let end_from = size.saturating_add(1);
    visit_stored(tx, file.bucket, file.inode, &file.record, end_from, &mut |_| {
        behind += 1;
        behind <= DIRECT_CUT_MAX
    })?;
    match behind {
        0 => Ok(()),
        1..=DIRECT_CUT_MAX => replace(tx, file, references, size, u64::MAX, Vec::new()),
        _ => mark_cut(tx, file, size),
    }
}

fn mark_cut(tx: &mut Tx<'_>, file: &mut File, from: u64) -> Result<(), ApplyError> {
    let generation = file.record.data_version();
    let cuts = &mut file.record.changes_mut().cuts;
    // An earlier truncation further behind cuts nothing that this one does not.
    while cuts.pop_if(|cut| cut.from >= from).is_some() {}
    if cuts.len() >= limits::CUTS_MAX {
        return Err(refuse(
            ErrorCode::SlowDown,
            "the file was truncated often and what was cut off is still being removed",
        ));
    }
    cuts.push(CutRecord { generation, from });
    let cut = Cut {
        inode: file.inode.value(),
        generation,
        done_to: 0,
    };
    release::queue(tx, file.bucket, Release::Cut(cut))?;
    Ok(())
}

/// What a step of removing cut-off extents has met.
pub(crate) struct CutOff {
    /// Chunks of extents that are gone, one reference each.
    pub(crate) chunk_ids: Vec<Bytes>,
    /// Extents looked at.
    pub(crate) visited: usize,
}

/// Removes up to `limit` extents that a truncation cut off, of those that end behind `done_to`; an extent that it cuts in two
/// keeps its front. Gives where to go on, if there is more.
pub(crate) fn cut_off(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    inode: InodeId,
    cut: CutRecord,
    done_to: u64,
    limit: usize,
) -> Result<(CutOff, Option<u64>), ViewError> {
    let prefix = inode::key(bucket, inode);
    let manifest = extent::manifest_key(bucket, inode);
    let start = extent::key(bucket, inode, cut.from.max(done_to).saturating_add(1));
    let mut met: Vec<ExtentRecord> = Vec::new();
    scan_prefix(tx, Family::Extent, &prefix, &start, &mut |key, value| {
        if key == manifest.as_slice() {
            return Ok(false);
        }
        met.push(open_record(Family::Extent, value)?);
        Ok(met.len() < limit)
    })?;
    let next = (met.len() >= limit)
        .then(|| met.last().map(ExtentRecord::end))
        .flatten();
    let mut cut_off = CutOff {
        chunk_ids: Vec::new(),
        visited: met.len(),
    };
    for extent in met.into_iter().filter(|extent| extent.generation < cut.generation) {
        tx.delete(Family::Extent, extent::key(bucket, inode, extent.end()));
        match extent.clipped(0, cut.from) {
            Some(front) => tx.put(Family::Extent, extent::key(bucket, inode, front.end()), &front),
            None => cut_off.chunk_ids.push(extent.chunk_id),
        }
    }
    Ok((cut_off, next))
}
