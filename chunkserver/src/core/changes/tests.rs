//! The rules on a handful of records, each applied once and twice.

use std::convert::Infallible;

use bytes::Bytes;
use cairn_common::{
    checksum::{block_hashes, shard_hash},
    ids::{ChunkId, SessionId},
};

use super::*;
use crate::{core::position::Position, shard::ShardDescription};

#[derive(Default)]
struct Index {
    entries: HashMap<ShardKey, Location>,
    usages: BTreeMap<SegmentId, Usage>,
    tombstones: BTreeMap<(SegmentId, SegmentId), Tombstones>,
}

impl Before for Index {
    type Error = Infallible;

    fn find(&self, key: &ShardKey) -> Result<Option<Location>, Infallible> {
        Ok(self.entries.get(key).copied())
    }

    fn find_tombstones(&self, target: SegmentId, segment: SegmentId) -> Result<Tombstones, Infallible> {
        Ok(self.tombstones.get(&(target, segment)).copied().unwrap_or_default())
    }

    fn usage(&self, segment: SegmentId) -> Option<Usage> {
        self.usages.get(&segment).copied()
    }
}

impl Index {
    fn with_segments(segments: u64) -> Self {
        let usages = (1..=segments).map(|number| (SegmentId::new(number), Usage::default()));
        Self {
            usages: usages.collect(),
            ..Self::default()
        }
    }

    fn apply(&mut self, records: &[Record]) {
        let mut changes = Changes::default();
        for record in records {
            let Ok(()) = changes.take(&*self, record);
        }
        for (key, location) in changes.entries {
            match location {
                Some(location) => self.entries.insert(key, location),
                None => self.entries.remove(&key),
            };
        }
        self.usages.extend(changes.usages);
        self.tombstones.extend(changes.tombstones);
    }

    fn live(&self, segment: u64) -> u64 {
        self.usages[&SegmentId::new(segment)].live_bytes
    }
}

fn key(counter: u64) -> ShardKey {
    ShardKey {
        chunk: ChunkId {
            session: SessionId::new(1),
            counter,
        },
        index: 0,
    }
}

fn record(segment: u64, offset: u32, sequence: u64, body: RecordBody) -> Record {
    Record {
        position: Position {
            segment: SegmentId::new(segment),
            offset,
        },
        sequence: Sequence::new(sequence),
        synced_end: Position::default(),
        body,
    }
}

fn shard(counter: u64) -> RecordBody {
    let bytes = [7; 100];
    let blocks = block_hashes(&bytes);
    RecordBody::Shard(ShardDescription {
        key: key(counter),
        chunk_len: 100,
        shard_len: 100,
        block_hashes: Bytes::copy_from_slice(blocks[0].as_bytes()),
        shard_hashes: Bytes::copy_from_slice(shard_hash(100, &blocks).as_bytes()),
    })
}

fn tombstone(counter: u64, target: u64) -> RecordBody {
    RecordBody::Tombstone {
        key: key(counter),
        target: SegmentId::new(target),
    }
}

fn len(body: &RecordBody) -> u64 {
    body.record_len() as u64
}

/// A life of one shard over three segments: stored, moved, deleted, its tombstone moved, stored again.
fn life() -> Vec<Record> {
    vec![
        record(1, 4096, 1, shard(1)),
        record(1, 8192, 2, shard(2)),
        record(2, 4096, 1, shard(1)),
        record(2, 8192, 3, tombstone(1, 2)),
        record(2, 8320, 4, tombstone(2, 1)),
        record(3, 4096, 5, shard(1)),
        record(3, 8192, 4, tombstone(2, 1)),
    ]
}

#[test]
fn the_newest_record_holds_and_the_rest_is_garbage() {
    let mut index = Index::with_segments(3);
    index.apply(&life());
    assert_eq!(index.entries.len(), 1);
    assert_eq!(index.entries[&key(1)].position, life()[5].position);
    let buried = len(&tombstone(2, 1));
    assert_eq!(
        [index.live(1), index.live(2)],
        [0, buried],
        "a tombstone in its shard's own segment is not needed"
    );
    assert_eq!(index.live(3), len(&shard(1)) + buried);
}

#[test]
fn applying_any_end_of_the_log_again_changes_nothing() {
    let mut once = Index::with_segments(3);
    once.apply(&life());
    for from in 0..life().len() {
        let mut twice = Index::with_segments(3);
        twice.apply(&life());
        twice.apply(&life()[from..]);
        assert_eq!(twice.entries, once.entries, "from record {from}");
        assert_eq!(twice.usages, once.usages, "from record {from}");
        assert_eq!(twice.tombstones, once.tombstones, "from record {from}");
    }
}

#[test]
fn it_does_not_matter_how_the_log_is_cut_into_groups() {
    let mut whole = Index::with_segments(3);
    whole.apply(&life());
    for cut in 0..life().len() {
        let mut parts = Index::with_segments(3);
        parts.apply(&life()[..cut]);
        parts.apply(&life()[cut..]);
        assert_eq!((&parts.entries, &parts.usages), (&whole.entries, &whole.usages));
    }
}

#[test]
fn a_moved_tombstone_spares_what_was_stored_after_it() {
    let mut index = Index::with_segments(3);
    index.apply(&life());
    index.apply(&[record(3, 9000, 3, tombstone(1, 2))]);
    assert!(index.entries.contains_key(&key(1)));
}

#[test]
fn a_damaged_shard_is_replaced_by_a_new_one_and_counted_until_then() {
    let mut index = Index::with_segments(2);
    index.apply(&[record(1, 4096, 1, shard(1))]);
    let damaged = Location {
        is_damaged: true,
        ..index.entries[&key(1)]
    };
    let mut changes = Changes::default();
    let Ok(()) = changes.place(&index, key(1), damaged);
    index.entries.insert(key(1), damaged);
    index.usages.extend(changes.usages);
    assert_eq!(index.usages[&SegmentId::new(1)].damaged, 1);
    assert_eq!(index.live(1), len(&shard(1)));
    index.apply(&[record(2, 4096, 2, shard(1))]);
    assert_eq!(index.usages[&SegmentId::new(1)], Usage::default());
    assert!(!index.entries[&key(1)].is_damaged);
}
