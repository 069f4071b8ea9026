//! A scripted life of a device, and what its clients were told.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use cairn_common::{
    checksum::{Hash, block_hashes, shard_hash},
    ids::{ChunkId, DeviceId, Incarnation, SessionId},
};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

use super::{
    memory_index::{MemoryIndex, Records},
    power::PowerDisk,
};
use crate::{
    core::record::{LARGE_LEN_MIN, RecordBody},
    engine::{Claimed, Engine, Item, Parts, Recovered, Settings, Stage, Work, health::Health},
    metrics::Metrics,
    shard::{ShardDescription, ShardKey},
    store::StoreError,
    superblock::DeviceIdentity,
};

/// Bytes of a segment: two large shards.
pub(super) const SEGMENT_BYTES: u32 = 640 << 10;

/// Room of the disk: some twenty segments.
pub(super) const ROOM_BYTES: u64 = 20 * SEGMENT_BYTES as u64;

pub(super) const SMALL: usize = 3000;
pub(super) const MIDDLING: usize = 70_000;
pub(super) const LARGE: usize = LARGE_LEN_MIN + 5000;

/// One step of a life.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// These shards, of that many bytes each, in one group.
    Put(&'static [u64], usize),
    /// A large shard, written in parts.
    Stream(u64, usize),
    /// A large shard that is there already, in one group with small ones before and behind it.
    Mixed(u64, &'static [u64]),
    /// A large shard of which only a part comes.
    GiveUp(u64),
    /// These shards, in one group.
    Delete(&'static [u64]),
    Flush,
    Compact,
    Scrub,
    Restart,
}

/// A device and what is known of its shards.
pub(super) struct Device {
    pub(super) disk: PowerDisk,
    pub(super) index: MemoryIndex,
    pub(super) engine: Engine,
    /// Shards that were acknowledged, with their lengths.
    pub(super) stored: BTreeMap<u64, usize>,
    /// Shards whose last change was not acknowledged.
    pub(super) unsure: BTreeMap<u64, usize>,
}

/// Compaction without anybody else.
pub(super) struct Alone<'a>(pub(super) &'a Engine);

impl Work for Alone<'_> {
    type Locks = ();

    fn lock(&self, _: &[ShardKey]) {}

    fn commit(&self, items: Vec<Item>, (): ()) -> Vec<Result<(), StoreError>> {
        self.0.commit(items)
    }

    fn handle_progress(&self, _: u64) -> bool {
        true
    }
}

pub(super) fn identity() -> DeviceIdentity {
    DeviceIdentity {
        cluster_id: [7; 16],
        device: DeviceId::new(1),
        incarnation: Incarnation::new(1),
    }
}

pub(super) fn key(counter: u64) -> ShardKey {
    ShardKey {
        chunk: ChunkId {
            session: SessionId::new(3),
            counter,
        },
        index: 1,
    }
}

pub(super) fn content(counter: u64, len: usize) -> Vec<u8> {
    let mut word = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word as u8
        })
        .collect()
}

pub(super) fn description(counter: u64, bytes: &[u8]) -> ShardDescription {
    let blocks = block_hashes(bytes);
    let joined = |hashes: &[Hash]| hashes.iter().flat_map(|hash| *hash.as_bytes()).collect::<Bytes>();
    ShardDescription {
        key: key(counter),
        chunk_len: bytes.len() as u32,
        shard_len: bytes.len() as u32,
        block_hashes: joined(&blocks),
        shard_hashes: joined(&[shard_hash(bytes.len(), &blocks); 3]),
    }
}

/// A shard that is to be written.
fn write(counter: u64, len: usize) -> Item {
    let bytes = content(counter, len);
    Item::Write {
        body: RecordBody::Shard(description(counter, &bytes)),
        payload: vec![Bytes::from(bytes)],
        moved: None,
    }
}

pub(super) fn open(disk: &PowerDisk, index: &MemoryIndex) -> Result<(Engine, Recovered), String> {
    open_with(disk, index, SEGMENT_BYTES)
}

/// The same with segments of that size.
pub(super) fn open_with(
    disk: &PowerDisk,
    index: &MemoryIndex,
    segment_bytes: u32,
) -> Result<(Engine, Recovered), String> {
    let salts = Mutex::new(0_u8);
    let parts = Parts {
        identity: identity(),
        disk: Arc::new(disk.clone()),
        index: Box::new(index.clone()),
        health: Health::new(DeviceId::new(1), "disk".to_owned(), Gauge::default()),
        metrics: Metrics::default().of(DeviceId::new(1)),
        settings: Settings {
            reserve_bytes: 2 * u64::from(segment_bytes),
            segment_bytes: Some(segment_bytes),
            capacity_bytes: None,
        },
        salts: Box::new(move || {
            let mut salts = salts.lock();
            *salts += 1;
            [*salts; 32]
        }),
    };
    Engine::open(parts, &|_, _| {})
}

impl Device {
    pub(super) fn new() -> Self {
        Self::with_segments(SEGMENT_BYTES)
    }

    /// One whose segments are of that size, until it is restarted.
    pub(super) fn with_segments(segment_bytes: u32) -> Self {
        let disk = PowerDisk::new(ROOM_BYTES / u64::from(SEGMENT_BYTES) * u64::from(segment_bytes));
        let index = MemoryIndex::new(Records::default());
        let (engine, _) = open_with(&disk, &index, segment_bytes).expect("an empty disk opens");
        Self {
            disk,
            index,
            engine,
            stored: BTreeMap::new(),
            unsure: BTreeMap::new(),
        }
    }

    /// Takes steps until one fails; `false` where one did.
    pub(super) fn live(&mut self, steps: &[Step]) -> bool {
        steps.iter().all(|step| self.take(*step).is_ok())
    }

    pub(super) fn take(&mut self, step: Step) -> Result<(), StoreError> {
        match step {
            Step::Put(counters, len) => self.put(counters, len),
            Step::Stream(counter, len) => self.stream(counter, len),
            Step::Mixed(large, counters) => self.mixed(large, counters),
            Step::GiveUp(counter) => self.give_up(counter),
            Step::Delete(counters) => self.delete(counters),
            Step::Flush => self.engine.flush_index(),
            Step::Compact => self.engine.compact(&Alone(&self.engine)).map(|_| ()),
            Step::Scrub => self.engine.scrub(1 << 40, 1, |_| true).map(|_| ()),
            Step::Restart => self.restart(),
        }
    }

    fn put(&mut self, counters: &[u64], len: usize) -> Result<(), StoreError> {
        let members = counters.iter().map(|counter| (*counter, len, write(*counter, len)));
        self.commit(members.collect())
    }

    fn mixed(&mut self, large: u64, counters: &[u64]) -> Result<(), StoreError> {
        let written = Item::Written(self.write_large(large, LARGE)?);
        let small = |counter: &u64| (*counter, SMALL, write(*counter, SMALL));
        let mut members: Vec<_> = counters.iter().map(small).collect();
        members.insert(members.len() / 2, (large, LARGE, written));
        self.commit(members)
    }

    /// Commits shards of these lengths in one group.
    fn commit(&mut self, members: Vec<(u64, usize, Item)>) -> Result<(), StoreError> {
        let lens: Vec<(u64, usize)> = members.iter().map(|(counter, len, _)| (*counter, *len)).collect();
        self.unsure.extend(lens.iter().copied());
        let items = members.into_iter().map(|(_, _, item)| item).collect();
        for ((counter, len), outcome) in lens.into_iter().zip(self.engine.commit(items)) {
            outcome?;
            self.unsure.remove(&counter);
            self.stored.insert(counter, len);
        }
        Ok(())
    }

    fn stream(&mut self, counter: u64, len: usize) -> Result<(), StoreError> {
        let written = Item::Written(self.write_large(counter, len)?);
        self.commit(vec![(counter, len, written)])
    }

    /// Writes a large shard in parts.
    fn write_large(&mut self, counter: u64, len: usize) -> Result<Claimed, StoreError> {
        let bytes = content(counter, len);
        let claimed = self
            .engine
            .claim(RecordBody::Shard(description(counter, &bytes)), None)?;
        self.unsure.insert(counter, len);
        let half = 128 << 10;
        let pieces = |part: &[u8]| {
            let mut stage = Stage::default();
            assert!(stage.add(Bytes::copy_from_slice(part)).is_empty());
            stage.take()
        };
        self.engine.write_payload(&claimed, 0, &pieces(&bytes[..half]))?;
        self.engine.write_payload(&claimed, half, &pieces(&bytes[half..]))?;
        self.engine.write_header(&claimed, Vec::new())?;
        Ok(claimed)
    }

    fn give_up(&mut self, counter: u64) -> Result<(), StoreError> {
        let bytes = content(counter, LARGE);
        let claimed = self
            .engine
            .claim(RecordBody::Shard(description(counter, &bytes)), None)?;
        let mut stage = Stage::default();
        stage.add(Bytes::copy_from_slice(&bytes[..8192]));
        let written = self.engine.write_payload(&claimed, 0, &stage.take());
        self.engine.give_up(&claimed);
        written
    }

    fn delete(&mut self, counters: &[u64]) -> Result<(), StoreError> {
        let mut items = Vec::new();
        for counter in counters {
            let location = self
                .engine
                .find(&key(*counter))?
                .expect("the script deletes what is there");
            items.push(Item::Write {
                body: RecordBody::Tombstone {
                    key: key(*counter),
                    target: location.position.segment,
                },
                payload: Vec::new(),
                moved: None,
            });
            let len = self.stored.remove(counter).expect("the script deletes what is there");
            self.unsure.insert(*counter, len);
        }
        let outcomes = self.engine.commit(items);
        for (counter, outcome) in counters.iter().zip(outcomes) {
            outcome?;
            self.unsure.remove(counter);
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        let (engine, _) = open(&self.disk, &self.index).map_err(StoreError::Down)?;
        self.engine = engine;
        Ok(())
    }

    /// Everything that was acknowledged is there, nothing that was deleted is, and nothing is there by halves.
    pub(super) fn check(&self, what: &str) {
        for (counter, len) in &self.stored {
            self.check_shard(*counter, *len, what);
        }
        let listed = self.engine.list(None, usize::MAX).expect("a list");
        for (key, location) in listed {
            assert!(!location.is_damaged, "{what}: {key} is damaged");
            let counter = key.chunk.counter;
            let known = self.stored.get(&counter).or_else(|| self.unsure.get(&counter));
            let len = known.unwrap_or_else(|| panic!("{what}: {key} was deleted, or never stored"));
            self.check_shard(counter, *len, what);
        }
    }

    fn check_shard(&self, counter: u64, len: usize, what: &str) {
        let read = self.engine.read(key(counter), 0, 1000);
        let shard = read.unwrap_or_else(|error| panic!("{what}: shard {counter}: {error}"));
        assert!(
            shard.payload == content(counter, len),
            "{what}: shard {counter} has other bytes"
        );
    }
}
