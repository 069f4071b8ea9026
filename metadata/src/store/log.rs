//! The Raft log on disk: entries by index, the vote, and how far the log is committed and purged.
//!
//! Writes are readable at once and durable once the syncer has said so; a caller that promises anything waits for that.
//! It must never hand out a log with a hole, and never forget an entry that the state does not hold on disk. Invariant: all
//! writes go through one write-ahead log in the order they were made, so a later one never survives an earlier one.

use std::{
    collections::VecDeque,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use cairn_common::{
    envelope::{Record, open, seal},
    ids::NodeId,
};
use parking_lot::{Mutex, RwLock};
use prost::Message;
use rocksdb::{DB, Direction, IteratorMode, WriteBatch};

use super::{
    StoreError,
    directory::{check_present, create_directory, newest_generation},
    options::{SharedCache, log_options},
    record::{EntryRecord, IdentityRecord, LogPosition, VoteRecord, decode},
    syncer::{Callback, SyncObserver, Syncer, blocking_callback},
    watermark::Watermark,
};

const IDENTITY: &[u8] = b"midentity";
const VOTE: &[u8] = b"mvote";
const COMMITTED: &[u8] = b"mcommitted";
const PURGED: &[u8] = b"mpurged";
pub(super) const ENTRY_TAG: u8 = b'e';
const WHAT_ENTRY: &str = "an entry of the Raft log";
/// Newest entries that are kept in memory: more than are ever on their way.
const TAIL_ENTRIES: usize = 64;
/// Larger entries are few, and are read back.
const TAIL_ENTRY_BYTES_MAX: usize = 256 << 10;

/// Where the log begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogBounds {
    /// The newest entry that is gone.
    pub(crate) purged: Option<LogPosition>,
    /// The newest entry; where there is none, the newest that is gone.
    pub(crate) last: Option<LogPosition>,
}

/// The log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    db: RwLock<Option<Arc<DB>>>,
    bounds: Arc<Mutex<LogBounds>>,
    tail: Mutex<VecDeque<EntryRecord>>,
    /// How far the log is known to be committed, where that is not written yet.
    committed: Mutex<Option<LogPosition>>,
    syncer: Syncer,
    /// Up to this index the state is on disk: beyond it no entry may go.
    flushed_index: Arc<AtomicU64>,
}

impl LogStore {
    /// Opens the log of `server` under `directory`. Entries may be purged up to what `flushed_index` holds at the time.
    pub(crate) fn open(
        directory: &Path,
        server: NodeId,
        cache: &SharedCache,
        flushed_index: Arc<AtomicU64>,
        observe_sync: SyncObserver,
    ) -> Result<Self, StoreError> {
        let path = directory.join("log");
        create_directory(&path)?;
        check_present("the Raft log", &path)?;
        let db = DB::open(&log_options(cache), &path)
            .map_err(|error| StoreError::from_opening("the Raft log", &path, &error))?;
        check_identity(&db, server, directory)?;
        let bounds = Arc::new(Mutex::new(find_bounds(&db)?));
        let watermark = Watermark::open(directory)?;
        check_end(&db, &watermark)?;
        let db = Arc::new(db);
        let synced = Arc::clone(&db);
        let sync = move || {
            let sequence = synced.latest_sequence_number();
            let done = synced.flush_wal(true);
            done.map_err(|error| StoreError::from_rocksdb("syncing the log", &error))?;
            watermark.note(sequence);
            Ok(())
        };
        let syncer = Syncer::start(sync, observe_sync)?;
        let shared = Shared {
            db: RwLock::new(Some(db)),
            bounds,
            tail: Mutex::default(),
            committed: Mutex::default(),
            syncer,
            flushed_index,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Where the log begins and ends.
    pub(crate) fn bounds(&self) -> LogBounds {
        *self.shared.bounds.lock()
    }

    /// Appends entries, readable on return; they are durable only after a sync.
    pub(crate) fn append(&self, entries: &[EntryRecord]) -> Result<(), StoreError> {
        let Some(last) = entries.last() else { return Ok(()) };
        let mut batch = WriteBatch::default();
        for entry in entries {
            batch.put(entry_key(entry.position.index), seal(entry));
        }
        if let Some(committed) = self.shared.committed.lock().take() {
            batch.put(COMMITTED, seal(&committed));
        }
        self.write(batch, "appending to the log")?;
        self.shared.bounds.lock().last = Some(last.position);
        self.keep_tail(entries);
        Ok(())
    }

    /// Keeps the newest entries at hand: they are read once for each other member, and once to be applied.
    fn keep_tail(&self, entries: &[EntryRecord]) {
        let mut tail = self.shared.tail.lock();
        for entry in entries {
            if tail
                .back()
                .is_some_and(|newest| newest.position.index + 1 != entry.position.index)
            {
                tail.clear();
            }
            if tail.len() == TAIL_ENTRIES {
                tail.pop_front();
            }
            if entry.encoded_len() > TAIL_ENTRY_BYTES_MAX {
                tail.clear();
            } else {
                tail.push_back(entry.clone());
            }
        }
    }

    /// The entries of `range` where the tail holds its start, as many as fit `bytes_max` but at least one.
    fn entries_of_tail(&self, range: &Range<u64>, bytes_max: usize) -> Option<Vec<EntryRecord>> {
        let tail = self.shared.tail.lock();
        let oldest = tail.front()?.position.index;
        let skipped = usize::try_from(range.start.checked_sub(oldest)?).ok()?;
        let mut bytes = 0_usize;
        let wanted = tail.iter().skip(skipped).enumerate().take_while(|(number, entry)| {
            bytes += entry.encoded_len();
            entry.position.index < range.end && (*number == 0 || bytes <= bytes_max)
        });
        let entries: Vec<_> = wanted.map(|(_, entry)| entry.clone()).collect();
        (!entries.is_empty()).then_some(entries)
    }

    /// Calls `callback` once all that was written until now is durable.
    pub(crate) fn sync_then(&self, callback: Callback) {
        self.shared.syncer.request(callback);
    }

    /// The entries of `range` that the log holds, without holes, as many as fit `bytes_max` but at least one.
    pub(crate) fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<EntryRecord>, StoreError> {
        let db = self.db()?;
        let mut entries: Vec<EntryRecord> = Vec::new();
        let mut bytes = 0_usize;
        // What is purged stays on disk until RocksDB drops it for good, and must not be seen again.
        let start = self
            .bounds()
            .purged
            .map_or(range.start, |purged| range.start.max(purged.index + 1));
        if start >= range.end {
            return Ok(entries);
        }
        if let Some(entries) = self.entries_of_tail(&(start..range.end), bytes_max) {
            return Ok(entries);
        }
        for item in db.iterator(IteratorMode::From(&entry_key(start), Direction::Forward)) {
            let (key, value) = item.map_err(|error| StoreError::from_rocksdb(WHAT_ENTRY, &error))?;
            let Some(index) = entry_index(&key).filter(|index| *index < range.end) else {
                break;
            };
            if !entries.is_empty() && bytes + value.len() > bytes_max {
                break;
            }
            bytes += value.len();
            let entry = read_entry(index, Bytes::from(value))?;
            check_order(entries.last(), &entry)?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Removes all entries from `index` on; durable on return.
    pub(crate) fn truncate_from(&self, index: u64) -> Result<(), StoreError> {
        self.shared.tail.lock().clear();
        let mut batch = WriteBatch::default();
        batch.delete_range(entry_key(index), entry_key(u64::MAX));
        self.write(batch, "truncating the log")?;
        let db = self.db()?;
        *self.shared.bounds.lock() = find_bounds(&db)?;
        self.sync()
    }

    /// Removes all entries up to `upto`; durable with the next sync. Refused where the state on disk is not that far.
    pub(crate) fn purge(&self, upto: LogPosition) -> Result<(), StoreError> {
        let flushed = self.shared.flushed_index.load(Ordering::Acquire);
        if upto.index > flushed {
            return Err(StoreError::NotFlushed {
                asked: upto.index,
                flushed,
            });
        }
        let mut batch = WriteBatch::default();
        batch.put(PURGED, seal(&upto));
        batch.delete_range(entry_key(0), entry_key(upto.index + 1));
        self.write(batch, "purging the log")?;
        let mut bounds = self.shared.bounds.lock();
        bounds.purged = Some(upto);
        if bounds.last.is_none_or(|last| last.index <= upto.index) {
            bounds.last = Some(upto);
        }
        drop(bounds);
        // Whole files go at once; the rest goes with compaction.
        let dropped = self.db()?.delete_file_in_range(entry_key(0), entry_key(upto.index));
        dropped.map_err(|error| StoreError::from_rocksdb("dropping purged log files", &error))
    }

    /// The newest vote.
    pub(crate) fn vote(&self) -> Result<Option<VoteRecord>, StoreError> {
        vote_of(&*self.db()?)
    }

    /// Writes the vote; durable only after a sync.
    pub(crate) fn put_vote(&self, vote: &VoteRecord) -> Result<(), StoreError> {
        self.put(VOTE, vote, "writing the Raft vote")
    }

    /// How far the log was known to be committed: a lower bound.
    pub(crate) fn committed(&self) -> Result<Option<LogPosition>, StoreError> {
        if let Some(committed) = *self.shared.committed.lock() {
            return Ok(Some(committed));
        }
        self.read(COMMITTED, "the log's committed position")
    }

    /// Notes how far the log is committed; written with the next entries, or when the log is closed.
    pub(crate) fn note_committed(&self, committed: LogPosition) {
        *self.shared.committed.lock() = Some(committed);
    }

    /// Syncs and closes the log. Whatever is asked of it then is answered with [`StoreError::Closed`].
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        let noted = self.shared.committed.lock().take();
        let written = noted.map_or(Ok(()), |committed| {
            self.put(COMMITTED, &committed, "writing the log's committed position")
        });
        let synced = self.sync();
        self.shared.syncer.stop();
        drop(self.shared.db.write().take());
        // Both are done, whatever becomes of the first.
        written.and(synced)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let (callback, wait) = blocking_callback();
        self.sync_then(callback);
        wait.recv().unwrap_or(Err(StoreError::Closed))
    }

    fn db(&self) -> Result<Arc<DB>, StoreError> {
        self.shared.db.read().clone().ok_or(StoreError::Closed)
    }

    fn write(&self, batch: WriteBatch, what: &'static str) -> Result<(), StoreError> {
        self.db()?
            .write(batch)
            .map_err(|error| StoreError::from_rocksdb(what, &error))
    }

    fn put<R: Record>(&self, key: &[u8], record: &R, what: &'static str) -> Result<(), StoreError> {
        self.db()?
            .put(key, seal(record))
            .map_err(|error| StoreError::from_rocksdb(what, &error))
    }

    fn read<R: Record>(&self, key: &[u8], what: &'static str) -> Result<Option<R>, StoreError> {
        read_record(&*self.db()?, key, what)
    }
}

fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY_TAG; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

pub(super) fn entry_index(key: &[u8]) -> Option<u64> {
    let (tag, index) = key.split_first()?;
    (*tag == ENTRY_TAG).then_some(())?;
    Some(u64::from_be_bytes(index.try_into().ok()?))
}

pub(super) fn read_entry(index: u64, value: Bytes) -> Result<EntryRecord, StoreError> {
    let entry: EntryRecord = open_entry(&value)?;
    if entry.position.index != index {
        let detail = format!("under index {index} stands the entry of index {}", entry.position.index);
        return Err(StoreError::Corrupt {
            what: WHAT_ENTRY,
            detail,
        });
    }
    Ok(entry)
}

fn open_entry(value: &Bytes) -> Result<EntryRecord, StoreError> {
    open(value).map_err(|error| StoreError::from_envelope(WHAT_ENTRY, &error))
}

fn check_order(previous: Option<&EntryRecord>, next: &EntryRecord) -> Result<(), StoreError> {
    match previous {
        Some(previous) if previous.position.index + 1 != next.position.index => {
            let (from, to) = (previous.position.index, next.position.index);
            let detail = format!("entries between {from} and {to} are missing");
            Err(StoreError::Corrupt {
                what: "the Raft log",
                detail,
            })
        }
        Some(_) | None => Ok(()),
    }
}

fn read_record<R: Record>(db: &DB, key: &[u8], what: &'static str) -> Result<Option<R>, StoreError> {
    let stored = db
        .get_pinned(key)
        .map_err(|error| StoreError::from_rocksdb(what, &error))?;
    stored.map(|bytes| decode(what, &bytes)).transpose()
}

/// Whose log `db` holds.
pub(super) fn server_of(db: &DB) -> Result<Option<NodeId>, StoreError> {
    let found: Option<IdentityRecord> = read_record(db, IDENTITY, "the log's identity")?;
    Ok(found.map(|found| NodeId::new(found.server)))
}

/// The newest vote in `db`.
pub(super) fn vote_of(db: &DB) -> Result<Option<VoteRecord>, StoreError> {
    read_record(db, VOTE, "the Raft vote")
}

/// Refuses a log that ends before what was synced.
fn check_end(db: &DB, watermark: &Watermark) -> Result<(), StoreError> {
    let last = db.latest_sequence_number();
    match watermark.noted() {
        Some(noted) if last < noted => Err(StoreError::Corrupt {
            what: "the Raft log",
            detail: format!("it ends at change {last}, and {noted} were synced: its end is lost"),
        }),
        Some(_) | None => Ok(()),
    }
}

fn check_identity(db: &DB, server: NodeId, directory: &Path) -> Result<(), StoreError> {
    match server_of(db)? {
        Some(found) if found == server => Ok(()),
        Some(found) => Err(StoreError::OtherServer { found, asked: server }),
        None => {
            let state = newest_generation(directory);
            if let Ok(state) = state {
                return Err(StoreError::Corrupt {
                    what: "the Raft log",
                    detail: format!("it is missing or empty, though {} holds a state", state.display()),
                });
            }
            let record = IdentityRecord { server: server.value() };
            // Synced, so that a state is never there without it.
            db.put(IDENTITY, seal(&record))
                .and_then(|()| db.flush_wal(true))
                .map_err(|error| StoreError::from_rocksdb("writing the log's identity", &error))
        }
    }
}

/// Where the log in `db` begins and ends.
pub(super) fn find_bounds(db: &DB) -> Result<LogBounds, StoreError> {
    let purged: Option<LogPosition> = read_record(db, PURGED, "the log's purged position")?;
    let mut newest = db.iterator(IteratorMode::From(&entry_key(u64::MAX), Direction::Reverse));
    let last = match newest
        .next()
        .transpose()
        .map_err(|error| StoreError::from_rocksdb(WHAT_ENTRY, &error))?
    {
        Some((key, value)) => match entry_index(&key) {
            Some(index) => Some(read_entry(index, Bytes::from(value))?.position),
            None => None,
        },
        None => None,
    };
    let last = last
        .filter(|last| purged.is_none_or(|purged| last.index > purged.index))
        .or(purged);
    Ok(LogBounds { purged, last })
}
