//! What the state says about the shards that a device has, and about those that it should have.
//!
//! Invariant: a shard is called an orphan or a stray only where no record needs it where it is. That a shard should be there is
//! said only of records whose chunks were committed, and so were durable there before.

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId, PlacementGroup},
    limits,
    wire::{
        inventory::{ExpectedPage, ExpectedQuery, JudgeQuery, ShardVerdict, Verdicts},
        shard::ShardName,
    },
};

use super::{
    chunk::{self, malformed},
    loss, map,
    permit::{self, DeletionPermit},
    session,
    tx::{ApplyError, missing, open_record, read_record, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    chunk::{self as chunk_record, ChunkRecord},
    session as session_record,
    system::StoreRecord,
};

/// A chunk and which of its shards.
pub type ShardId = (ChunkId, u32);

/// What is to become of a shard that a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is needed there, or may yet be, or deletion is held.
    Kept,
    /// No record refers to its chunk and nobody can commit it any more. True for ever.
    Orphan,
    /// Its chunk lies elsewhere. True until the map changes.
    Stray {
        /// The map by which it does.
        epoch: u64,
        /// Where the shard lies.
        home: DeviceId,
    },
}

/// Shards that a device should have, in the order of its inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The shards.
    pub shards: Vec<ShardId>,
    /// Behind which chunk to go on; none where the range ends.
    pub next_after: Option<ChunkId>,
}

/// What is to become of each of the `shards` on `device`.
pub fn judge(view: &dyn View, device: DeviceId, shards: &[ShardId]) -> Result<Vec<Verdict>, ViewError> {
    let Some(DeletionPermit { .. }) = permit::deletion(view)? else {
        return Ok(vec![Verdict::Kept; shards.len()]);
    };
    let (store, map) = (session::store(view)?, map::checked(view)?);
    shards
        .iter()
        .map(|shard| verdict(view, &store, &map, device, *shard))
        .collect()
}

fn verdict(
    view: &dyn View,
    store: &StoreRecord,
    map: &ClusterMap,
    device: DeviceId,
    (id, index): ShardId,
) -> Result<Verdict, ViewError> {
    let Some(record) = chunk::find(view, id)? else {
        let is_orphan = can_never_be_committed(view, store, id)?;
        return Ok(if is_orphan { Verdict::Orphan } else { Verdict::Kept });
    };
    // What is garbage is deleted by its own worker, which forgets the chunk when all shards are gone.
    if record.references == 0 {
        return Ok(Verdict::Kept);
    }
    let is_needed = chunk::holders(view, store, map, id, &record)?.contains(&(device, index));
    let location = chunk::location(view, store, map, id, &record)?;
    let is_whole = record
        .chunk
        .as_ref()
        .is_some_and(|chunk| chunk.missing & 1 << index == 0);
    Ok(match location.get(index as usize) {
        Some(home) if is_whole && !is_needed => Verdict::Stray {
            epoch: map.epoch.value(),
            home: *home,
        },
        _ => Verdict::Kept,
    })
}

/// Whether no session can commit the chunk any more, which has no record.
fn can_never_be_committed(view: &dyn View, store: &StoreRecord, id: ChunkId) -> Result<bool, ViewError> {
    let session = read_record(view, Family::Session, &session_record::key(id.session))?;
    match session {
        Some(session_record::SessionRecord { settled_below, .. }) => Ok(id.counter < settled_below),
        None => Ok(session::was_opened(store, id.session)),
    }
}

/// The shards that `device` should have of chunks behind `after`, up to and with chunk `through`: those of groups whose row it
/// stands in. What lies on it for other reasons waits for its repair anyway; only where the device has lost everything, that
/// is looked for too, for it is more urgent then. Looks at `limit` records at most.
pub fn expected(
    view: &dyn View,
    device: DeviceId,
    after: Option<ChunkId>,
    through: Option<ChunkId>,
    limit: usize,
) -> Result<Expected, ViewError> {
    let (store, map) = (session::store(view)?, map::checked(view)?);
    let group_of = |id: ChunkId| id.placement_hash().group(map.group_bits).index();
    let first = after.map_or(0, group_of);
    let last = through.map_or((1 << map.group_bits) - 1, group_of);
    let has_lost_all = loss::is_unsurveyed(view, device)?;
    let (mut expected, mut looked_at) = (Expected::default(), 0);
    for group in first..=last {
        if !has_lost_all && !stands_in(&map, device, group) {
            continue;
        }
        let group = PlacementGroup::new(group as u32);
        let from = start_behind(&map, group, after.filter(|_| group.index() == first));
        scan_prefix(view, Family::Chunk, &[], &from, &mut |key, value| {
            let id = chunk_record::id_of(key).ok_or_else(|| missing(Family::Chunk, "a chunk id in a key"))?;
            let is_past = through.is_some_and(|through| key > chunk_record::key(through).as_slice());
            if is_past || group_of(id) != group.index() {
                return Ok(false);
            }
            let record: ChunkRecord = open_record(Family::Chunk, value)?;
            if record.references > 0 {
                let lies = chunk::location(view, &store, &map, id, &record)?.into_iter().zip(0..);
                let is_noted = |index: u32| {
                    record
                        .chunk
                        .as_ref()
                        .is_some_and(|chunk| chunk.missing & 1 << index != 0)
                };
                let here = lies.filter(|(holder, index)| *holder == device && !is_noted(*index));
                expected.shards.extend(here.map(|(_, index)| (id, index)));
            }
            looked_at += 1;
            expected.next_after = (looked_at >= limit).then_some(id);
            Ok(expected.next_after.is_none())
        })?;
        if expected.next_after.is_some() {
            break;
        }
    }
    Ok(expected)
}

/// Answers a tool's question.
pub(crate) fn verdicts(view: &dyn View, query: &JudgeQuery) -> Result<Verdicts, ApplyError> {
    if query.shards.len() > limits::INVENTORY_PAGE_MAX {
        return Err(malformed("too many shards"));
    }
    let named = |shard: &ShardName| Ok((chunk_id(&shard.chunk_id)?, shard.shard_index));
    let shards: Vec<ShardId> = query.shards.iter().map(named).collect::<Result<_, ApplyError>>()?;
    let number = |verdict: &Verdict| match verdict {
        Verdict::Kept => ShardVerdict::Kept,
        Verdict::Orphan => ShardVerdict::Orphan,
        Verdict::Stray { .. } => ShardVerdict::Stray,
    };
    let judged = judge(view, DeviceId::new(query.device), &shards)?;
    Ok(Verdicts {
        verdicts: judged.iter().map(|verdict| number(verdict).into()).collect(),
    })
}

/// Answers a tool's question.
pub(crate) fn expected_page(view: &dyn View, query: &ExpectedQuery) -> Result<ExpectedPage, ApplyError> {
    let bound = |bytes: &Bytes| (!bytes.is_empty()).then(|| chunk_id(bytes)).transpose();
    let (after, through) = (bound(&query.after)?, bound(&query.through)?);
    let limit = (query.limit as usize).clamp(1, limits::REPAIR_BATCH_MAX);
    let found = expected(view, DeviceId::new(query.device), after, through, limit)?;
    let bytes = |id: ChunkId| Bytes::copy_from_slice(&id.to_bytes());
    let name = |(id, shard_index): &ShardId| ShardName {
        chunk_id: bytes(*id),
        shard_index: *shard_index,
        damaged: false,
    };
    Ok(ExpectedPage {
        shards: found.shards.iter().map(name).collect(),
        next_after: found.next_after.map(bytes).unwrap_or_default(),
    })
}

fn chunk_id(bytes: &Bytes) -> Result<ChunkId, ApplyError> {
    ChunkId::from_bytes(bytes).ok_or_else(|| malformed("a chunk id that is not 16 bytes"))
}

fn stands_in(map: &ClusterMap, device: DeviceId, group: usize) -> bool {
    let mut rows = map.rows.values().filter_map(|rows| rows.get(group));
    rows.any(|row| row.contains(&device))
}

/// The least key of a group, or that behind a chunk of it.
fn start_behind(map: &ClusterMap, group: PlacementGroup, after: Option<ChunkId>) -> Vec<u8> {
    match after {
        Some(id) => {
            let mut key = chunk_record::key(id);
            key.push(0);
            key
        }
        None => chunk_record::group_start(group, map.group_bits.into()),
    }
}
