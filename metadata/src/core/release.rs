//! Garbage: what lost its name is queued, taken apart in bounded steps, and forgotten once its shards are deleted.
//!
//! Invariant: nothing is released while a read that began before it became garbage may still be running, and a chunk's
//! record is forgotten only after every shard of it is confirmed deleted.

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, ChunkId, DeviceId, InodeId, UploadId},
    limits,
    wire::{
        command::{ForgetChunks, Outcome, ReleaseStep},
        object::Chunk,
    },
};

use super::{
    apply::done,
    chunk::malformed,
    map, session,
    tx::{ApplyError, Tx, missing, open_record, read_record, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    chunk::{self, ChunkRecord},
    extent::{self, ExtentRecord, ManifestRecord},
    garbage::{self, Release, ReleaseRecord, Unselected},
    inode::{self, InodeRecord},
    key::KeyWriter,
    part::{self, PartRecord},
    session as session_record,
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
    let key = garbage::queue_key(tx.log_index, tx.queued);
    tx.queued += 1;
    tx.put(
        Family::Garbage,
        key,
        &ReleaseRecord {
            bucket: bucket.value(),
            release: Some(release),
        },
    );
    let mut store = session::store(tx)?;
    store.release_pending += 1;
    session::put_store(tx, &store);
    Ok(())
}

/// Whether the release queue holds an entry that may be released now.
pub fn release_pending(view: &dyn View) -> Result<bool, ViewError> {
    if session::store(view)?.deletion_held {
        return Ok(false);
    }
    let oldest_read = session::oldest_read(view)?;
    Ok(next_entry(view)?.is_some_and(|(key, _)| may_release(&key, oldest_read)))
}

fn may_release(key: &[u8], oldest_read: u64) -> bool {
    garbage::queued_at(key).is_some_and(|queued_at| queued_at <= oldest_read)
}

fn next_entry(view: &dyn View) -> Result<Option<(Vec<u8>, ReleaseRecord)>, ViewError> {
    let mut next = None;
    scan_prefix(
        view,
        Family::Garbage,
        &[garbage::QUEUE_PREFIX],
        &[],
        &mut |key, value| {
            next = Some((key.to_vec(), open_record(Family::Garbage, value)?));
            Ok(false)
        },
    )?;
    Ok(next)
}

/// Takes up to the given number of steps; each releases one record.
pub(crate) fn step(tx: &mut Tx<'_>, step: &ReleaseStep) -> Result<Outcome, ApplyError> {
    let store = session::store(tx)?;
    if store.deletion_held {
        return Ok(Outcome::ReleaseLeft(store.release_pending));
    }
    let oldest_read = session::oldest_read(tx)?;
    let mut left = (step.steps as usize).min(limits::GARBAGE_STEP_MAX);
    while left > 0 {
        let Some((key, record)) = next_entry(tx)? else { break };
        if !may_release(&key, oldest_read) {
            break;
        }
        let bucket = BucketId::new(record.bucket);
        let release = record
            .release
            .ok_or_else(|| missing(Family::Garbage, "the content of a queue entry"))?;
        let finished = match release {
            Release::Inode(inode) => release_inode(tx, bucket, InodeId::new(inode), &mut left)?,
            Release::Upload(upload) => release_parts(tx, bucket, UploadId::new(upload), &mut left)?,
            Release::Unselected(unselected) => release_unselected(tx, &key, bucket, &unselected, &mut left)?,
            Release::Chunks(chunks) => {
                drop_references(tx, chunks.ids.iter())?;
                true
            }
        };
        left = left.saturating_sub(1);
        if finished {
            tx.delete(Family::Garbage, key);
            let mut store = session::store(tx)?;
            store.release_pending = store.release_pending.saturating_sub(1);
            session::put_store(tx, &store);
        }
    }
    Ok(Outcome::ReleaseLeft(session::store(tx)?.release_pending))
}

/// Releases further extents, then parts, then what the inode itself holds. `true` once all is gone.
fn release_inode(tx: &mut Tx<'_>, bucket: BucketId, inode: InodeId, left: &mut usize) -> Result<bool, ViewError> {
    let inode_key = inode::key(bucket, inode);
    let Some(record) = tx.record::<InodeRecord>(Family::Inode, &inode_key)? else {
        return Ok(true);
    };
    if record.more_extents {
        let prefix = inode_key.clone();
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
    drop_references(tx, record.extents.iter().map(|extent| &extent.chunk_id))?;
    if record.upload != 0 {
        tx.delete(Family::Extent, extent::manifest_key(bucket, inode));
    }
    tx.delete(Family::Inode, inode_key);
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

/// Takes one reference from each chunk; those without any become garbage.
fn drop_references<'b>(tx: &mut Tx<'_>, ids: impl Iterator<Item = &'b Bytes>) -> Result<(), ViewError> {
    for bytes in ids {
        let id = ChunkId::from_bytes(bytes).ok_or_else(|| missing(Family::Chunk, "a valid chunk id"))?;
        let key = chunk::key(id);
        let mut record: ChunkRecord = tx
            .record(Family::Chunk, &key)?
            .ok_or_else(|| missing(Family::Chunk, format!("chunk {id}")))?;
        record.references = record.references.saturating_sub(1);
        tx.put(Family::Chunk, key, &record);
        if record.references == 0 {
            tx.put_raw(Family::Garbage, garbage::chunk_key(id), Vec::new());
        }
    }
    Ok(())
}

/// Up to `limit` chunks whose shards may be deleted now.
pub fn deletable_chunks(view: &dyn View, limit: usize) -> Result<Vec<DeletableChunk>, ViewError> {
    if session::store(view)?.deletion_held {
        return Ok(Vec::new());
    }
    let mut ids = Vec::new();
    scan_prefix(view, Family::Garbage, &[garbage::CHUNK_PREFIX], &[], &mut |key, _| {
        ids.extend(garbage::chunk_of(key));
        Ok(ids.len() < limit)
    })?;
    let map = map::checked(view)?;
    let mut deletable = Vec::with_capacity(ids.len());
    for id in ids {
        let record: ChunkRecord = read_record(view, Family::Chunk, &chunk::key(id))?
            .ok_or_else(|| missing(Family::Chunk, format!("garbage chunk {id}")))?;
        let chunk = record.chunk.filter(|_| record.references == 0);
        let shards = chunk.and_then(|chunk| holders(&map, id, &chunk));
        let shards = shards.ok_or_else(|| missing(Family::Chunk, format!("the row of garbage chunk {id}")))?;
        deletable.push(DeletableChunk { id, shards });
    }
    Ok(deletable)
}

fn holders(map: &cairn_common::cluster_map::ClusterMap, id: ChunkId, chunk: &Chunk) -> Option<Vec<(DeviceId, u32)>> {
    let row = match chunk.explicit_row() {
        Some(row) => row,
        None => map
            .row(chunk.redundancy()?.width(), id.placement_hash().group(map.group_bits))?
            .to_vec(),
    };
    Some(row.into_iter().zip(0..).collect())
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

/// Whether no record refers to a chunk and nobody can commit it any more.
pub fn is_orphan(view: &dyn View, id: ChunkId) -> Result<bool, ViewError> {
    if view.get(Family::Chunk, &chunk::key(id))?.is_some() || session::store(view)?.deletion_held {
        return Ok(false);
    }
    let session = read_record(view, Family::Session, &session_record::key(id.session))?;
    match session {
        Some(session_record::SessionRecord { settled_below, .. }) => Ok(id.counter < settled_below),
        None => Ok(session::was_opened(&session::store(view)?, id.session)),
    }
}
