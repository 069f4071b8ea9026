//! What records come to in the index: which of them hold, and what becomes garbage.
//!
//! One set of rules for what was just written, for what compaction moved, and for what is read again after a crash. Records
//! come in the order of the log. Pure. Invariants: of two records of a shard the one with the higher sequence holds, of equal
//! ones (compaction copies them) the later; applying a record a second time changes nothing.

use std::collections::{BTreeMap, HashMap};

use super::{
    location::Location,
    position::{SegmentId, Sequence},
    record::{Record, RecordBody},
    usage::Usage,
};
use crate::shard::ShardKey;

/// The index as it was before.
pub(crate) trait Before {
    type Error;

    /// Where a shard lies.
    fn find(&self, key: &ShardKey) -> Result<Option<Location>, Self::Error>;

    /// The tombstones in `segment` of shards in `target`.
    fn find_tombstones(&self, target: SegmentId, segment: SegmentId) -> Result<Tombstones, Self::Error>;

    /// What of a segment is in use; `None` where there is no such segment.
    fn usage(&self, segment: SegmentId) -> Option<Usage>;
}

/// Tombstones in one segment of shards that lay in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tombstones {
    pub(crate) bytes: u64,
    /// The end of the last of them: what lies before is counted already.
    pub(crate) end: u32,
}

/// Changes to an index.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) entries: HashMap<ShardKey, Option<Location>>,
    pub(crate) usages: BTreeMap<SegmentId, Usage>,
    /// By target and the segment that the tombstones lie in.
    pub(crate) tombstones: BTreeMap<(SegmentId, SegmentId), Tombstones>,
}

impl Changes {
    /// Takes a record that is durable, or was found whole.
    pub(crate) fn take<B: Before>(&mut self, before: &B, record: &Record) -> Result<(), B::Error> {
        match &record.body {
            RecordBody::Shard(_) => {
                let location = Location::of(record).expect("it is a shard's");
                self.place(before, record.body.key(), location)
            }
            RecordBody::Tombstone { key, target } => {
                self.bury(before, *key, record.sequence)?;
                self.count_tombstone(before, *target, record)
            }
        }
    }

    /// A shard lies at `location`.
    pub(crate) fn place<B: Before>(&mut self, before: &B, key: ShardKey, location: Location) -> Result<(), B::Error> {
        if let Some(present) = self.find(before, &key)? {
            if present.position == location.position && present.is_damaged == location.is_damaged {
                return Ok(());
            }
            if (location.sequence, location.position) < (present.sequence, present.position) {
                return Ok(());
            }
            self.lose(before, &present);
        }
        let usage = self.usage(before, location.position.segment);
        usage.live_bytes += u64::from(location.record_len);
        usage.damaged += u32::from(location.is_damaged);
        self.entries.insert(key, Some(location));
        Ok(())
    }

    /// A segment has been filled up to `used_bytes`.
    pub(crate) fn fill<B: Before>(&mut self, before: &B, segment: SegmentId, used_bytes: u64) {
        let usage = self.usage(before, segment);
        usage.used_bytes = usage.used_bytes.max(used_bytes);
    }

    fn bury<B: Before>(&mut self, before: &B, key: ShardKey, sequence: Sequence) -> Result<(), B::Error> {
        let Some(present) = self.find(before, &key)? else {
            return Ok(());
        };
        if present.sequence < sequence {
            self.lose(before, &present);
            self.entries.insert(key, None);
        }
        Ok(())
    }

    /// A tombstone is needed for as long as the segment of its shard is there; one in the same segment goes with it.
    fn count_tombstone<B: Before>(&mut self, before: &B, target: SegmentId, record: &Record) -> Result<(), B::Error> {
        let segment = record.position.segment;
        if target == segment || before.usage(target).is_none() {
            return Ok(());
        }
        let counted = match self.tombstones.get(&(target, segment)) {
            Some(counted) => *counted,
            None => before.find_tombstones(target, segment)?,
        };
        if record.position.offset < counted.end {
            return Ok(());
        }
        let bytes = record.body.record_len() as u64;
        let more = Tombstones {
            bytes: counted.bytes + bytes,
            end: record.end(),
        };
        self.tombstones.insert((target, segment), more);
        self.usage(before, segment).live_bytes += bytes;
        Ok(())
    }

    fn lose<B: Before>(&mut self, before: &B, location: &Location) {
        let usage = self.usage(before, location.position.segment);
        usage.live_bytes = usage.live_bytes.saturating_sub(location.record_len.into());
        usage.damaged = usage.damaged.saturating_sub(location.is_damaged.into());
    }

    fn find<B: Before>(&self, before: &B, key: &ShardKey) -> Result<Option<Location>, B::Error> {
        match self.entries.get(key) {
            Some(changed) => Ok(*changed),
            None => before.find(key),
        }
    }

    fn usage<B: Before>(&mut self, before: &B, segment: SegmentId) -> &mut Usage {
        self.usages
            .entry(segment)
            .or_insert_with(|| before.usage(segment).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
