//! A store, or a checkpoint, that no server uses: looked at and never changed.
//!
//! It must never open anything for writing. Invariant: what cannot be read ends the reading with an error; it is never
//! passed over in silence.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use cairn_common::ids::NodeId;
use rocksdb::{ColumnFamilyDescriptor, DB, DBRawIterator, Direction, IteratorMode, ReadOptions};

use super::{
    StoreError,
    log::{ENTRY_TAG, LogBounds, entry_index, find_bounds, read_entry, server_of, vote_of},
    options::{SharedCache, family_options, log_options, state_options},
    record::{AppliedRecord, EntryRecord, MembershipRecord, VoteRecord},
    state::{META, applied_of, family_handle, membership_of},
};
use crate::core::view::Family;

/// Memory that looking at a store without a server is sized by.
pub(crate) const OFFLINE_MEMORY_BYTES: usize = 64 << 20;
/// Bytes read ahead of a scan.
const READ_AHEAD_BYTES: usize = 2 << 20;

/// A state that nobody changes.
pub(crate) struct OfflineState {
    db: DB,
    path: PathBuf,
}

/// A log that nobody appends to.
pub(crate) struct OfflineLog {
    db: DB,
}

/// The records of a family, in the order of their keys. It ends with the first that cannot be read.
pub(crate) struct Records<'a> {
    iterator: DBRawIterator<'a>,
    ended: bool,
}

impl OfflineState {
    /// Opens the database at `path`: a generation of the state, or a checkpoint.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let cache = SharedCache::new(OFFLINE_MEMORY_BYTES);
        let mut options = state_options(&cache);
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        let names = Family::ALL.iter().map(|family| family.name()).chain(["default", META]);
        let families = names.map(|name| ColumnFamilyDescriptor::new(name, family_options(&cache, name)));
        let db = DB::open_cf_descriptors_read_only(&options, path, families, false)
            .map_err(|error| StoreError::from_opening("the metadata state", path, &error))?;
        Ok(Self {
            db,
            path: path.to_owned(),
        })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How far it is.
    pub(crate) fn applied(&self) -> Result<AppliedRecord, StoreError> {
        applied_of(&self.db)
    }

    /// The members it knows.
    pub(crate) fn membership(&self) -> Result<MembershipRecord, StoreError> {
        membership_of(&self.db)
    }

    /// The value under a key.
    pub(crate) fn value(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.db.get_cf(family_handle(&self.db, family.name())?, key);
        found.map_err(|error| StoreError::from_rocksdb("reading the metadata state", &error))
    }

    /// The records of a family whose keys are `from` or behind it.
    pub(crate) fn records(&self, family: Family, from: &[u8]) -> Result<Records<'_>, StoreError> {
        let handle = family_handle(&self.db, family.name())?;
        let mut iterator = self.db.raw_iterator_cf_opt(handle, scan_options());
        iterator.seek(from);
        Ok(Records { iterator, ended: false })
    }
}

impl OfflineLog {
    /// Opens the log under a store's directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("log");
        let mut options = log_options(&SharedCache::new(OFFLINE_MEMORY_BYTES));
        options.create_if_missing(false);
        let db = DB::open_for_read_only(&options, &path, false)
            .map_err(|error| StoreError::from_opening("the Raft log", &path, &error))?;
        Ok(Self { db })
    }

    /// Whose log it is; none before the first start was finished.
    pub(crate) fn server(&self) -> Result<Option<NodeId>, StoreError> {
        server_of(&self.db)
    }

    /// The newest vote.
    pub(crate) fn vote(&self) -> Result<Option<VoteRecord>, StoreError> {
        vote_of(&self.db)
    }

    /// Where it begins and ends.
    pub(crate) fn bounds(&self) -> Result<LogBounds, StoreError> {
        find_bounds(&self.db)
    }

    /// The entries that are not purged, in order, up to the first that cannot be read.
    pub(crate) fn entries(&self) -> Result<impl Iterator<Item = Result<EntryRecord, StoreError>>, StoreError> {
        let from = self.bounds()?.purged.map_or(0, |purged| purged.index + 1);
        let start = [&[ENTRY_TAG], from.to_be_bytes().as_slice()].concat();
        let items = self.db.iterator(IteratorMode::From(&start, Direction::Forward));
        let mut failed = false;
        let read = items.map_while(move |item| {
            if failed {
                return None;
            }
            let entry = match item {
                Ok((key, value)) => read_entry(entry_index(&key)?, Bytes::from(value)),
                Err(error) => Err(StoreError::from_rocksdb("reading the Raft log", &error)),
            };
            failed = entry.is_err();
            Some(entry)
        });
        Ok(read)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if let Some((key, value)) = self.iterator.item() {
            let record = (key.to_vec(), value.to_vec());
            self.iterator.next();
            return Some(Ok(record));
        }
        self.ended = true;
        let status = self.iterator.status();
        status
            .err()
            .map(|error| Err(StoreError::from_rocksdb("reading the metadata state", &error)))
    }
}

fn scan_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options.fill_cache(false);
    options.set_readahead_size(READ_AHEAD_BYTES);
    options
}
