//! The disk of a metadata server: one RocksDB database for the Raft log, one for the state.
//!
//! ```text
//! DIR/log/            the Raft log: synced before it is acknowledged
//! DIR/state/N/        the state, generation N: the highest is the one in use; a new one is a snapshot installed
//! DIR/snapshots/N/    a checkpoint of the state at log index N (20 digits)
//! DIR/backups/N/      a checkpoint that is being backed up
//! DIR/incoming/N/     a snapshot of another server, as far as it has come
//! ```
//!
//! This module knows bytes and files; it knows nothing of Raft's rules and nothing of what the records mean, and it must
//! never answer from a guess: what cannot be read is an error that says what to do. Invariant: the state's writes skip
//! RocksDB's write-ahead log and reach the disk together with the log position they belong to, so what is found after a
//! crash is the state exactly at that position, and the log from there on brings it up to date.

mod chain;
mod checkpoints;
mod directory;
mod error;
mod fetch;
mod hot;
mod log;
mod manifest;
mod offline;
mod options;
mod pending;
mod pins;
mod record;
mod settler;
mod state;
mod syncer;
mod transfer;
mod view;
mod watermark;

pub(crate) use directory::{generation_path, newest_generation};
pub use error::StoreError;
pub use fetch::{FetchError, Progress};
pub(crate) use fetch::{fetch, fetch_checkpoint};
pub(crate) use log::LogStore;
pub(crate) use manifest::{check as check_manifest, load_or_make as checkpoint_manifest};
pub(crate) use offline::{OFFLINE_MEMORY_BYTES, OfflineLog, OfflineState, Records};
pub(crate) use options::SharedCache;
pub(crate) use pins::{CheckpointName, PinError};
pub(crate) use record::{
    AppliedRecord, BlankRecord, EntryKind, EntryRecord, LogPosition, MemberRecord, MembershipRecord, VoteRecord,
    VoterSet,
};
pub(crate) use state::{Checkpoint, StateStore};
pub(crate) use syncer::SyncObserver;
pub(crate) use transfer::{CheckpointReader, ReadError};

#[cfg(test)]
pub(crate) mod tests;
