//! Chunks of another redundancy than their bucket wants: which buckets may have some, which records refer to them, and how another
//! chunk takes the place of one.
//!
//! A bucket is marked when its redundancy changes, and with every commit that does not have it: of a client that did not know yet,
//! of a writer that found no row. Invariant: no command here changes what a file holds; every extent stands for one reference of the
//! chunk that it refers to, before and after.

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, ChunkId, SessionId},
    limits,
    redundancy::Redundancy,
    wire::{
        chunk::ChunkOutcome,
        object::Chunk,
        recode::{ChunkRecoded, Recode, RecodeMark, RecodeMarks, RecodesPage, RecodesQuery},
    },
};

use super::{
    bucket::{self, Bucket},
    chunk::{self, malformed},
    map, release, repair, session,
    tx::{ApplyError, Tx, missing, open_record, read_record, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    chunk::ChunkRecord,
    extent::{self, ExtentRecord},
    garbage::{Chunks, Release},
    inode::InodeRecord,
    key::KeyWriter,
    part::PartRecord,
    recode::{PREFIX, key},
};

/// Chunks of a page after which no further record is looked at.
const RECODES_PER_PAGE: usize = 64;

/// The families whose records hold extents, in the order in which they are walked.
const FAMILIES: [Family; 3] = [Family::Inode, Family::Extent, Family::Part];

/// Marks a bucket that may hold chunks of another redundancy than it wants.
pub(crate) fn mark(tx: &mut Tx<'_>, bucket: BucketId) {
    let mark = RecodeMark {
        bucket: bucket.value(),
        marked_at: tx.log_index,
    };
    tx.put(Family::System, key(bucket), &mark);
}

/// Marks a marked bucket anew where one of these chunks, which extents elsewhere than before refer to now, is not as it wants: a walk
/// may have passed the place already.
pub(crate) fn touch<'c>(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    chunks: impl Iterator<Item = &'c Bytes>,
) -> Result<(), ViewError> {
    if tx.get(Family::System, &key(bucket))?.is_none() {
        return Ok(());
    }
    let Some(marked) = bucket::find_id(tx, bucket)? else {
        return Ok(());
    };
    for id in chunks.filter_map(|bytes| ChunkId::from_bytes(bytes)) {
        if let Some(chunk) = chunk::find(tx, id)?.and_then(|record| record.chunk) {
            mark_for(tx, &marked, &chunk);
        }
    }
    Ok(())
}

/// Marks the bucket where a chunk that is committed to it has not the redundancy that it wants.
pub(crate) fn mark_for(tx: &mut Tx<'_>, bucket: &Bucket, chunk: &Chunk) {
    if chunk.redundancy() != wanted(bucket, chunk) {
        mark(tx, bucket.id);
    }
}

fn wanted(bucket: &Bucket, chunk: &Chunk) -> Option<Redundancy> {
    let (data, parity) = (bucket.record.data_shards, bucket.record.parity_shards);
    let redundancy = Redundancy::erasure_coded(data as usize, parity as usize).ok()?;
    Some(redundancy.for_chunk(chunk.length as usize))
}

/// The buckets that are marked.
pub(crate) fn marks(view: &dyn View) -> Result<RecodeMarks, ViewError> {
    let mut marks = Vec::new();
    scan_prefix(view, Family::System, PREFIX, &[], &mut |_, value| {
        marks.push(open_record(Family::System, value)?);
        Ok(true)
    })?;
    Ok(RecodeMarks { marks })
}

/// Takes a bucket's mark away, unless it was marked again since.
pub(crate) fn bucket_recoded(tx: &mut Tx<'_>, done: RecodeMark) -> Result<ChunkOutcome, ApplyError> {
    let key = key(BucketId::new(done.bucket));
    let is_same = tx.record::<RecodeMark>(Family::System, &key)? == Some(done);
    if is_same {
        tx.delete(Family::System, key);
    }
    Ok(ChunkOutcome {
        changed: is_same.into(),
        settled: false,
    })
}

/// A page of the chunks of a bucket that are to be coded anew. Of a bucket that is gone there are none.
pub(crate) fn page(view: &dyn View, query: &RecodesQuery) -> Result<RecodesPage, ApplyError> {
    let id = BucketId::new(query.bucket);
    let Some(bucket) = bucket::find_id(view, id)? else {
        return Ok(RecodesPage::default());
    };
    let (first, from) = match query.from.split_first() {
        None => (0, Vec::new()),
        Some((family, from)) => (usize::from(*family), from.to_vec()),
    };
    let limit = (query.limit as usize).clamp(1, limits::LIST_PAGE_MAX);
    let prefix = KeyWriter::new().u64(id.value()).finish();
    let (store, map) = (session::store(view)?, map::checked(view)?);
    let (mut page, mut looked_at) = (RecodesPage::default(), 0);
    for (number, family) in FAMILIES.into_iter().enumerate().skip(first) {
        let from = if number == first { from.as_slice() } else { &[] };
        scan_prefix(view, family, &prefix, from, &mut |key, value| {
            let name = record_name(number, key);
            if looked_at == limit || page.recodes.len() >= RECODES_PER_PAGE {
                page.next_from = name;
                return Ok(false);
            }
            looked_at += 1;
            for id in chunks_of(family, key, value)? {
                let record = chunk::find(view, id)?.ok_or_else(|| missing(Family::Chunk, format!("chunk {id}")))?;
                let is_as_wanted = |chunk: &Chunk| chunk.redundancy() == wanted(&bucket, chunk);
                let Some(redundancy) = (record.chunk.as_ref())
                    .filter(|chunk| !is_as_wanted(chunk))
                    .and_then(|chunk| wanted(&bucket, chunk))
                else {
                    continue;
                };
                page.recodes.push(Recode {
                    record: name.clone(),
                    chunk: Some(repair::info(view, &store, &map, id, record)?),
                    data_shards: redundancy.data_shards() as u32,
                    parity_shards: redundancy.parity_shards() as u32,
                });
            }
            Ok(true)
        })?;
        if !page.next_from.is_empty() {
            break;
        }
    }
    Ok(page)
}

fn record_name(family: usize, key: &[u8]) -> Bytes {
    [&[family as u8], key].concat().into()
}

/// The chunks that a record refers to, each once.
fn chunks_of(family: Family, key: &[u8], value: &[u8]) -> Result<Vec<ChunkId>, ViewError> {
    let extents = match family {
        Family::Inode => open_record::<InodeRecord>(family, value)?.extents,
        Family::Part => open_record::<PartRecord>(family, value)?.extents,
        _ if extent::is_manifest_key(key) => Vec::new(),
        _ => vec![open_record::<ExtentRecord>(family, value)?],
    };
    let mut ids: Vec<ChunkId> = Vec::new();
    for extent in extents.iter().filter(|extent| !extent.chunk_id.is_empty()) {
        let id = ChunkId::from_bytes(&extent.chunk_id).ok_or_else(|| missing(Family::Chunk, "a valid chunk id"))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Lets the extents of some records refer to another chunk. All that are known at the time, in one command: were it several, the new
/// chunk could lose its first references, be deleted and be committed once more by the next.
pub(crate) fn recoded(tx: &mut Tx<'_>, done: &ChunkRecoded) -> Result<ChunkOutcome, ApplyError> {
    let new = done.chunk.as_ref().ok_or_else(|| malformed("no chunk"))?;
    let id = |bytes: &Bytes| ChunkId::from_bytes(bytes).ok_or_else(|| malformed("a chunk id that is not 16 bytes"));
    let (old_id, new_id) = (id(&done.old_chunk_id)?, id(&new.id)?);
    let bucket = bucket::require_id(tx, BucketId::new(done.bucket))?;
    let old = chunk::find(tx, old_id)?.and_then(|record| record.chunk);
    if old.as_ref().is_some_and(|old| old.length != new.length) || old_id == new_id {
        return Err(malformed("a chunk that is not the one whose place it takes"));
    }
    if done.records.len() > limits::LIST_PAGE_MAX {
        return Err(malformed("too many records"));
    }
    let mut count = 0;
    for record in &done.records {
        count += refer(tx, &bucket, record, &done.old_chunk_id, &new.id)?;
    }
    if count == 0 {
        return Ok(ChunkOutcome::default());
    }
    match chunk::find(tx, new_id)?.filter(|record| record.references > 0) {
        Some(known) => {
            let references = known.references + u64::from(count);
            chunk::put(
                tx,
                new_id,
                Some(&known),
                &ChunkRecord {
                    references,
                    ..known.clone()
                },
            )?;
        }
        None => chunk::commit(tx, &bucket, SessionId::new(done.session), new, count.into())?,
    }
    let ids = vec![done.old_chunk_id.clone(); count as usize];
    release::queue(tx, bucket.id, Release::Chunks(Chunks { ids }))?;
    Ok(ChunkOutcome {
        changed: count,
        settled: false,
    })
}

/// Lets the extents of a record that refer to the chunk `old` refer to `new`; how many did.
fn refer(tx: &mut Tx<'_>, bucket: &Bucket, name: &Bytes, old: &Bytes, new: &Bytes) -> Result<u32, ApplyError> {
    let family = name.first().and_then(|family| FAMILIES.get(usize::from(*family)));
    let key = name.get(1..).unwrap_or_default().to_vec();
    let prefix = KeyWriter::new().u64(bucket.id.value()).finish();
    let family = family.filter(|_| key.starts_with(&prefix));
    let family = *family.ok_or_else(|| malformed("a record that holds no extents of the bucket"))?;
    let mut count = 0;
    let mut change = |extent: &mut ExtentRecord| {
        if extent.chunk_id == *old {
            extent.chunk_id = new.clone();
            count += 1;
        }
    };
    match family {
        Family::Inode => {
            if let Some(mut record) = read_record::<InodeRecord>(tx, family, &key)? {
                record.extents.iter_mut().for_each(&mut change);
                tx.put(family, key, &record);
            }
        }
        Family::Part => {
            if let Some(mut record) = read_record::<PartRecord>(tx, family, &key)? {
                record.extents.iter_mut().for_each(&mut change);
                tx.put(family, key, &record);
            }
        }
        _ if extent::is_manifest_key(&key) => {}
        _ => {
            if let Some(mut record) = read_record::<ExtentRecord>(tx, family, &key)? {
                change(&mut record);
                tx.put(family, key, &record);
            }
        }
    }
    Ok(count)
}
