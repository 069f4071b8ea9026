//! The state on disk: one column family for each record family, and `meta` for how far it is.
//!
//! It must never write a record without the position of its entry, nor let a position reach the disk before its records.
//! Invariant: entries' writes and the position and chained hash of the last are one atomic batch, and all families are flushed
//! together; after a crash the state is exactly that of some applied entry. What the database was not given yet (see
//! [`Pending`]) it is given before anybody else looks.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use cairn_common::envelope::{Record, seal};
use parking_lot::{Mutex, RwLock};
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, FlushOptions, Options, WriteBatch, WriteOptions,
    checkpoint::Checkpoint as RocksCheckpoint,
};

use super::{
    StoreError,
    chain::chain_hash,
    directory,
    hot::HotRecords,
    options::{SharedCache, family_options, state_options},
    pending::{Due, Gathered, Pending},
    pins::{CheckpointName, Pins},
    record::{AppliedRecord, LogPosition, MembershipRecord, decode},
    settler::Settler,
    view::StateView,
};
use crate::core::view::{Family, View, Write};

pub(super) const META: &str = "meta";
const APPLIED: &[u8] = b"applied";
const MEMBERSHIP: &[u8] = b"membership";
const WHAT_STATE: &str = "the metadata state";

/// A checkpoint of the state: a directory that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// How far the state in it is.
    pub(crate) applied: AppliedRecord,
    /// The membership in it.
    pub(crate) membership: MembershipRecord,
}

/// The state. One applier writes; any number read.
pub(crate) struct StateStore {
    pub(super) directory: PathBuf,
    cache: SharedCache,
    newest: Arc<Newest>,
    settler: Settler,
    applied: Mutex<AppliedRecord>,
    /// Of the newest state: for the applier alone.
    hot: Mutex<HotRecords>,
    pub(super) flushed_index: Arc<AtomicU64>,
    /// Checkpoints that are being read.
    pub(super) pins: Pins,
    /// Held while a checkpoint is made for a backup.
    pub(super) backing_up: Mutex<()>,
}

/// The newest state: a database, and what it was not given yet.
struct Newest {
    current: RwLock<Option<Arc<Generation>>>,
    pending: Pending,
}

pub(super) struct Generation {
    pub(super) db: DB,
    number: u64,
}

impl StateStore {
    /// Opens the state under `directory`. `flushed_index` is set to what is on disk, then and after every flush.
    pub(crate) fn open(
        directory: &Path,
        cache: &SharedCache,
        flushed_index: Arc<AtomicU64>,
    ) -> Result<Self, StoreError> {
        let generations = directory.join("state");
        for parent in [&generations, &directory.join("snapshots")] {
            directory::create_directory(parent)?;
            directory::clear_incomplete(parent)?;
        }
        let mut found = directory::numbered(&generations)?;
        let (number, path) = found.pop().unwrap_or_else(|| (1, directory::path_of(&generations, 1)));
        let generation = Generation::open(&path, number, cache)?;
        for (_, replaced) in found {
            directory::remove(&replaced)?;
        }
        let applied = generation.applied()?;
        flushed_index.store(applied.index(), Ordering::Release);
        // Backups that a crash cut short: nobody reads them any more.
        directory::remove(&directory.join("backups"))?;
        let newest = Arc::new(Newest {
            current: RwLock::new(Some(Arc::new(generation))),
            pending: Pending::default(),
        });
        let settled = Arc::clone(&newest);
        Ok(Self {
            directory: directory.to_owned(),
            cache: cache.clone(),
            newest,
            settler: Settler::start(move || settled.settle().map(drop))?,
            applied: Mutex::new(applied),
            hot: Mutex::default(),
            flushed_index,
            pins: Pins::default(),
            backing_up: Mutex::new(()),
        })
    }

    /// How far the newest state is.
    pub(crate) fn applied(&self) -> AppliedRecord {
        self.applied.lock().clone()
    }

    /// The newest applied membership.
    pub(crate) fn membership(&self) -> Result<MembershipRecord, StoreError> {
        self.current()?.membership()
    }

    /// Lets `act` read one unchanging state, and how far that state is.
    pub(crate) fn read<T, E: From<StoreError>>(
        &self,
        act: impl FnOnce(&dyn View, &AppliedRecord) -> Result<T, E>,
    ) -> Result<T, E> {
        let generation = self.settled()?;
        let snapshot = generation.db.snapshot();
        let view = StateView::at(&generation, &snapshot);
        let meta = family_handle(&generation.db, META)?;
        let stored = snapshot
            .get_pinned_cf(meta, APPLIED)
            .map_err(|error| read_error(&error))?;
        let applied = stored.map_or_else(|| Ok(AppliedRecord::start()), |bytes| decode(WHAT_STATE, &bytes))?;
        act(&view, &applied)
    }

    /// Lets the applier read the newest state.
    pub(crate) fn read_newest<T, E: From<StoreError>>(
        &self,
        act: impl FnOnce(&dyn View) -> Result<T, E>,
    ) -> Result<T, E> {
        let generation = self.current()?;
        act(&StateView::newest(&generation, &self.hot, &self.newest.pending))
    }

    /// Takes an entry's writes. For the applier alone.
    pub(crate) fn commit(
        &self,
        position: LogPosition,
        time_ms: u64,
        writes: Vec<Write>,
        membership: Option<MembershipRecord>,
    ) -> Result<(), StoreError> {
        let before = self.applied();
        let chain = chain_hash(before.chain_hash()?, &writes);
        let applied = AppliedRecord {
            position: Some(position),
            chain: chain.as_bytes().to_vec(),
            time_ms: before.time_ms.max(time_ms),
        };
        self.hot.lock().follow(&writes);
        match self.newest.pending.add(writes, applied.clone(), membership) {
            Due::Later => {}
            Due::Soon => self.settler.request(),
            Due::Now => drop(self.settled()?),
        }
        *self.applied.lock() = applied;
        Ok(())
    }

    /// Brings the newest state to the disk, and lets the log be purged that far.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let reached = self.applied().index();
        self.settled()?.flush()?;
        self.flushed_index.fetch_max(reached, Ordering::AcqRel);
        Ok(())
    }

    /// Makes a checkpoint of the newest state and removes older ones. Nothing may be applied meanwhile.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        let generation = self.settled()?;
        let snapshots = self.directory.join("snapshots");
        let applied = self.applied();
        let number = applied.index();
        let target = directory::path_of(&snapshots, number);
        if !target.exists() {
            directory::make_numbered(&snapshots, number, |path| generation.checkpoint(path))?;
            self.flushed_index.fetch_max(number, Ordering::AcqRel);
        }
        self.remove_snapshots_below(number)?;
        Ok(Checkpoint {
            path: target,
            applied,
            membership: generation.membership()?,
        })
    }

    /// The newest checkpoint.
    pub(crate) fn newest_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let mut found = directory::numbered(&self.directory.join("snapshots"))?;
        found.pop().map(|(_, path)| Checkpoint::open(&path)).transpose()
    }

    /// Replaces the state with the one in `checkpoint`, and keeps that as the newest checkpoint. Nothing may be applied
    /// meanwhile; reads that are under way end on the old state.
    pub(crate) fn install(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let replaced = self.current()?;
        let snapshots = self.directory.join("snapshots");
        let index = checkpoint.applied.index();
        if checkpoint.path != directory::path_of(&snapshots, index) {
            directory::remove(&directory::path_of(&snapshots, index))?;
            directory::make_numbered(&snapshots, index, |path| {
                directory::copy_checkpoint(&checkpoint.path, path)
            })?;
        }
        let generations = self.directory.join("state");
        let number = replaced.number + 1;
        let path = directory::make_numbered(&generations, number, |path| {
            directory::copy_checkpoint(&checkpoint.path, path)
        })?;
        let generation = Generation::open(&path, number, &self.cache)?;
        *self.applied.lock() = generation.applied()?;
        self.hot.lock().clear();
        let replace = || *self.newest.current.write() = Some(Arc::new(generation));
        self.newest.pending.clear(replace);
        self.flushed_index.store(index, Ordering::Release);
        // The replaced generation is still open to reads under way; it is removed at the next start.
        self.remove_snapshots_below(index)
    }

    /// Makes the state that of a group of its own, as a restore does: `writes` and the members take effect at the position that
    /// is applied already. For a store that no server uses.
    pub(crate) fn begin_anew(&self, writes: &[Write], membership: &MembershipRecord) -> Result<(), StoreError> {
        let before = self.applied();
        let applied = AppliedRecord {
            chain: chain_hash(before.chain_hash()?, writes).as_bytes().to_vec(),
            ..before
        };
        let pending = &self.newest.pending;
        pending.add(writes.to_vec(), applied.clone(), Some(membership.clone()));
        self.settled()?;
        *self.applied.lock() = applied;
        self.flush()
    }

    /// Flushes and closes the state. Whatever is asked of it then is answered with [`StoreError::Closed`].
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        self.settler.stop();
        let flushed = self.flush();
        drop(self.newest.current.write().take());
        flushed
    }

    /// The database, once it holds all that was applied.
    pub(super) fn settled(&self) -> Result<Arc<Generation>, StoreError> {
        self.newest.settle()
    }

    fn current(&self) -> Result<Arc<Generation>, StoreError> {
        self.newest.current()
    }

    /// Removes snapshots older than `number`, but for those that are being read.
    pub(super) fn remove_snapshots_below(&self, number: u64) -> Result<(), StoreError> {
        let found = directory::numbered(&self.directory.join("snapshots"))?;
        let older = found.into_iter().filter(|(found, _)| *found < number);
        let named = older.map(|(number, path)| (CheckpointName { number, backup: false }, path));
        self.pins.remove_unpinned(named, Instant::now())
    }
}

impl Newest {
    fn current(&self) -> Result<Arc<Generation>, StoreError> {
        self.current.read().clone().ok_or(StoreError::Closed)
    }

    /// The database, once it holds all that is pending now.
    fn settle(&self) -> Result<Arc<Generation>, StoreError> {
        self.pending.settle(|| self.current())
    }
}

impl Generation {
    fn open(path: &Path, number: u64, cache: &SharedCache) -> Result<Self, StoreError> {
        directory::check_present(WHAT_STATE, path)?;
        let names = Family::ALL.iter().map(|family| family.name()).chain([META]);
        let families = names.map(|name| ColumnFamilyDescriptor::new(name, family_options(cache, name)));
        let db = DB::open_cf_descriptors(&state_options(cache), path, families)
            .map_err(|error| StoreError::from_opening(WHAT_STATE, path, &error))?;
        Ok(Self { db, number })
    }

    fn applied(&self) -> Result<AppliedRecord, StoreError> {
        applied_of(&self.db)
    }

    fn membership(&self) -> Result<MembershipRecord, StoreError> {
        membership_of(&self.db)
    }

    /// Makes writes and what they reach known, in one batch.
    pub(super) fn write(&self, gathered: &Gathered) -> Result<(), StoreError> {
        let mut batch = WriteBatch::with_capacity_bytes(gathered.bytes());
        for (family, writes) in gathered.in_order() {
            let handle = family_handle(&self.db, family.name())?;
            for (key, value) in writes {
                match value {
                    Some(value) => batch.put_cf(handle, key, value),
                    None => batch.delete_cf(handle, key),
                }
            }
        }
        let meta = family_handle(&self.db, META)?;
        if let Some(applied) = &gathered.applied {
            batch.put_cf(meta, APPLIED, seal(applied));
        }
        if let Some(membership) = &gathered.membership {
            batch.put_cf(meta, MEMBERSHIP, seal(membership));
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let written = self.db.write_opt(batch, &options);
        written.map_err(|error| StoreError::from_rocksdb("writing the metadata state", &error))
    }

    fn flush(&self) -> Result<(), StoreError> {
        let names = Family::ALL.iter().map(|family| family.name()).chain([META]);
        let handles = names
            .map(|name| family_handle(&self.db, name))
            .collect::<Result<Vec<_>, _>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let flushed = self.db.flush_cfs_opt(&handles.iter().collect::<Vec<_>>(), &options);
        flushed.map_err(|error| StoreError::from_rocksdb("flushing the metadata state", &error))
    }

    pub(super) fn checkpoint(&self, path: &Path) -> Result<(), StoreError> {
        let what = "making a checkpoint of the metadata state";
        let checkpoint = RocksCheckpoint::new(&self.db).map_err(|error| StoreError::from_rocksdb(what, &error))?;
        checkpoint
            .create_checkpoint(path)
            .map_err(|error| StoreError::from_rocksdb(what, &error))
    }
}

impl Checkpoint {
    /// Reads what the checkpoint at `path` holds.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let db = DB::open_cf_for_read_only(&Options::default(), path, ["default", META], false)
            .map_err(|error| StoreError::from_opening("a snapshot of the metadata", path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            applied: applied_of(&db)?,
            membership: membership_of(&db)?,
        })
    }
}

/// The handle of a column family.
pub(super) fn family_handle<'a>(db: &'a DB, name: &'static str) -> Result<&'a ColumnFamily, StoreError> {
    db.cf_handle(name).ok_or_else(|| StoreError::Corrupt {
        what: WHAT_STATE,
        detail: format!("the column family {name} is missing"),
    })
}

/// How far the state in `db` is.
pub(super) fn applied_of(db: &DB) -> Result<AppliedRecord, StoreError> {
    Ok(read_meta(db, APPLIED)?.unwrap_or_else(AppliedRecord::start))
}

/// The newest applied membership in `db`.
pub(super) fn membership_of(db: &DB) -> Result<MembershipRecord, StoreError> {
    Ok(read_meta(db, MEMBERSHIP)?.unwrap_or_default())
}

fn read_meta<R: Record>(db: &DB, key: &[u8]) -> Result<Option<R>, StoreError> {
    let stored = db
        .get_pinned_cf(family_handle(db, META)?, key)
        .map_err(|error| read_error(&error))?;
    stored.map(|bytes| decode(WHAT_STATE, &bytes)).transpose()
}

fn read_error(error: &rocksdb::Error) -> StoreError {
    StoreError::from_rocksdb("reading the metadata state", error)
}
