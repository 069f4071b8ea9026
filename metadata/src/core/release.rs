//! Garbage: what lost its name is queued, taken apart in bounded steps, and forgotten once its shards are deleted.
//!
//! Invariant: nothing is released while a read that began before it became garbage may still be running, and a chunk's
//! record is forgotten only after every shard of it is confirmed deleted.

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, ChunkId, DeviceId, InodeId, SessionId, UploadId},
    limits,
    wire::command::{ForgetChunks, Outcome, ReleaseStep},
};

use super::{
    apply::done,
    chunk::malformed,
    extents, feed, hold, lock, map, path,
    permit::{self, DeletionPermit},
    session,
    tx::{ApplyError, Tx, missing, open_record, read_record, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    chunk::{self, ChunkRecord},
    extent::{self, ExtentRecord, ManifestRecord},
    garbage::{self, Cut, Release, ReleaseRecord, Unselected},
    inode::{self, InodeRecord},
    key::KeyWriter,
    part::{self, PartRecord},
    xattr,
};

/// A chunk that no file refers to and no reader may still be reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletableChunk {
    /// The chunk.
    pub id: ChunkId,
    /// Every (device, shard index) that may hold one of its shards.
    pub shards: Vec<(DeviceId, u32)>,
}

/// Queues an entry for release.
pub(crate) fn queue(tx: &mut Tx<'_>, bucket: BucketId, release: Release) -> Result<(), ViewError> {
    requeue(tx, bucket, release);
    let mut store = session::store(tx)?;
    store.release_pending += 1;
    session::put_store(tx, &store);
    Ok(())
}

/// Puts an entry that is counted as pending already at the end of the queue.
pub(crate) fn requeue(tx: &mut Tx<'_>, bucket: BucketId, release: Release) {
    let key = garbage::queue_key(tx.log_index, tx.queued);
    tx.queued += 1;
    let record = ReleaseRecord {
        bucket: bucket.value(),
        release: Some(release),
    };
    tx.put(Family::Garbage, key, &record);
}

/// Whether the release queue holds an entry that may be released now.
pub fn release_pending(view: &dyn View) -> Result<bool, ViewError> {
    let Some(permit) = permit::deletion(view)? else {
        return Ok(false);
    };
    let needs = session::needs(view)?;
    let from = garbage::queue_key(session::store(view)?.release_from, 0);
    Ok(next_entry(view, &from, &permit)?.is_some_and(|(key, record)| may_release(&key, &record, needs)))
}

/// Whether no read needs what an entry releases, and every mount has said whether it holds it open.
fn may_release(key: &[u8], record: &ReleaseRecord, needs: session::Needs) -> bool {
    let needed_from = match record.release {
        Some(Release::Inode(_)) => needs.reads_from.min(needs.orphans_seen),
        Some(
            Release::Upload(_)
            | Release::Unselected(_)
            | Release::Chunks(_)
            | Release::Cut(_)
            | Release::Locks(_)
            | Release::Feed(_),
        )
        | None => needs.reads_from,
    };
    garbage::queued_at(key).is_some_and(|queued_at| queued_at <= needed_from)
}

/// The first entry of the queue, which holds none before `from`.
fn next_entry(view: &dyn View, from: &[u8], _: &DeletionPermit) -> Result<Option<(Vec<u8>, ReleaseRecord)>, ViewError> {
    let mut next = None;
    scan_prefix(
        view,
        Family::Garbage,
        &[garbage::QUEUE_PREFIX],
        from,
        &mut |key, value| {
            next = Some((key.to_vec(), open_record(Family::Garbage, value)?));
            Ok(false)
        },
    )?;
    Ok(next)
}

/// Takes up to the given number of steps; each releases one record.
pub(crate) fn step(tx: &mut Tx<'_>, step: &ReleaseStep) -> Result<Outcome, ApplyError> {
    let Some(permit) = permit::deletion(tx)? else {
        return Ok(Outcome::ReleaseLeft(session::store(tx)?.release_pending));
    };
    let needs = session::needs(tx)?;
    let mut left = (step.steps as usize).min(limits::GARBAGE_STEP_MAX);
    let mut from = garbage::queue_key(session::store(tx)?.release_from, 0);
    while left > 0 {
        let Some((key, record)) = next_entry(tx, &from, &permit)? else {
            break;
        };
        if !may_release(&key, &record, needs) {
            break;
        }
        from.clone_from(&key);
        if release_entry(tx, &key, record, &mut left)? {
            tx.delete(Family::Garbage, key);
            let mut store = session::store(tx)?;
            store.release_pending = store.release_pending.saturating_sub(1);
            session::put_store(tx, &store);
        }
        left = left.saturating_sub(1);
    }
    // Entries are queued in the order of log indices, so none comes before this one any more.
    let mut store = session::store(tx)?;
    let release_from = garbage::queued_at(&from).unwrap_or_default();
    if release_from > store.release_from {
        store.release_from = release_from;
        session::put_store(tx, &store);
    }
    Ok(Outcome::ReleaseLeft(store.release_pending))
}

/// Takes steps of one entry. `true` once it is done.
fn release_entry(tx: &mut Tx<'_>, key: &[u8], record: ReleaseRecord, left: &mut usize) -> Result<bool, ViewError> {
    let bucket = BucketId::new(record.bucket);
    let release = record
        .release
        .ok_or_else(|| missing(Family::Garbage, "the content of a queue entry"))?;
    match release {
        Release::Inode(inode) => {
            let inode = InodeId::new(inode);
            if hold::is_held(tx, bucket, inode)? {
                // Set aside, so that what is behind it does not wait for a file to be closed.
                tx.delete(Family::Garbage, key.to_vec());
                let release = Some(Release::Inode(inode.value()));
                let bucket_id = bucket.value();
                let waiting = ReleaseRecord {
                    bucket: bucket_id,
                    release,
                };
                tx.put(Family::Garbage, garbage::held_key(bucket, inode), &waiting);
                return Ok(false);
            }
            let Some(record) = path::find_inode(tx, bucket, inode)? else {
                return Ok(true);
            };
            let is_done = release_inode(tx, bucket, inode, &record, left)?;
            if !is_done && !record.releasing {
                // What is gone of it would read as holes to someone whose session has ended.
                let releasing = InodeRecord {
                    releasing: true,
                    ..record
                };
                path::put_inode(tx, bucket, inode, &releasing)?;
            }
            Ok(is_done)
        }
        Release::Upload(upload) => release_parts(tx, bucket, UploadId::new(upload), left),
        Release::Unselected(unselected) => release_unselected(tx, key, bucket, &unselected, left),
        Release::Chunks(chunks) => {
            *left = left.saturating_sub(chunks.ids.len());
            drop_references(tx, chunks.ids.iter())?;
            Ok(true)
        }
        Release::Cut(cut) => release_cut(tx, key, bucket, cut, left),
        Release::Locks(session) => lock::release_session(tx, SessionId::new(session), left),
        Release::Feed(_) => feed::release(tx, bucket, left),
    }
}

/// Releases further extents, then parts, then extended attributes, then what the inode itself holds. `true` once all is
/// gone.
fn release_inode(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
    left: &mut usize,
) -> Result<bool, ViewError> {
    if record.more_extents {
        let prefix = inode::key(bucket, inode);
        let extents: Vec<(Vec<u8>, ExtentRecord)> = first_records(tx, Family::Extent, &prefix, *left)?;
        *left -= extents.len();
        drop_references(tx, extents.iter().map(|(_, extent)| &extent.chunk_id))?;
        for (key, _) in extents {
            tx.delete(Family::Extent, key);
        }
        if *left == 0 {
            return Ok(false);
        }
    }
    if record.upload != 0 && !release_parts(tx, bucket, UploadId::new(record.upload), left)? {
        return Ok(false);
    }
    if record.xattr_bytes() > 0 && !release_xattrs(tx, bucket, inode, left)? {
        return Ok(false);
    }
    if !lock::release_inode(tx, bucket, inode, left)? {
        return Ok(false);
    }
    drop_references(tx, record.extents.iter().map(|extent| &extent.chunk_id))?;
    if record.upload != 0 {
        tx.delete(Family::Extent, extent::manifest_key(bucket, inode));
    }
    path::delete_inode(tx, bucket, inode);
    Ok(true)
}

/// Removes extended attributes. `true` once all are gone.
fn release_xattrs(tx: &mut Tx<'_>, bucket: BucketId, inode: InodeId, left: &mut usize) -> Result<bool, ViewError> {
    let prefix = xattr::key(bucket, inode, b"");
    let mut keys = Vec::new();
    scan_prefix(tx, Family::Xattr, &prefix, &prefix, &mut |key, _| {
        keys.push(key.to_vec());
        Ok(keys.len() < *left)
    })?;
    *left -= keys.len();
    for key in keys {
        tx.delete(Family::Xattr, key);
    }
    Ok(*left > 0)
}

/// Removes what a truncation cut off, then its mark. `true` once that is done, or a later truncation does it.
fn release_cut(tx: &mut Tx<'_>, entry: &[u8], bucket: BucketId, cut: Cut, left: &mut usize) -> Result<bool, ViewError> {
    let inode = InodeId::new(cut.inode);
    let Some(mut record) = path::find_inode(tx, bucket, inode)? else {
        return Ok(true);
    };
    let Some(mark) = record.cuts().iter().find(|mark| mark.generation == cut.generation) else {
        return Ok(true);
    };
    let (dead, done_to) = extents::cut_off(tx, bucket, inode, *mark, cut.done_to, *left)?;
    *left = left.saturating_sub(dead.visited);
    drop_references(tx, dead.chunk_ids.iter())?;
    if let Some(done_to) = done_to {
        let release = Some(Release::Cut(Cut { done_to, ..cut }));
        let bucket = bucket.value();
        tx.put(Family::Garbage, entry.to_vec(), &ReleaseRecord { bucket, release });
        return Ok(false);
    }
    record
        .changes_mut()
        .cuts
        .retain(|mark| mark.generation != cut.generation);
    path::put_inode(tx, bucket, inode, &record)?;
    Ok(true)
}

/// Releases the parts of an upload. `true` once all are gone.
fn release_parts(tx: &mut Tx<'_>, bucket: BucketId, upload: UploadId, left: &mut usize) -> Result<bool, ViewError> {
    let prefix = KeyWriter::new().u64(bucket.value()).u64(upload.value()).finish();
    while *left > 0 {
        let parts: Vec<(Vec<u8>, PartRecord)> = first_records(tx, Family::Part, &prefix, 1)?;
        let Some((key, part)) = parts.into_iter().next() else {
            return Ok(true);
        };
        *left = left.saturating_sub(part.extents.len().max(1));
        drop_references(tx, part.extents.iter().map(|extent| &extent.chunk_id))?;
        tx.delete(Family::Part, key);
    }
    Ok(false)
}

/// Releases the parts that the object's manifest does not name. `true` once all were looked at.
fn release_unselected(
    tx: &mut Tx<'_>,
    entry: &[u8],
    bucket: BucketId,
    unselected: &Unselected,
    left: &mut usize,
) -> Result<bool, ViewError> {
    let inode = InodeId::new(unselected.inode);
    let manifest: Option<ManifestRecord> = tx.record(Family::Extent, &extent::manifest_key(bucket, inode))?;
    // Without a manifest the object itself was released, and all parts with it.
    let Some(manifest) = manifest else { return Ok(true) };
    let upload = UploadId::new(unselected.upload);
    let prefix = KeyWriter::new().u64(bucket.value()).u64(upload.value()).finish();
    let from = part::key(bucket, upload, unselected.done_to + 1);
    let mut looked_at = Vec::new();
    scan_prefix(tx, Family::Part, &prefix, &from, &mut |key, value| {
        let number = part::number_of(key).unwrap_or_default();
        looked_at.push((number, key.to_vec(), open_record::<PartRecord>(Family::Part, value)?));
        Ok(looked_at.len() < *left)
    })?;
    let finished = looked_at.len() < *left;
    *left -= looked_at.len();
    let mut done_to = unselected.done_to;
    for (number, key, part) in looked_at {
        done_to = number;
        if manifest.numbers.binary_search(&number).is_err() {
            drop_references(tx, part.extents.iter().map(|extent| &extent.chunk_id))?;
            tx.delete(Family::Part, key);
        }
    }
    if !finished {
        let release = Some(Release::Unselected(Unselected { done_to, ..*unselected }));
        tx.put(
            Family::Garbage,
            entry.to_vec(),
            &ReleaseRecord {
                bucket: bucket.value(),
                release,
            },
        );
    }
    Ok(finished)
}

/// The first records whose keys start with `prefix`, a manifest left out.
fn first_records<R: cairn_common::envelope::Record>(
    tx: &Tx<'_>,
    family: Family,
    prefix: &[u8],
    limit: usize,
) -> Result<Vec<(Vec<u8>, R)>, ViewError> {
    let mut records = Vec::new();
    scan_prefix(tx, family, prefix, prefix, &mut |key, value| {
        if key.ends_with(&[0xff; 8]) {
            return Ok(false);
        }
        records.push((key.to_vec(), open_record(family, value)?));
        Ok(records.len() < limit)
    })?;
    Ok(records)
}

/// Takes one reference from each chunk; those without any become garbage. Extents without a chunk have no id.
fn drop_references<'b>(tx: &mut Tx<'_>, ids: impl Iterator<Item = &'b Bytes>) -> Result<(), ViewError> {
    for bytes in ids.filter(|bytes| !bytes.is_empty()) {
        let id = ChunkId::from_bytes(bytes).ok_or_else(|| missing(Family::Chunk, "a valid chunk id"))?;
        let before = super::chunk::find(tx, id)?.ok_or_else(|| missing(Family::Chunk, format!("chunk {id}")))?;
        let mut record = before.clone();
        record.references = record.references.saturating_sub(1);
        super::chunk::put(tx, id, Some(&before), &record)?;
        if record.references == 0 {
            tx.put_raw(Family::Garbage, garbage::chunk_key(id), Vec::new());
        }
    }
    Ok(())
}

/// Up to `limit` chunks whose shards may be deleted now.
pub fn deletable_chunks(view: &dyn View, limit: usize) -> Result<Vec<DeletableChunk>, ViewError> {
    let Some(DeletionPermit { .. }) = permit::deletion(view)? else {
        return Ok(Vec::new());
    };
    let mut ids = Vec::new();
    scan_prefix(view, Family::Garbage, &[garbage::CHUNK_PREFIX], &[], &mut |key, _| {
        ids.extend(garbage::chunk_of(key));
        Ok(ids.len() < limit)
    })?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let (store, map) = (session::store(view)?, map::checked(view)?);
    let mut deletable = Vec::with_capacity(ids.len());
    for id in ids {
        let record: ChunkRecord = read_record(view, Family::Chunk, &chunk::key(id))?
            .ok_or_else(|| missing(Family::Chunk, format!("garbage chunk {id}")))?;
        if record.references > 0 {
            return Err(missing(
                Family::Chunk,
                format!("the end of chunk {id}, which is garbage and referred to,"),
            ));
        }
        let shards = super::chunk::holders(view, &store, &map, id, &record)?;
        deletable.push(DeletableChunk { id, shards });
    }
    Ok(deletable)
}

/// Forgets garbage chunks whose shards are deleted.
pub(crate) fn forget(tx: &mut Tx<'_>, forget: &ForgetChunks) -> Result<Outcome, ApplyError> {
    for bytes in &forget.chunk_ids {
        let id = ChunkId::from_bytes(bytes).ok_or_else(|| malformed("a chunk id that is not 16 bytes"))?;
        let key = chunk::key(id);
        let record: Option<ChunkRecord> = tx.record(Family::Chunk, &key)?;
        if record.is_some_and(|record| record.references == 0) {
            tx.delete(Family::Chunk, key);
            tx.delete(Family::Garbage, garbage::chunk_key(id));
        }
    }
    Ok(done())
}
