//! Emptying a segment: what is needed of it is moved to the log's end, and it is removed.
//!
//! Order: the segment is condemned (its name says so) before the first record is moved; records are moved in groups, each synced
//! and in the index before the next; the index reaches the disk before the segment goes. One segment is condemned at a time,
//! and one that a crash has left so is finished first: so a tombstone may be dropped once its shard's segment is gone.
//! Invariants: a record is moved with its number, so a copy is as good as the original, whichever a start finds; nothing
//! that cannot be read is removed: its segment is set aside.

use std::sync::Arc;

use super::{
    Engine, Item,
    index::{IndexBatch, IndexError},
    recover::{is_whole, walk_records},
    segments::Segment,
    write::Moved,
};
use crate::{
    core::{
        position::SegmentId,
        record::{Record, RecordBody},
        segment_name::Stage,
        usage::Usages,
    },
    shard::ShardKey,
    store::StoreError,
};

/// Bytes of records that are moved at a time.
const GROUP_BYTES: usize = 4 << 20;

/// Records that are moved at a time.
const GROUP_RECORDS: usize = 512;

/// Shards of the index that are looked at at a time for those in a segment.
const LIST_PAGE: usize = 4096;

/// What compaction asks of whoever runs it.
pub(crate) trait Work {
    /// What keeps shards from being changed by others.
    type Locks;

    /// Keeps others from changing these shards.
    fn lock(&self, keys: &[ShardKey]) -> Self::Locks;

    /// [`Engine::commit`], in the order of all groups; unlocks.
    fn commit(&self, items: Vec<Item>, locks: Self::Locks) -> Vec<Result<(), StoreError>>;

    /// So many bytes were read or moved: waits as the pace asks. `false` ends the work; it is taken up again later.
    fn handle_progress(&self, bytes: u64) -> bool;
}

/// How a compaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compacted {
    /// No segment is worth it.
    Nothing,
    /// The segment is gone.
    Removed { moved_bytes: u64 },
    /// It was interrupted.
    Interrupted,
    /// The segment is set aside: some of it cannot be read.
    SetAside { shards: usize },
}

impl Engine {
    /// Empties the segment that is most worth it.
    pub(crate) fn compact(&self, work: &impl Work) -> Result<Compacted, StoreError> {
        self.health.check()?;
        self.remove_settled_aside()?;
        let victim = match self.segments.condemned() {
            Some(condemned) => Some(condemned),
            None => {
                let room = self.room()?;
                self.usages
                    .lock()
                    .victim(room, |segment| self.segments.contains(segment))
            }
        };
        match victim {
            Some(victim) => self.compact_segment(victim, work),
            None => Ok(Compacted::Nothing),
        }
    }

    fn compact_segment(&self, number: SegmentId, work: &impl Work) -> Result<Compacted, StoreError> {
        if self.tail.lock().settled_end().segment <= number {
            return Ok(Compacted::Nothing);
        }
        let segment = self.segments.find(number).map_err(|error| self.segment_failed(error))?;
        self.segments
            .put_stage(number, Stage::Condemned)
            .map_err(|error| self.segment_failed(error))?;
        let mut mover = Mover {
            engine: self,
            segment: &segment,
            work,
            group: Vec::new(),
            group_bytes: 0,
            moved_bytes: 0,
            tombstone_bytes: 0,
            outcome: Ok(()),
            is_interrupted: false,
        };
        walk_records(&segment, 0, |record| mover.take(record)).or_else(|reason| mover.ended(reason))?;
        if !mover.is_interrupted {
            mover.move_group();
        }
        let Mover {
            outcome,
            is_interrupted,
            moved_bytes,
            tombstone_bytes,
            ..
        } = mover;
        outcome?;
        if is_interrupted {
            return Ok(Compacted::Interrupted);
        }
        self.flush_index()?;
        match self.mark_unreadable(&segment, tombstone_bytes)? {
            0 => {
                self.forget(number)?;
                Ok(Compacted::Removed { moved_bytes })
            }
            shards => {
                self.segments
                    .put_stage(number, Stage::SetAside)
                    .map_err(|error| self.segment_failed(error))?;
                Ok(Compacted::SetAside { shards })
            }
        }
    }

    /// Removes a segment of which nothing is needed.
    fn forget(&self, number: SegmentId) -> Result<(), StoreError> {
        self.segments
            .remove(number)
            .map_err(|error| self.segment_failed(error))?;
        self.forget_usage(number, &mut self.usages.lock())
            .map_err(|error| self.index_failed(&error))
    }

    /// Has the index forget a segment that is gone. Tombstones of shards that lay there are needed no more.
    pub(super) fn forget_usage(&self, number: SegmentId, usages: &mut Usages) -> Result<(), IndexError> {
        let mut batch = IndexBatch {
            removed: Some(number),
            ..IndexBatch::default()
        };
        for (segment, found) in self.index.tombstones_of(number)? {
            if let Some(mut usage) = usages.find(segment).filter(|_| segment != number) {
                usage.live_bytes = usage.live_bytes.saturating_sub(found.bytes);
                usages.insert(segment, usage);
                batch.changes.usages.insert(segment, usage);
            }
        }
        usages.remove(number);
        self.index.apply(&batch)
    }

    /// Removes segments that were set aside and of which nothing is missing any more.
    fn remove_settled_aside(&self) -> Result<(), StoreError> {
        for segment in self.segments.set_aside() {
            let usage = self.usages.lock().find(segment);
            // One that the index does not know stays for the operator: nobody knows what it held.
            if usage.is_some_and(|usage| usage.live_bytes == 0) {
                self.forget(segment)?;
            }
        }
        Ok(())
    }

    /// Marks the shards that still lie in a segment of which all that can be read was moved, tombstones of `tombstone_bytes`
    /// among it; gives how many there are.
    fn mark_unreadable(&self, segment: &Segment, tombstone_bytes: u64) -> Result<usize, StoreError> {
        let left = self.usages.lock().find(segment.id).unwrap_or_default();
        if left.live_bytes <= tombstone_bytes {
            return Ok(0);
        }
        let mut marked = 0;
        let mut after = None;
        loop {
            let page = self.list(after, LIST_PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (key, location) in page
                .iter()
                .filter(|(_, location)| location.position.segment == segment.id)
            {
                self.found_damaged(*key, location, "no record is where it should be".to_owned());
                marked += 1;
            }
        }
        self.health.check()?;
        Ok(marked)
    }
}

/// A compaction under way.
struct Mover<'a, W> {
    engine: &'a Engine,
    segment: &'a Arc<Segment>,
    work: &'a W,
    group: Vec<Record>,
    group_bytes: usize,
    moved_bytes: u64,
    tombstone_bytes: u64,
    outcome: Result<(), StoreError>,
    is_interrupted: bool,
}

/// Ends a walk whose outcome is kept elsewhere.
const ENDED: &str = "ended";

impl<W: Work> Mover<'_, W> {
    fn take(&mut self, record: Record) -> Result<(), String> {
        let len = record.body.record_len();
        let is_needed = match self.is_needed(&record) {
            Ok(is_needed) => is_needed,
            Err(error) => {
                self.outcome = Err(error);
                return Err(ENDED.to_owned());
            }
        };
        if is_needed {
            self.group_bytes += len;
            if matches!(record.body, RecordBody::Tombstone { .. }) {
                self.tombstone_bytes += len as u64;
            }
            self.group.push(record);
        }
        if self.group_bytes >= GROUP_BYTES || self.group.len() >= GROUP_RECORDS {
            self.move_group();
        }
        let read = if is_needed { 0 } else { record_header_len() };
        if self.outcome.is_err() || !self.work.handle_progress(read) {
            self.is_interrupted = true;
            return Err(ENDED.to_owned());
        }
        Ok(())
    }

    fn ended(&mut self, reason: String) -> Result<(), StoreError> {
        if reason == ENDED {
            return Ok(());
        }
        Err(self.engine.health.poison(reason))
    }

    fn is_needed(&self, record: &Record) -> Result<bool, StoreError> {
        match &record.body {
            RecordBody::Shard(shard) => {
                let present = self.engine.find(&shard.key)?;
                Ok(present.is_some_and(|present| present.position == record.position))
            }
            RecordBody::Tombstone { target, .. } => {
                Ok(*target != record.position.segment && self.engine.segments.contains(*target))
            }
        }
    }

    /// Moves what has come together.
    fn move_group(&mut self) {
        let records = std::mem::take(&mut self.group);
        let bytes = std::mem::take(&mut self.group_bytes) as u64;
        if records.is_empty() || self.outcome.is_err() {
            return;
        }
        self.outcome = self.move_records(records);
        if self.outcome.is_ok() {
            self.moved_bytes += bytes;
            self.engine.metrics.background.compacted_bytes.inc_by(bytes);
            self.is_interrupted |= !self.work.handle_progress(2 * bytes);
        }
    }

    fn move_records(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let keys: Vec<ShardKey> = records.iter().map(|record| record.body.key()).collect();
        let locks = self.work.lock(&keys);
        let mut items = Vec::with_capacity(records.len());
        for record in records {
            // It may have been deleted before it was locked.
            if self.is_needed(&record)? {
                items.push(self.item(record)?);
            }
        }
        self.work.commit(items, locks).into_iter().collect()
    }

    /// A record as it is moved: as it lies there, damaged or not.
    fn item(&self, record: Record) -> Result<Item, StoreError> {
        let health = &self.engine.health;
        let read = |errno| health.judge("read a segment", errno);
        let is_damaged = !is_whole(self.segment, &record).map_err(read)?;
        let at = record.position.offset + record.body.payload_offset() as u32;
        let payload = self.segment.file.read_at(at, record.body.payload_len()).map_err(read)?;
        if is_damaged {
            self.engine.metrics.corrupt_shards.inc();
            tracing::warn!(device = %health.device(), shard = %record.body.key(), position = %record.position, "a damaged shard is moved as it is");
        }
        Ok(Item::Write {
            body: record.body,
            payload: vec![payload],
            moved: Some(Moved {
                sequence: record.sequence,
                is_damaged,
            }),
        })
    }
}

/// What looking at a record that is not moved costs, about.
const fn record_header_len() -> u64 {
    256
}
