//! Chunks that are not as they should be: the repair queue, what puts chunks into it, and what takes them out.
//!
//! Invariant: a chunk that something refers to is queued, under the priority of its record, exactly while a shard of it is
//! missing or lies elsewhere than on the row in force.

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId, PlacementGroup},
    limits,
    wire::{
        chunk::{
            ChunkAnswer, ChunkChange, ChunkCommand, ChunkInfo, ChunkOutcome, ChunkQuery, ChunkQuestion, ChunkReply,
            GroupMove, MoveStep, MovesPage, PageQuery, Repair, RepairPage, ShardPlace,
        },
        command::{ErrorCode, Outcome},
    },
};

use super::{
    chunk::{self, malformed},
    former_rows, inventory, loss, map, recode, session,
    tx::{ApplyError, Tx, missing, open_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    chunk::{self as chunk_record, ChunkRecord},
    repair,
    row::{self, FormerRow},
    system::StoreRecord,
};

/// Priority of a chunk whose shards only have to move.
const MISPLACED: u8 = 64;
/// Priority of copies that the writer placed by itself.
const PLACED_BY_WRITER: u8 = 128;
/// Priority of a chunk with too few shards left to make the others from: it waits for one to come back.
const BEYOND_REPAIR: u8 = 192;

/// The place of a chunk in the queue; none where all is well, or nothing refers to it.
pub(crate) fn priority(record: &ChunkRecord) -> Option<u8> {
    let chunk = record.chunk.as_ref().filter(|_| record.references > 0)?;
    if chunk.missing != 0 {
        let left = chunk.parity_shards.checked_sub(chunk.missing.count_ones());
        return Some(left.map_or(BEYOND_REPAIR, |left| u8::try_from(left).unwrap_or(MISPLACED - 1)));
    }
    match (record.displaced, chunk.explicit_devices.is_empty()) {
        (_, true) => None,
        (true, false) => Some(MISPLACED),
        (false, false) => Some(PLACED_BY_WRITER),
    }
}

/// Moves a chunk in the queue as its record changes.
pub(crate) fn requeue(
    tx: &mut Tx<'_>,
    id: ChunkId,
    before: Option<&ChunkRecord>,
    after: Option<&ChunkRecord>,
) -> Result<(), ViewError> {
    let (old, new) = (before.and_then(priority), after.and_then(priority));
    if old == new {
        return Ok(());
    }
    if let Some(old) = old {
        tx.delete(Family::Repair, repair::key(old, id));
    }
    if let Some(new) = new {
        tx.put_raw(Family::Repair, repair::key(new, id), Vec::new());
    }
    if old.is_some() != new.is_some() {
        let mut store = session::store(tx)?;
        store.repair_pending = (store.repair_pending + u64::from(new.is_some())).saturating_sub(old.is_some().into());
        session::put_store(tx, &store);
    }
    Ok(())
}

pub(crate) fn apply(tx: &mut Tx<'_>, command: &ChunkCommand) -> Result<Outcome, ApplyError> {
    let outcome = match &command.change {
        Some(ChunkChange::Report(report)) => each(tx, &report.shards, report_shard)?,
        Some(ChunkChange::Repaired(done)) => {
            let present = session::store(tx)?.map.unwrap_or_default().epoch;
            if done.epoch != present {
                let detail = format!("the shards were made for map {}, and {present} is in force", done.epoch);
                return Err(refuse(ErrorCode::EpochMismatch, detail));
            }
            each(tx, &done.shards, repaired_shard)?
        }
        Some(ChunkChange::MoveStep(step)) => move_step(tx, step)?,
        Some(ChunkChange::Surveyed(done)) => loss::surveyed(tx, *done)?,
        Some(ChunkChange::Recoded(done)) => recode::recoded(tx, done)?,
        Some(ChunkChange::BucketRecoded(done)) => recode::bucket_recoded(tx, *done)?,
        None => return Err(malformed("no change")),
    };
    Ok(Outcome::Chunk(outcome))
}

/// What a change of one shard's record needs.
struct Shard<'m> {
    id: ChunkId,
    index: usize,
    device: DeviceId,
    map: &'m ClusterMap,
    before: ChunkRecord,
    location: Vec<DeviceId>,
}

/// Changes the record of each shard; `change` gives the new record, or none where there is nothing to do.
fn each(
    tx: &mut Tx<'_>,
    shards: &[ShardPlace],
    change: fn(&Shard<'_>) -> Result<Option<ChunkRecord>, ApplyError>,
) -> Result<ChunkOutcome, ApplyError> {
    if shards.len() > limits::REPAIR_BATCH_MAX {
        return Err(malformed("too many shards"));
    }
    let (store, map) = (session::store(tx)?, map::checked(tx)?);
    let mut changed = 0;
    for shard in shards {
        let id = ChunkId::from_bytes(&shard.chunk_id).ok_or_else(|| malformed("a chunk id that is not 16 bytes"))?;
        let Some(before) = chunk::find(tx, id)?.filter(|record| record.references > 0) else {
            continue;
        };
        let shard = Shard {
            id,
            index: shard.shard_index as usize,
            device: DeviceId::new(shard.device),
            map: &map,
            location: chunk::location(tx, &store, &map, id, &before)?,
            before,
        };
        if shard.index >= shard.location.len() {
            return Err(malformed("a shard that the chunk does not have"));
        }
        if let Some(after) = change(&shard)? {
            chunk::put(tx, id, Some(&shard.before), &after)?;
            changed += 1;
        }
    }
    Ok(ChunkOutcome {
        changed,
        settled: false,
    })
}

fn report_shard(shard: &Shard<'_>) -> Result<Option<ChunkRecord>, ApplyError> {
    let mut after = shard.before.clone();
    let Some(chunk) = &mut after.chunk else { return Ok(None) };
    chunk.missing |= 1 << shard.index;
    let news = shard.location[shard.index] == shard.device && after != shard.before;
    Ok(news.then_some(after))
}

fn repaired_shard(shard: &Shard<'_>) -> Result<Option<ChunkRecord>, ApplyError> {
    let wanted = chunk::present_row(shard.map, shard.id, &shard.before)?;
    // A shard anywhere else may be on its way out, as a stray.
    if ![shard.location[shard.index], wanted[shard.index]].contains(&shard.device) {
        return Err(malformed("a shard that was made where it does not belong"));
    }
    let mut after = shard.before.clone();
    let Some(chunk) = &mut after.chunk else { return Ok(None) };
    chunk.missing &= !(1 << shard.index);
    let mut devices: Vec<u32> = shard.location.iter().map(|device| device.value()).collect();
    devices[shard.index] = shard.device.value();
    let stays = shard.location[shard.index] == shard.device && chunk.explicit_devices.is_empty();
    if !stays {
        chunk::displace(&mut after, devices, shard.map, shard.id)?;
    }
    Ok((after != shard.before).then_some(after))
}

/// Looks at the next chunks of a group for the oldest of its former rows.
fn move_step(tx: &mut Tx<'_>, step: &MoveStep) -> Result<ChunkOutcome, ApplyError> {
    let Some((key, mut former)) = former_rows::oldest_unsettled(tx, step.width, step.group)? else {
        return Ok(ChunkOutcome {
            changed: 0,
            settled: true,
        });
    };
    let (_, _, last_epoch) = row::parts_of(&key).ok_or_else(|| missing(Family::System, "a former row's key"))?;
    let map = map::checked(tx)?;
    let steps = (step.steps as usize).clamp(1, limits::MOVE_STEP_MAX);
    let (looked_at, last) = next_chunks(tx, &map, step, &former, steps)?;
    let at_end = looked_at.len() < steps;
    let mut changed = 0;
    for (id, before) in looked_at {
        let stays = before.chunk.as_ref().is_none_or(|chunk| {
            !chunk.explicit_devices.is_empty()
                || chunk.epoch > last_epoch
                || chunk
                    .redundancy()
                    .is_none_or(|redundancy| redundancy.width() as u32 != step.width)
        });
        if stays {
            continue;
        }
        let mut after = before.clone();
        chunk::displace(&mut after, former.devices.clone(), &map, id)?;
        chunk::put(tx, id, Some(&before), &after)?;
        changed += 1;
    }
    if at_end {
        former_rows::settle(tx, step.width, step.group)?;
    } else {
        former.walked_to = Bytes::from(last);
        tx.put(Family::System, key, &former);
    }
    let settled = at_end && former_rows::oldest_unsettled(tx, step.width, step.group)?.is_none();
    Ok(ChunkOutcome { changed, settled })
}

/// Chunks of a group with their records.
type Chunks = Vec<(ChunkId, ChunkRecord)>;

/// The chunks of the group behind those that were looked at, and the key of the last.
fn next_chunks(
    view: &dyn View,
    map: &ClusterMap,
    step: &MoveStep,
    former: &FormerRow,
    limit: usize,
) -> Result<(Chunks, Vec<u8>), ViewError> {
    let group = PlacementGroup::new(step.group);
    let mut from = former.walked_to.to_vec();
    if from.is_empty() {
        from = chunk_record::group_start(group, map.group_bits.into());
    } else {
        from.push(0);
    }
    let (mut chunks, mut last) = (Chunks::new(), Vec::new());
    scan_prefix(view, Family::Chunk, &[], &from, &mut |key, value| {
        let id = chunk_record::id_of(key).ok_or_else(|| missing(Family::Chunk, "a chunk id in a key"))?;
        if id.placement_hash().group(map.group_bits) != group || chunks.len() == limit {
            return Ok(false);
        }
        chunks.push((id, open_record(Family::Chunk, value)?));
        last = key.to_vec();
        Ok(chunks.len() < limit)
    })?;
    Ok((chunks, last))
}

pub(crate) fn answer(view: &dyn View, query: &ChunkQuery) -> Result<ChunkAnswer, ApplyError> {
    let reply = match &query.question {
        Some(ChunkQuestion::Repairs(page)) => ChunkReply::Repairs(repairs(view, page)?),
        Some(ChunkQuestion::Moves(page)) => ChunkReply::Moves(moves(view, page)?),
        Some(ChunkQuestion::Chunk(bytes)) => {
            let id = ChunkId::from_bytes(bytes).ok_or_else(|| malformed("a chunk id that is not 16 bytes"))?;
            let (store, map) = (session::store(view)?, map::checked(view)?);
            let record = chunk::find(view, id)?;
            let record = record.ok_or_else(|| refuse(ErrorCode::NoSuchChunk, format!("there is no chunk {id}")))?;
            ChunkReply::Chunk(info(view, &store, &map, id, record)?)
        }
        Some(ChunkQuestion::Judge(query)) => ChunkReply::Verdicts(inventory::verdicts(view, query)?),
        Some(ChunkQuestion::Expected(query)) => ChunkReply::Expected(inventory::expected_page(view, query)?),
        Some(ChunkQuestion::Marks(_)) => ChunkReply::Marks(recode::marks(view)?),
        Some(ChunkQuestion::Recodes(query)) => ChunkReply::Recodes(recode::page(view, query)?),
        Some(ChunkQuestion::Losses(_)) => ChunkReply::Losses(loss::unsurveyed(view)?),
        None => return Err(malformed("no question")),
    };
    Ok(ChunkAnswer { reply: Some(reply) })
}

fn repairs(view: &dyn View, query: &PageQuery) -> Result<RepairPage, ViewError> {
    let (keys, next_from) = page_keys(view, Family::Repair, &[], query)?;
    let (store, map) = (session::store(view)?, map::checked(view)?);
    let mut page = RepairPage {
        repairs: Vec::with_capacity(keys.len()),
        next_from,
    };
    for (key, _) in keys {
        let (priority, id) = repair::parts_of(&key).ok_or_else(|| missing(Family::Repair, "a chunk id in a key"))?;
        let record = chunk::find(view, id)?.ok_or_else(|| missing(Family::Chunk, format!("queued chunk {id}")))?;
        page.repairs.push(Repair {
            priority: priority.into(),
            chunk: Some(info(view, &store, &map, id, record)?),
        });
    }
    Ok(page)
}

fn moves(view: &dyn View, query: &PageQuery) -> Result<MovesPage, ViewError> {
    let (rows, next_from) = page_keys(view, Family::System, row::PREFIX, query)?;
    let mut page = MovesPage {
        moves: Vec::new(),
        next_from,
    };
    for (key, value) in rows {
        let former: FormerRow = open_record(Family::System, &value)?;
        let parts = row::parts_of(&key).filter(|_| former.is_unsettled());
        page.moves.extend(parts.map(|(width, group, last_epoch)| GroupMove {
            width,
            group,
            last_epoch,
            devices: former.devices,
        }));
    }
    Ok(page)
}

/// Records by key.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// The records of a page and where the next begins.
fn page_keys(view: &dyn View, family: Family, prefix: &[u8], query: &PageQuery) -> Result<(Records, Bytes), ViewError> {
    let limit = (query.limit as usize).min(limits::LIST_PAGE_MAX);
    let (mut records, mut next) = (Records::new(), Bytes::new());
    scan_prefix(view, family, prefix, &query.from, &mut |key, value| {
        if records.len() == limit {
            next = Bytes::copy_from_slice(key);
            return Ok(false);
        }
        records.push((key.to_vec(), value.to_vec()));
        Ok(true)
    })?;
    Ok((records, next))
}

/// A chunk with where its shards are and should be.
pub(crate) fn info(
    view: &dyn View,
    store: &StoreRecord,
    map: &ClusterMap,
    id: ChunkId,
    record: ChunkRecord,
) -> Result<ChunkInfo, ViewError> {
    let row = chunk::present_row(map, id, &record)?;
    let location = chunk::location(view, store, map, id, &record)?;
    let misplaced = location
        .iter()
        .zip(&row)
        .zip(0..)
        .filter(|((lies, wanted), _)| lies != wanted);
    Ok(ChunkInfo {
        references: record.references,
        misplaced: misplaced.fold(0, |bits, (_, index)| bits | 1 << index),
        row: row.iter().map(|device| device.value()).collect(),
        chunk: chunk::as_read(view, id, record)?,
    })
}
