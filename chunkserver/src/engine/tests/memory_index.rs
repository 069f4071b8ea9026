//! An index in memory that remembers every state since it was flushed last: any of them may be what a crash leaves.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    core::{
        changes::Tombstones,
        index_record::IndexState,
        location::Location,
        position::SegmentId,
        scrub::ScrubState,
        usage::{Usage, Usages},
    },
    engine::index::{Found, Index, IndexBatch, IndexError},
    shard::ShardKey,
};

/// One state of the index.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) entries: BTreeMap<ShardKey, Location>,
    pub(super) usages: BTreeMap<SegmentId, Usage>,
    tombstones: BTreeMap<(SegmentId, SegmentId), Tombstones>,
    state: Option<IndexState>,
    scrub: ScrubState,
}

/// Its states since the last flush, the flushed one first.
#[derive(Clone)]
pub(super) struct MemoryIndex {
    states: Arc<Mutex<Vec<Records>>>,
}

impl MemoryIndex {
    pub(super) fn new(records: Records) -> Self {
        Self {
            states: Arc::new(Mutex::new(vec![records])),
        }
    }

    /// What it holds now.
    pub(super) fn newest(&self) -> Records {
        self.states.lock().last().expect("never empty").clone()
    }

    /// All that a crash may leave of it.
    pub(super) fn survivors(&self) -> Vec<Records> {
        self.states.lock().clone()
    }
}

impl Index for MemoryIndex {
    fn find(&self, key: &ShardKey) -> Result<Option<Location>, IndexError> {
        Ok(self
            .states
            .lock()
            .last()
            .and_then(|records| records.entries.get(key).copied()))
    }

    fn find_cached(&self, key: &ShardKey) -> Result<Found, IndexError> {
        self.find(key).map(Found::Known)
    }

    fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<(ShardKey, Location)>, IndexError> {
        let records = self.newest();
        let behind = records
            .entries
            .into_iter()
            .filter(|(key, _)| after.is_none_or(|after| *key > after));
        Ok(behind.take(limit).collect())
    }

    fn find_tombstones(&self, target: SegmentId, segment: SegmentId) -> Result<Tombstones, IndexError> {
        Ok(self
            .newest()
            .tombstones
            .get(&(target, segment))
            .copied()
            .unwrap_or_default())
    }

    fn tombstones_of(&self, target: SegmentId) -> Result<Vec<(SegmentId, Tombstones)>, IndexError> {
        let records = self.newest();
        let of = records.tombstones.into_iter().filter(|((of, _), _)| *of == target);
        Ok(of.map(|((_, segment), found)| (segment, found)).collect())
    }

    fn usages(&self) -> Result<Usages, IndexError> {
        let mut usages = Usages::default();
        for (segment, usage) in self.newest().usages {
            usages.insert(segment, usage);
        }
        Ok(usages)
    }

    fn state(&self) -> Result<Option<IndexState>, IndexError> {
        Ok(self.newest().state)
    }

    fn scrub(&self) -> Result<ScrubState, IndexError> {
        Ok(self.newest().scrub)
    }

    fn apply(&self, batch: &IndexBatch) -> Result<(), IndexError> {
        let mut records = self.newest();
        for (key, location) in &batch.changes.entries {
            match location {
                Some(location) => _ = records.entries.insert(*key, *location),
                None => _ = records.entries.remove(key),
            }
        }
        records.usages.extend(&batch.changes.usages);
        records.tombstones.extend(&batch.changes.tombstones);
        if let Some(removed) = batch.removed {
            records.usages.remove(&removed);
            records.tombstones.retain(|(target, _), _| *target != removed);
        }
        records.state = batch.state.or(records.state);
        records.scrub = batch.scrub.unwrap_or(records.scrub);
        self.states.lock().push(records);
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        let mut states = self.states.lock();
        let newest = states.pop().expect("never empty");
        *states = vec![newest];
        Ok(())
    }
}
