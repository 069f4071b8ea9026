//! Where the shards of chunks lie, and which are missing.
//!
//! A shard lies where it was written or repaired to; a new map moves nothing.

use std::{cmp::Ordering, collections::BTreeMap};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::ChunkId,
    limits,
    wire::{
        chunk::{ChunkChange, ChunkCommand, ChunkOutcome, MoveStep, ShardPlace},
        command::{ErrorCode, InstallMap, Outcome},
        map::MapMessage,
        object::Chunk,
    },
};

use super::{Verdict, World, done, no};

/// Where a chunk's shards lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) devices: Vec<u32>,
    pub(crate) missing: u32,
}

/// Every map that was in force, and what of the old rows counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    maps: BTreeMap<u64, MapMessage>,
    /// For (width, group): last epochs of rows that chunks may still lie on.
    former: BTreeMap<(u32, u32), Vec<u64>>,
    /// For (width, group): last epochs of rows that no chunk lies on but late ones, the oldest first.
    settled: BTreeMap<(u32, u32), Vec<u64>>,
    /// For (width, group): nothing that was written up to this epoch may be committed any more.
    forgotten: BTreeMap<(u32, u32), u64>,
    /// For a device: the map that first knew its present life.
    reborn: BTreeMap<u32, u64>,
}

/// Width and placement group of a chunk.
fn group_of(map: &MapMessage, chunk: &Chunk) -> Option<(u32, u32)> {
    let width = chunk.data_shards + chunk.parity_shards;
    let bits = u8::try_from(map.group_bits).ok()?;
    Some((width, chunk.chunk_id()?.placement_hash().group(bits).index() as u32))
}

/// The devices of a row.
fn row(map: &MapMessage, (width, group): (u32, u32)) -> Option<Vec<u32>> {
    let slots = &map.widths.iter().find(|rows| rows.width == width)?.slots;
    Some(slots.chunks(width as usize).nth(group as usize)?.to_vec())
}

impl World {
    pub(crate) fn install_map(&mut self, install: &InstallMap) -> Verdict {
        let Some(map) = &install.map else {
            return no(ErrorCode::Malformed);
        };
        let mut codes = Vec::new();
        if ClusterMap::try_from(map.clone()).is_err() {
            codes.push(ErrorCode::Malformed);
        }
        if map.epoch != self.map.epoch + 1 {
            codes.push(ErrorCode::EpochMismatch);
        }
        let mut changed = Vec::new();
        for width in self.map.widths.iter().map(|rows| rows.width) {
            for group in 0..1 << self.map.group_bits {
                let place = (width, group);
                if row(&self.map, place) != row(map, place) {
                    changed.push(place);
                }
            }
        }
        let formers = |place: &(u32, u32)| self.rows.former.get(place).map_or(0, Vec::len);
        if changed.iter().any(|place| formers(place) >= limits::FORMER_ROWS_MAX) {
            codes.push(ErrorCode::LimitExceeded);
        }
        let mut reborn = Vec::new();
        for known in &self.map.devices {
            let device = map.devices.iter().find(|device| device.id == known.id);
            match device.map(|device| device.incarnation.cmp(&known.incarnation)) {
                Some(Ordering::Less) => codes.push(ErrorCode::Malformed),
                Some(Ordering::Greater) => reborn.push(known.id),
                Some(Ordering::Equal) | None => {}
            }
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        for device in reborn {
            self.rows.reborn.insert(device, map.epoch);
        }
        for place in changed {
            self.rows.former.entry(place).or_default().push(self.map.epoch);
        }
        self.map = map.clone();
        self.rows.maps.insert(map.epoch, map.clone());
        done()
    }

    /// What is wrong with where a chunk says that it was written.
    pub(crate) fn place_codes(&self, chunk: &Chunk) -> Vec<ErrorCode> {
        let known = |device: &u32| self.map.devices.iter().any(|other| other.id == *device);
        let mut devices = chunk.explicit_devices.clone();
        devices.sort_unstable();
        devices.dedup();
        let apart = devices.len() == chunk.explicit_devices.len() && devices.iter().all(known);
        let group = group_of(&self.map, chunk);
        let has_row = group.and_then(|group| row(&self.map, group)).is_some();
        let forgotten = group
            .and_then(|group| self.rows.forgotten.get(&group))
            .copied()
            .unwrap_or_default();
        let too_old = chunk.explicit_devices.is_empty() && chunk.epoch <= forgotten;
        if chunk.epoch > self.map.epoch || !has_row || !apart || too_old {
            vec![ErrorCode::EpochMismatch]
        } else {
            Vec::new()
        }
    }

    /// Notes where the shards of a chunk lie that is committed.
    pub(crate) fn place(&mut self, chunk: &Chunk) {
        let devices = self.written_to(chunk);
        let missing = chunk.missing | self.lost_shards(chunk);
        self.places.insert(chunk.id.clone(), Place { devices, missing });
    }

    /// Shards of a chunk that is to be committed whose devices have begun a new life since it was written.
    pub(crate) fn lost_shards(&self, chunk: &Chunk) -> u32 {
        let is_lost = |device: &u32| self.rows.reborn.get(device).is_some_and(|epoch| *epoch > chunk.epoch);
        let devices = self.written_to(chunk);
        let lost = devices.iter().zip(0..).filter(|(device, _)| is_lost(device));
        lost.fold(0, |bits, (_, index)| bits | 1 << index)
    }

    /// The devices that a chunk that is to be committed was written to.
    fn written_to(&self, chunk: &Chunk) -> Vec<u32> {
        // An epoch before the first map is that of the first: its rows were never others.
        let map = self
            .rows
            .maps
            .range(chunk.epoch..)
            .next()
            .map_or(&self.map, |(_, map)| map);
        if !chunk.explicit_devices.is_empty() {
            return chunk.explicit_devices.clone();
        }
        group_of(map, chunk)
            .and_then(|group| row(map, group))
            .unwrap_or_default()
    }

    /// The devices that the map wants a chunk's shards on.
    pub(crate) fn wanted_row(&self, chunk: &Chunk) -> Vec<u32> {
        group_of(&self.map, chunk)
            .and_then(|group| row(&self.map, group))
            .unwrap_or_default()
    }

    pub(crate) fn chunk(&mut self, command: &ChunkCommand) -> Verdict {
        match &command.change {
            Some(ChunkChange::Report(report)) => self.each_shard(&report.shards, |place, index, device| {
                if place.devices[index] == device {
                    place.missing |= 1 << index;
                }
            }),
            Some(ChunkChange::Repaired(repair)) => {
                if repair.epoch != self.map.epoch {
                    return no(ErrorCode::EpochMismatch);
                }
                let live = |shard: &&ShardPlace| self.is_live(&shard.chunk_id);
                if !repair.shards.iter().filter(live).all(|shard| self.belongs(shard)) {
                    return no(ErrorCode::Malformed);
                }
                self.each_shard(&repair.shards, |place, index, device| {
                    place.devices[index] = device;
                    place.missing &= !(1 << index);
                })
            }
            Some(ChunkChange::MoveStep(step)) => self.move_step(step),
            // Where nothing refers to a chunk, and nothing is marked, these change nothing.
            Some(ChunkChange::Surveyed(_) | ChunkChange::Recoded(_) | ChunkChange::BucketRecoded(_)) => {
                Ok(Outcome::Chunk(ChunkOutcome::default()))
            }
            None => no(ErrorCode::Malformed),
        }
    }

    /// Whether the shard may lie there: it does already, or the map wants it to.
    fn belongs(&self, shard: &ShardPlace) -> bool {
        let lies = self.places.get(&shard.chunk_id).map(|place| place.devices.clone());
        let rows = [lies, self.row_of(&shard.chunk_id)];
        let is_on = |row: &Vec<u32>| row.get(shard.shard_index as usize) == Some(&shard.device);
        rows.iter().flatten().any(is_on)
    }

    /// The devices that the map wants the shards of a chunk on that is known.
    pub(crate) fn row_of(&self, chunk_id: &Bytes) -> Option<Vec<u32>> {
        let (place, id) = (self.places.get(chunk_id)?, ChunkId::from_bytes(chunk_id)?);
        let group = id.placement_hash().group(u8::try_from(self.map.group_bits).ok()?);
        row(&self.map, (place.devices.len() as u32, group.index() as u32))
    }

    fn is_live(&self, id: &Bytes) -> bool {
        self.places.contains_key(id) && !self.lost.contains_key(id)
    }

    /// Changes the places of shards; those of garbage are passed over.
    fn each_shard(&mut self, shards: &[ShardPlace], change: impl Fn(&mut Place, usize, u32)) -> Verdict {
        let mut places = self.places.clone();
        for shard in shards {
            if shard.chunk_id.len() != 16 {
                return no(ErrorCode::Malformed);
            }
            if !self.is_live(&shard.chunk_id) {
                continue;
            }
            let place = places.get_mut(&shard.chunk_id).expect("live chunks have places");
            if shard.shard_index as usize >= place.devices.len() {
                return no(ErrorCode::Malformed);
            }
            change(place, shard.shard_index as usize, shard.device);
        }
        self.places = places;
        Ok(Outcome::Chunk(ChunkOutcome::default()))
    }

    /// The generator's steps are so large that each settles one former row.
    fn move_step(&mut self, step: &MoveStep) -> Verdict {
        let place = (step.width, step.group);
        let former = self.rows.former.entry(place).or_default();
        if !former.is_empty() {
            let kept = if self.feature_level < 3 {
                0
            } else {
                limits::SETTLED_ROWS_KEPT
            };
            let rows = self.rows.settled.entry(place).or_default();
            rows.push(former.remove(0));
            if let Some(forgotten) = rows.drain(..rows.len().saturating_sub(kept)).next_back() {
                self.rows.forgotten.insert(place, forgotten);
            }
        }
        let settled = former.is_empty();
        Ok(Outcome::Chunk(ChunkOutcome { changed: 0, settled }))
    }
}
