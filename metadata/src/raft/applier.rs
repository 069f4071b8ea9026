//! Applies committed entries: the machine decides, the store writes, the waiting proposer hears.
//!
//! It must never skip an entry or go on after a failed one: the first failure stops the server. Invariant: a reply is sent
//! only after its entry's writes are in the store.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cairn_common::{
    checksum::Hash,
    envelope,
    wire::{
        command::EntryBatch,
        file::{AttributesQuery, FileAnswer, FileAttributes, FileId, FileQuery, FileQuestion, FileReply},
        query::{Answer, Query},
    },
};
use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
    type_config::alias::{SnapshotMetaOf, SnapshotOf},
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    log_storage::blocking,
    machine::Machine,
    observer::{AppliedEntry, HeldReply, Observer},
    types::{Entry, LogId, Members, TypeConfig, log_id_of, members_of, membership_record, position_of},
};
use crate::{
    core::view::{Family, ViewError, Write},
    store::{Checkpoint, StateStore, StoreError},
};

/// Entries of up to this many bytes together are applied on the spot: a millisecond at most. More go to another thread.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Newest entries whose chained hashes are kept for comparison: members are seldom further apart than this.
const CHAINS_KEPT: usize = 4096;

/// Bytes of entries gathered before they are applied.
const GATHER_BYTES_MAX: usize = 1 << 20;

/// How far the applier is, for those who wait for it.
pub(crate) struct ApplyProgress {
    index: watch::Sender<Option<u64>>,
    bytes: AtomicU64,
    commands: AtomicU64,
    snapshot_due: Notify,
    garbage_due: Notify,
    bytes_max: u64,
    commands_max: u64,
    /// Of the newest entries: their index, and the chained hash after them.
    chains: Mutex<VecDeque<(u64, Hash)>>,
}

impl ApplyProgress {
    /// Starts at `index`. A snapshot is due whenever this many bytes or commands have been applied since the last.
    pub(crate) fn new(index: Option<u64>, bytes_max: u64, commands_max: u64) -> Self {
        let (bytes, commands) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            index: watch::Sender::new(index),
            bytes,
            commands,
            snapshot_due: Notify::new(),
            garbage_due: Notify::new(),
            bytes_max,
            commands_max,
            chains: Mutex::default(),
        }
    }

    /// The chained hash after entry `index`, where that is among the newest.
    pub(crate) fn chain_at(&self, index: u64) -> Option<Hash> {
        let chains = self.chains.lock();
        let at = chains.binary_search_by_key(&index, |(at, _)| *at).ok()?;
        chains.get(at).map(|(_, chain)| *chain)
    }

    /// Waits until entry `index` has been applied.
    pub(crate) async fn wait_for(&self, index: u64) {
        let mut progress = self.index.subscribe();
        // The sender lives as long as `self`, so there is no error to meet.
        let _ = progress.wait_for(|applied| *applied >= Some(index)).await;
    }

    /// Waits until a snapshot is due.
    pub(crate) async fn snapshot_due(&self) {
        self.snapshot_due.notified().await;
    }

    /// Waits until there may be garbage to look at.
    pub(crate) async fn garbage_due(&self) {
        self.garbage_due.notified().await;
    }

    /// Notes that there may be.
    pub(crate) fn garbage_is_due(&self) {
        self.garbage_due.notify_one();
    }

    fn note_chain(&self, index: u64, chain: Hash) {
        let mut chains = self.chains.lock();
        if chains.len() == CHAINS_KEPT {
            chains.pop_front();
        }
        chains.push_back((index, chain));
    }

    fn advance(&self, index: u64, bytes: usize, commands: usize) {
        self.index.send_replace(Some(index));
        let bytes = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let commands = self.commands.fetch_add(commands as u64, Ordering::Relaxed) + commands as u64;
        if bytes >= self.bytes_max || commands >= self.commands_max {
            self.bytes.store(0, Ordering::Relaxed);
            self.commands.store(0, Ordering::Relaxed);
            self.snapshot_due.notify_one();
        }
    }
}

/// openraft's state machine.
#[derive(Clone)]
pub(crate) struct Applier {
    store: Arc<StateStore>,
    machine: Arc<dyn Machine>,
    observer: Arc<dyn Observer>,
    progress: Arc<ApplyProgress>,
}

type Work = (Entry, Option<ApplyResponder<TypeConfig>>);

impl Applier {
    /// Applies to `store` what `machine` decides, and tells `observer` of it.
    pub(crate) fn new(
        store: Arc<StateStore>,
        machine: Arc<dyn Machine>,
        observer: Arc<dyn Observer>,
        progress: Arc<ApplyProgress>,
    ) -> Self {
        Self {
            store,
            machine,
            observer,
            progress,
        }
    }

    async fn apply_gathered(&self, work: Vec<Work>, bytes: usize) -> io::Result<()> {
        if bytes <= INLINE_BYTES_MAX {
            return Ok(self.apply_all(work)?);
        }
        let applier = self.clone();
        blocking(move || applier.apply_all(work)).await
    }

    fn apply_all(&self, work: Vec<Work>) -> Result<(), StoreError> {
        for (entry, responder) in work {
            let replies = self.apply_entry(&entry, responder.is_some())?;
            if let Some(responder) = responder {
                responder.send(replies);
            }
        }
        Ok(())
    }

    fn apply_entry(&self, entry: &Entry, is_awaited: bool) -> Result<Vec<HeldReply>, StoreError> {
        let position = position_of(entry.log_id);
        match &entry.payload {
            EntryPayload::Blank => self.store.commit(position, 0, Vec::new(), None)?,
            EntryPayload::Membership(members) => {
                let record = membership_record(Some(entry.log_id), members);
                self.store.commit(position, 0, Vec::new(), Some(record))?;
            }
            EntryPayload::Normal(bytes) => {
                let batch: EntryBatch = envelope::open(&bytes.0)
                    .map_err(|error| StoreError::from_envelope("a batch of commands", &error))?;
                let applied = self.store.read_newest(|view| {
                    self.machine
                        .apply(view, position.index, &batch)
                        .map_err(|error| apply_error(&error))
                })?;
                let queues_garbage = applied.writes.iter().any(is_garbage);
                self.store.commit(position, batch.time_ms, applied.writes, None)?;
                if queues_garbage {
                    self.progress.garbage_is_due();
                }
                self.note_chain(position.index)?;
                self.progress
                    .advance(position.index, bytes.0.len(), batch.requests.len());
                let entry = AppliedEntry {
                    term: position.term,
                    log_index: position.index,
                    batch: &batch,
                    touched: &applied.touched,
                    is_awaited,
                    attributes: &|file| self.attributes(position.index, file),
                };
                return Ok(self.observer.applied(&entry, applied.replies));
            }
        }
        self.note_chain(position.index)?;
        self.progress.advance(position.index, 0, 0);
        Ok(Vec::new())
    }

    /// An inode as it is after entry `index`.
    fn attributes(&self, index: u64, file: FileId) -> Option<FileAttributes> {
        let FileId { bucket, inode } = file;
        let question = Some(FileQuestion::Attributes(AttributesQuery { inode }));
        let query = Query::File(FileQuery { bucket, question });
        let answered = self.store.read_newest(|view| {
            self.machine
                .answer(view, index, &query)
                .map_err(|error| apply_error(&error))
        });
        match answered.ok()?.answer? {
            Answer::File(FileAnswer {
                reply: Some(FileReply::Attributes(attributes)),
            }) => Some(attributes),
            _ => None,
        }
    }

    fn note_chain(&self, index: u64) -> Result<(), StoreError> {
        self.progress.note_chain(index, self.store.applied().chain_hash()?);
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Members)> {
        Ok((
            self.store.applied().position.map(log_id_of),
            members_of(&self.store.membership()?)?,
        ))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut work = Vec::new();
        let mut bytes = 0;
        while let Some(item) = entries.next().await {
            let item = item?;
            bytes += payload_bytes(&item.0);
            work.push(item);
            if bytes >= GATHER_BYTES_MAX {
                self.apply_gathered(std::mem::take(&mut work), bytes).await?;
                bytes = 0;
            }
        }
        self.apply_gathered(work, bytes).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // Nothing is applied until this returns, so the checkpoint is the state at one known entry.
        let store = Arc::clone(&self.store);
        Builder {
            made: Some(blocking(move || store.checkpoint()).await),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<TypeConfig>, snapshot: Checkpoint) -> io::Result<()> {
        let found = snapshot.applied.position.map(log_id_of);
        if found != meta.last_log_id {
            let detail = format!("it holds the state at {found:?}, not at {:?}", meta.last_log_id);
            return Err(StoreError::Corrupt {
                what: "a snapshot of the metadata",
                detail,
            }
            .into());
        }
        let store = Arc::clone(&self.store);
        blocking(move || store.install(&snapshot)).await?;
        self.progress.chains.lock().clear();
        self.progress.index.send_replace(found.map(|log_id| log_id.index));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, Checkpoint>>> {
        let store = Arc::clone(&self.store);
        let newest = blocking(move || store.newest_checkpoint()).await?;
        newest.map(|checkpoint| Ok(snapshot_of(checkpoint)?)).transpose()
    }
}

/// Hands over a checkpoint that was made while nothing was applied.
pub(crate) struct Builder {
    made: Option<io::Result<Checkpoint>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, Checkpoint>> {
        let made = self
            .made
            .take()
            .ok_or_else(|| io::Error::other("a snapshot is built once for each builder"))?;
        Ok(snapshot_of(made?)?)
    }
}

fn snapshot_of(checkpoint: Checkpoint) -> Result<SnapshotOf<TypeConfig, Checkpoint>, StoreError> {
    let last_log_id = checkpoint.applied.position.map(log_id_of);
    let last_membership = members_of(&checkpoint.membership)?;
    let meta = openraft::SnapshotMeta {
        last_log_id,
        last_membership,
    };
    Ok(openraft::Snapshot {
        meta,
        snapshot: checkpoint,
    })
}

/// Whether a write queues something to be released or deleted.
fn is_garbage(write: &Write) -> bool {
    write.family == Family::Garbage && write.value.is_some()
}

fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

fn apply_error(error: &ViewError) -> StoreError {
    match error {
        ViewError::Storage(detail) => StoreError::Io {
            what: "reading the metadata state",
            detail: detail.clone(),
        },
        ViewError::Corrupt { .. } => StoreError::Corrupt {
            what: "the metadata state",
            detail: error.to_string(),
        },
    }
}
