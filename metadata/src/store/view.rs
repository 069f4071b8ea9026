//! What the state machine sees of the state: the [`View`] over RocksDB.
//!
//! Invariant: a view over a snapshot never changes; a view of the newest state is for the one that applies entries, alone.

use std::sync::Arc;

use parking_lot::Mutex;
use rocksdb::{DBPinnableSlice, DBRawIterator, ReadOptions, Snapshot};

use super::{
    StoreError,
    hot::HotRecords,
    pending::Pending,
    state::{Generation, family_handle},
};
use crate::core::view::{Family, View, ViewError, Visitor};

/// A view of a state database.
pub(super) struct StateView<'a> {
    generation: &'a Arc<Generation>,
    of: Of<'a>,
}

/// Which state is seen.
enum Of<'a> {
    /// The newest, of which some records are kept at hand, and some the database was not given yet.
    Newest(&'a Mutex<HotRecords>, &'a Pending),
    Snapshot(&'a Snapshot<'a>),
}

impl<'a> StateView<'a> {
    /// The newest state.
    pub(super) fn newest(generation: &'a Arc<Generation>, hot: &'a Mutex<HotRecords>, pending: &'a Pending) -> Self {
        Self {
            generation,
            of: Of::Newest(hot, pending),
        }
    }

    /// The state at `snapshot` of the generation.
    pub(super) fn at(generation: &'a Arc<Generation>, snapshot: &'a Snapshot<'a>) -> Self {
        Self {
            generation,
            of: Of::Snapshot(snapshot),
        }
    }

    fn iterator(&self, family: Family) -> Result<DBRawIterator<'_>, StoreError> {
        let db = &self.generation.db;
        let handle = family_handle(db, family.name())?;
        Ok(match self.of {
            Of::Snapshot(snapshot) => snapshot.raw_iterator_cf(handle),
            Of::Newest(_, pending) => {
                pending.settle(|| Ok(Arc::clone(self.generation)))?;
                db.raw_iterator_cf(handle)
            }
        })
    }
}

impl View for StateView<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        let db = &self.generation.db;
        let found = match self.of {
            Of::Snapshot(snapshot) => snapshot.get_cf(family_handle(db, family.name())?, key),
            Of::Newest(hot, pending) => {
                let mut hot = hot.lock();
                if let Some(value) = hot.find(family, key) {
                    return Ok(Some(value.clone()));
                }
                if let Some(value) = pending.find(family, key) {
                    return Ok(value);
                }
                let found = db.get_cf(family_handle(db, family.name())?, key);
                if let Ok(Some(value)) = &found {
                    hot.keep(family, key, value);
                }
                found
            }
        };
        found.map_err(|error| view_error(family, &error))
    }

    fn many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, ViewError> {
        let Of::Snapshot(snapshot) = self.of else {
            return keys.iter().map(|key| self.get(family, key)).collect();
        };
        let db = &self.generation.db;
        let handle = family_handle(db, family.name())?;
        let mut options = ReadOptions::default();
        options.set_snapshot(snapshot);
        let found = db.batched_multi_get_cf_opt(handle, keys, keys.is_sorted(), &options);
        let owned = |value: Option<DBPinnableSlice<'_>>| value.map(|value| value.to_vec());
        let found = found.into_iter().map(|value| value.map(owned));
        found
            .collect::<Result<_, _>>()
            .map_err(|error| view_error(family, &error))
    }

    fn scan(&self, family: Family, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        let mut records = self.iterator(family)?;
        records.seek(from);
        while let Some((key, value)) = records.item() {
            if !visit(key, value) {
                return Ok(());
            }
            records.next();
        }
        records.status().map_err(|error| view_error(family, &error))
    }
}

fn view_error(family: Family, error: &rocksdb::Error) -> ViewError {
    if error.kind() == rocksdb::ErrorKind::Corruption {
        return ViewError::Corrupt {
            family: family.name(),
            detail: error.to_string(),
        };
    }
    ViewError::Storage(error.to_string())
}
