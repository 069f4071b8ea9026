//! Replicas that apply the same entries: two in memory and one over RocksDB, restarted at different times.
//!
//! Invariant: after every entry all of them have given the same replies and reached the same chained hash.

use cairn_common::{
    envelope::{open, seal},
    wire::command::{EntryBatch, WriteReply},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    core::{
        self,
        view::{MemoryView, View, ViewError, Write},
    },
    store::{LogPosition, SharedCache, StateStore, StoreError},
};

/// The chained hash as docs/formats.md says it.
type Chain = [u8; 32];

fn chained(previous: Chain, writes: &[Write]) -> Chain {
    let mut bytes = previous.to_vec();
    for write in writes {
        bytes.push(write.family as u8);
        bytes.extend((write.key.len() as u32).to_le_bytes());
        bytes.extend(&write.key);
        bytes.push(u8::from(write.value.is_some()));
        if let Some(value) = &write.value {
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(value);
        }
    }
    *blake3::hash(&bytes).as_bytes()
}

/// The state in memory with its chained hash.
#[derive(Clone, Default)]
struct InMemory {
    view: MemoryView,
    chain: Chain,
    /// Entries applied.
    entries: usize,
}

impl InMemory {
    fn apply(&mut self, batch: &EntryBatch) -> Result<Vec<WriteReply>, String> {
        let log_index = self.entries as u64 + 1;
        let applied = core::apply(&self.view, log_index, batch).map_err(|error| error.to_string())?;
        self.chain = chained(self.chain, &applied.writes);
        self.view.commit(applied.writes);
        self.entries += 1;
        Ok(applied.replies)
    }
}

/// A store on disk.
struct OnDisk {
    store: StateStore,
    directories: tempfile::TempDir,
    place: PathBuf,
    places: u32,
}

/// The replicas, and the log that they follow.
#[derive(Default)]
pub(super) struct Replicas {
    first: InMemory,
    second: InMemory,
    /// What the second has on its disk.
    flushed: InMemory,
    third: Option<OnDisk>,
    log: Vec<Vec<u8>>,
}

impl Replicas {
    /// With a store on disk, or without.
    pub(super) fn new(on_disk: bool) -> Self {
        Self {
            third: on_disk.then(OnDisk::new),
            ..Self::default()
        }
    }

    /// The newest state.
    pub(super) fn view(&self) -> &MemoryView {
        &self.first.view
    }

    pub(super) fn log_index(&self) -> u64 {
        self.log.len() as u64
    }

    /// Applies an entry everywhere and gives its replies.
    pub(super) fn apply(&mut self, batch: &EntryBatch) -> Result<Vec<WriteReply>, String> {
        let bytes = seal(batch);
        let decoded: EntryBatch = open(&bytes).map_err(|error| error.to_string())?;
        if decoded != *batch {
            return Err("an entry is another after it was encoded and decoded".to_owned());
        }
        self.log.push(bytes);
        let replies = self.first.apply(batch)?;
        let others = self.second.apply(&decoded)?;
        if others != replies || self.second.chain != self.first.chain {
            return Err(format!("replicas differ: {replies:?} and {others:?}"));
        }
        if let Some(third) = &mut self.third {
            let others = third.apply(self.log.len() as u64, &decoded)?;
            let chain = third.store.applied().chain;
            if others != replies || chain != self.first.chain {
                return Err(format!("the replica on disk differs: {replies:?} and {others:?}"));
            }
        }
        Ok(replies)
    }

    /// Something happens to a replica that must not change what it knows.
    pub(super) fn disturb(&mut self, choice: u64) -> Result<(), String> {
        match choice % 4 {
            0 => self.flushed = self.second.clone(),
            1 => {
                self.second = self.flushed.clone();
                for bytes in &self.log[self.second.entries..] {
                    let batch: EntryBatch = open(bytes).map_err(|error| error.to_string())?;
                    self.second.apply(&batch)?;
                }
            }
            _ => {
                if let Some(third) = &mut self.third {
                    third
                        .disturb(choice / 4, &self.log)
                        .map_err(|error| error.to_string())?;
                }
            }
        }
        let third = self.third.as_ref().map(|third| third.store.applied());
        if self.second.chain != self.first.chain || third.is_some_and(|applied| applied.chain != self.first.chain) {
            return Err("a replica has another chained hash after a restart".to_owned());
        }
        Ok(())
    }

    /// Lets `ask` look at the newest state of each replica.
    pub(super) fn each_view(&self, ask: &mut dyn FnMut(&dyn View) -> Result<(), String>) -> Result<(), String> {
        ask(&self.first.view)?;
        if let Some(third) = &self.third {
            let asked: Result<Result<(), String>, StoreError> = third.store.read(|view, _| Ok(ask(view)));
            asked.map_err(|error| error.to_string())??;
        }
        Ok(())
    }
}

impl OnDisk {
    fn new() -> Self {
        let directories = tempfile::tempdir().expect("a directory");
        let place = directories.path().join("0");
        Self {
            store: open_store(&place).expect("a new store opens"),
            directories,
            place,
            places: 0,
        }
    }

    fn next_place(&mut self) -> PathBuf {
        self.places += 1;
        self.directories.path().join(self.places.to_string())
    }

    fn apply(&self, log_index: u64, batch: &EntryBatch) -> Result<Vec<WriteReply>, String> {
        let applied: Result<_, StoreError> = self.store.read_newest(|view| Ok(core::apply(view, log_index, batch)));
        let applied = applied
            .map_err(|error| error.to_string())?
            .map_err(|error: ViewError| error.to_string())?;
        let position = LogPosition {
            term: 1,
            node: 1,
            index: log_index,
        };
        let committed = self.store.commit(position, batch.time_ms, applied.writes, None);
        committed.map_err(|error| error.to_string())?;
        Ok(applied.replies)
    }

    /// A flush, a restart, a kill, or a snapshot installed elsewhere; then the log is followed to its end.
    fn disturb(&mut self, choice: u64, log: &[Vec<u8>]) -> Result<(), StoreError> {
        match choice % 4 {
            0 => self.store.flush()?,
            1 => {
                self.store.close()?;
                self.store = open_store(&self.place)?;
            }
            2 => {
                let place = self.next_place();
                copy_at_rest(&self.place, &place);
                self.move_to(place)?;
            }
            _ => {
                let checkpoint = self.store.checkpoint()?;
                let place = self.next_place();
                let other = open_store(&place)?;
                other.install(&checkpoint)?;
                other.close()?;
                self.move_to(place)?;
            }
        }
        for log_index in self.store.applied().index() + 1..=log.len() as u64 {
            let batch: EntryBatch = open(&log[log_index as usize - 1]).expect("an entry that was applied before");
            self.apply(log_index, &batch).expect("an entry that was applied before");
        }
        Ok(())
    }

    fn move_to(&mut self, place: PathBuf) -> Result<(), StoreError> {
        self.store = open_store(&place)?;
        let left = std::mem::replace(&mut self.place, place);
        fs::remove_dir_all(left).expect("the directory of the store that was left");
        Ok(())
    }
}

/// Copies a store as a kill would leave it: at a moment when nothing writes to it in the background.
fn copy_at_rest(from: &Path, to: &Path) {
    for _ in 0..1000 {
        let before = files_of(from);
        let copied = before.iter().all(|(file, _)| {
            let target = to.join(file);
            fs::create_dir_all(target.parent().expect("a file lies in a directory")).expect("a directory");
            fs::copy(from.join(file), target).is_ok()
        });
        if copied && files_of(from) == before && files_of(to) == before {
            return;
        }
        // A file may have gone meanwhile: from the start then, until the store is at rest.
        fs::remove_dir_all(to).expect("what was copied");
    }
    panic!("the store is never at rest");
}

/// All files below a directory, with their sizes.
fn files_of(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(at) = directories.pop() {
        for entry in fs::read_dir(&at).expect("a listing") {
            let path = entry.expect("an entry").path();
            let Ok(metadata) = path.metadata() else { continue };
            if metadata.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(directory).expect("a path below the directory");
                files.insert(name.to_owned(), metadata.len());
            }
        }
    }
    files
}

fn open_store(place: &Path) -> Result<StateStore, StoreError> {
    StateStore::open(place, &SharedCache::new(64 << 20), Arc::new(AtomicU64::new(0)))
}
