//! Chunk records: committed, referred to, found.
//!
//! Invariant: a chunk is committed at most once, only while its session can still commit it, and with k+1 shards confirmed
//! at least. A record says where every shard lies: on its explicit devices, or else on the row that was in force at its
//! epoch. Each change of a record moves its entry in the repair queue.

use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId, PlacementGroup, SessionId},
    limits,
    redundancy::Redundancy,
    wire::{
        command::ErrorCode,
        object::{Body, Chunk},
    },
};

use super::{
    bucket::Bucket,
    former_rows, loss, map, recode, repair, session,
    tx::{ApplyError, Tx, missing, read_record, refuse},
    view::{Family, View, ViewError},
};
use crate::record::{
    chunk::{self, ChunkRecord},
    extent::ExtentRecord,
    session::{self as session_record, SessionRecord},
    system::{MapHead, StoreRecord},
};

/// Checks a body and enters its chunks, each with one reference. Gives the extents, offsets as in the body.
pub(crate) fn commit_body(
    tx: &mut Tx<'_>,
    bucket: &Bucket,
    session: SessionId,
    body: &Body,
) -> Result<Vec<ExtentRecord>, ApplyError> {
    check_shape(body)?;
    if body.extents.is_empty() {
        return Ok(Vec::new());
    }
    let mut committer = Committer::of(tx, session)?;
    let mut records = Vec::with_capacity(body.extents.len());
    for extent in &body.extents {
        let chunk = extent
            .chunk
            .as_ref()
            .ok_or_else(|| malformed("an extent without a chunk"))?;
        if u64::from(extent.chunk_offset).saturating_add(extent.length) > u64::from(chunk.length) {
            return Err(malformed("an extent that its chunk does not hold"));
        }
        committer.enter(tx, bucket, chunk, 1)?;
        recode::mark_for(tx, bucket, chunk);
        records.push(ExtentRecord {
            file_offset: extent.file_offset,
            length: extent.length,
            chunk_offset: extent.chunk_offset,
            chunk_id: chunk.id.clone(),
            ..ExtentRecord::default()
        });
    }
    committer.save(tx);
    Ok(records)
}

/// Checks one chunk and enters it with so many references.
pub(crate) fn commit(
    tx: &mut Tx<'_>,
    bucket: &Bucket,
    session: SessionId,
    chunk: &Chunk,
    references: u64,
) -> Result<(), ApplyError> {
    let mut committer = Committer::of(tx, session)?;
    committer.enter(tx, bucket, chunk, references)?;
    committer.save(tx);
    Ok(())
}

/// A session that commits chunks.
struct Committer {
    session: SessionId,
    record: SessionRecord,
    map: MapHead,
}

impl Committer {
    fn of(view: &dyn View, session: SessionId) -> Result<Self, ApplyError> {
        Ok(Self {
            session,
            record: session::require(view, session)?,
            map: session::store(view)?.map.unwrap_or_default(),
        })
    }

    fn enter(&mut self, tx: &mut Tx<'_>, bucket: &Bucket, chunk: &Chunk, references: u64) -> Result<(), ApplyError> {
        let id = check_chunk(chunk)?;
        let Self {
            session,
            record: committer,
            map,
        } = self;
        if id.session != *session || id.counter < committer.settled_below {
            let detail = format!("chunk {id} can no longer be committed by session {session}: send the data again");
            return Err(refuse(ErrorCode::SessionEnded, detail));
        }
        // Counters come mostly in ascending order, so that there is mostly no record to look for.
        let may_be_known = id.counter <= committer.newest_chunk;
        if may_be_known && tx.get(Family::Chunk, &chunk::key(id))?.is_some() {
            return Err(malformed("a chunk that is committed already"));
        }
        committer.newest_chunk = committer.newest_chunk.max(id.counter);
        check_shards(bucket, chunk)?;
        let mut record = placed(tx, map, id, chunk)?;
        record.references = references;
        note_lost(tx, bucket, map, id, chunk.epoch, &mut record)?;
        put(tx, id, None, &record)?;
        Ok(())
    }

    fn save(self, tx: &mut Tx<'_>) {
        tx.put(Family::Session, session_record::key(self.session), &self.record);
    }
}

/// A body is inline, or extents that follow each other without a hole.
fn check_shape(body: &Body) -> Result<(), ApplyError> {
    if body.extents.is_empty() {
        let fits = body.inline.len() <= limits::INLINE_SIZE_BYTES && body.inline.len() as u64 == body.size;
        return if fits {
            Ok(())
        } else {
            Err(malformed("an inline body of another size"))
        };
    }
    if !body.inline.is_empty() || body.extents.len() > limits::COMMAND_EXTENTS_MAX {
        return Err(malformed("a body both inline and in extents, or of too many extents"));
    }
    let mut offset = 0_u64;
    for extent in &body.extents {
        if extent.file_offset != offset || extent.length == 0 {
            return Err(malformed("extents that do not follow each other"));
        }
        offset = offset.saturating_add(extent.length);
    }
    if offset == body.size {
        Ok(())
    } else {
        Err(malformed("extents of another size than the body"))
    }
}

fn check_chunk(chunk: &Chunk) -> Result<ChunkId, ApplyError> {
    let id = chunk
        .chunk_id()
        .ok_or_else(|| malformed("a chunk id that is not 16 bytes"))?;
    let redundancy = chunk.redundancy().ok_or_else(|| malformed("a scheme out of range"))?;
    let hashed = chunk.chunk_hash().is_some();
    let sized = (1..=limits::CHUNK_SIZE_BYTES).contains(&(chunk.length as usize));
    let explicit = chunk.explicit_devices.is_empty() || chunk.explicit_devices.len() == redundancy.width();
    if hashed && sized && explicit {
        Ok(id)
    } else {
        Err(malformed("a chunk that breaks a rule"))
    }
}

/// All shards are confirmed, but for as many as the bucket's setting lets be made later.
fn check_shards(bucket: &Bucket, chunk: &Chunk) -> Result<(), ApplyError> {
    if chunk.missing == 0 {
        return Ok(());
    }
    let redundancy = scheme(chunk)?;
    let width = redundancy.width();
    if width < u32::BITS as usize && chunk.missing >> width != 0 {
        return Err(malformed("a missing shard that the chunk does not have"));
    }
    let confirmed = width - chunk.missing.count_ones() as usize;
    let least = (redundancy.data_shards() + 1).min(width);
    let allowed = bucket.settings().missing_shards_max as usize;
    if confirmed < least.max(width.saturating_sub(allowed)) {
        let detail = format!("only {confirmed} of {width} shards are stored, fewer than the bucket asks for");
        return Err(refuse(ErrorCode::LimitExceeded, detail));
    }
    Ok(())
}

/// Notes the shards of a new chunk that its devices lost between its writing, under the map of `epoch`, and now.
fn note_lost(
    view: &dyn View,
    bucket: &Bucket,
    map: &MapHead,
    id: ChunkId,
    epoch: u64,
    record: &mut ChunkRecord,
) -> Result<(), ApplyError> {
    let lost = loss::lost_shards(view, map, id, record, epoch)?;
    let Some(chunk) = record.chunk.as_mut().filter(|chunk| lost & !chunk.missing != 0) else {
        return Ok(());
    };
    chunk.missing |= lost;
    check_shards(bucket, chunk).map_err(|_| {
        let detail = format!("a device has lost what it held of chunk {id}: fetch the map and send the data again");
        refuse(ErrorCode::EpochMismatch, detail)
    })
}

/// The record of a new chunk: it says where the shards lie also where the row has changed since they were written.
fn placed(view: &dyn View, map: &MapHead, id: ChunkId, chunk: &Chunk) -> Result<ChunkRecord, ApplyError> {
    let mut record = ChunkRecord {
        chunk: Some(chunk.clone()),
        references: 1,
        displaced: false,
    };
    let width = scheme(chunk)?.width() as u32;
    if chunk.epoch > map.epoch || !map.widths.contains(&width) {
        let detail = format!("no rows of {width} devices were in force at epoch {}", chunk.epoch);
        return Err(refuse(ErrorCode::EpochMismatch, detail));
    }
    if chunk.epoch < map.first_epoch {
        let detail = format!(
            "chunk {id} was written under a map from before the metadata was restored: fetch the map and send the data again"
        );
        return Err(refuse(ErrorCode::EpochMismatch, detail));
    }
    if !chunk.explicit_devices.is_empty() {
        let devices = map::checked(view)?.devices;
        let known = chunk
            .explicit_devices
            .iter()
            .all(|id| devices.contains_key(&DeviceId::new(*id)));
        let mut sorted = chunk.explicit_devices.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if !known || sorted.len() != chunk.explicit_devices.len() {
            return Err(refuse(
                ErrorCode::EpochMismatch,
                "a shard lies on a device that the map does not hold, or two lie on one: send the data again",
            ));
        }
        return Ok(record);
    }
    match former_rows::of_chunk(view, map, id, chunk)? {
        None => {}
        Some(row) if row.devices.is_empty() => {
            let detail = format!("chunk {id} was written under a map too old: fetch the map and send the data again");
            return Err(refuse(ErrorCode::EpochMismatch, detail));
        }
        Some(row) => {
            let map = map::checked(view)?;
            let is_known = |id: &u32| map.devices.contains_key(&DeviceId::new(*id));
            if row.settled && !row.devices.iter().all(is_known) {
                let detail = format!("a device that chunk {id} was written to is no more: send the data again");
                return Err(refuse(ErrorCode::EpochMismatch, detail));
            }
            displace(&mut record, row.devices, &map, id)?;
        }
    }
    Ok(record)
}

/// Notes that the shards lie on `devices`, whatever the row in force says; unless it says the same.
pub(crate) fn displace(
    record: &mut ChunkRecord,
    devices: Vec<u32>,
    map: &ClusterMap,
    id: ChunkId,
) -> Result<(), ViewError> {
    let row = present_row(map, id, record)?;
    let chunk = record
        .chunk
        .as_mut()
        .ok_or_else(|| missing(Family::Chunk, format!("the content of chunk {id}")))?;
    if row.iter().map(|device| device.value()).eq(devices.iter().copied()) {
        chunk.explicit_devices = Vec::new();
        chunk.epoch = map.epoch.value();
        record.displaced = false;
    } else {
        // What the writer chose by itself stays its own choice.
        record.displaced |= chunk.explicit_devices.is_empty();
        chunk.explicit_devices = devices;
    }
    Ok(())
}

pub(crate) fn group_of(id: ChunkId, group_bits: u32) -> PlacementGroup {
    id.placement_hash().group(u8::try_from(group_bits).unwrap_or(u8::MAX))
}

fn scheme(chunk: &Chunk) -> Result<Redundancy, ApplyError> {
    chunk.redundancy().ok_or_else(|| malformed("a scheme out of range"))
}

/// The record of a chunk, where there is one.
pub(crate) fn find(view: &dyn View, id: ChunkId) -> Result<Option<ChunkRecord>, ViewError> {
    read_record(view, Family::Chunk, &chunk::key(id))
}

/// Stores a chunk's record in place of the one `before` and moves it in the repair queue.
pub(crate) fn put(
    tx: &mut Tx<'_>,
    id: ChunkId,
    before: Option<&ChunkRecord>,
    record: &ChunkRecord,
) -> Result<(), ViewError> {
    tx.put(Family::Chunk, chunk::key(id), record);
    repair::requeue(tx, id, before, Some(record))
}

/// Adds a reference to a chunk that something refers to already.
pub(crate) fn share(tx: &mut Tx<'_>, id: ChunkId) -> Result<(), ViewError> {
    let before = find(tx, id)?.filter(|record| record.references > 0);
    let before = before.ok_or_else(|| missing(Family::Chunk, format!("chunk {id}")))?;
    let record = ChunkRecord {
        references: before.references + 1,
        ..before
    };
    tx.put(Family::Chunk, chunk::key(id), &record);
    Ok(())
}

/// The chunk as readers get it: with the devices that hold its shards, where they are not those of the row in force.
pub(crate) fn as_read(view: &dyn View, id: ChunkId, record: ChunkRecord) -> Result<Option<Chunk>, ViewError> {
    let map = session::store(view)?.map.unwrap_or_default();
    let Some(mut chunk) = record.chunk else { return Ok(None) };
    if chunk.explicit_devices.is_empty()
        && let Some(row) = former_rows::of_chunk(view, &map, id, &chunk)?
    {
        chunk.explicit_devices = row.devices;
    }
    Ok(Some(chunk))
}

/// The devices that hold a chunk's shards, in order.
pub(crate) fn location(
    view: &dyn View,
    store: &StoreRecord,
    map: &ClusterMap,
    id: ChunkId,
    record: &ChunkRecord,
) -> Result<Vec<DeviceId>, ViewError> {
    let chunk = record
        .chunk
        .as_ref()
        .ok_or_else(|| missing(Family::Chunk, format!("the content of chunk {id}")))?;
    if let Some(explicit) = chunk.explicit_row() {
        return Ok(explicit);
    }
    let head = store.map.clone().unwrap_or_default();
    let former = former_rows::of_chunk(view, &head, id, chunk)?.filter(|row| !row.devices.is_empty());
    match former {
        Some(row) => Ok(row.devices.into_iter().map(DeviceId::new).collect()),
        None => present_row(map, id, record),
    }
}

/// The devices that the map in force wants a chunk's shards on, in order.
pub(crate) fn present_row(map: &ClusterMap, id: ChunkId, record: &ChunkRecord) -> Result<Vec<DeviceId>, ViewError> {
    let redundancy = record.chunk.as_ref().and_then(Chunk::redundancy);
    let row = redundancy.and_then(|redundancy| map.row(redundancy.width(), id.placement_hash().group(map.group_bits)));
    row.map(<[DeviceId]>::to_vec)
        .ok_or_else(|| missing(Family::System, format!("the row of chunk {id}")))
}

/// Every (device, shard index) that may hold one of a chunk's shards: where it lies, and where a repair may have put it.
/// Devices that have left the map hold nothing that is ever looked at.
pub(crate) fn holders(
    view: &dyn View,
    store: &StoreRecord,
    map: &ClusterMap,
    id: ChunkId,
    record: &ChunkRecord,
) -> Result<Vec<(DeviceId, u32)>, ViewError> {
    let mut shards: Vec<(DeviceId, u32)> = location(view, store, map, id, record)?.into_iter().zip(0..).collect();
    for shard in present_row(map, id, record)?.into_iter().zip(0..) {
        if !shards.contains(&shard) {
            shards.push(shard);
        }
    }
    shards.retain(|(device, _)| map.devices.contains_key(device));
    Ok(shards)
}

pub(crate) fn malformed(what: &str) -> ApplyError {
    refuse(ErrorCode::Malformed, format!("the message holds {what}"))
}
