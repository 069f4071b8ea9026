//! Makes a store out of a backup: a group of one, with deletion held.
//!
//! What was written after the backup is not in it, so chunks of it look like garbage: that is why nothing is deleted before
//! an operator has looked. It must never touch a store that is there. Invariant: the store appears under its name whole and
//! durable; its generation is one that the old store never used, so no session id and no chunk id comes twice.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use cairn_common::{
    envelope::{open, seal},
    ids::NodeId,
};

use super::{
    backup::{BackupInfo, beside, read_info, sync_parent, unpack},
    error::{MaintenanceError, io_error},
};
use crate::{
    core::view::{Family, ViewError, Write},
    record::system::{STORE_KEY, StoreRecord},
    store::{
        LogStore, MemberRecord, MembershipRecord, OFFLINE_MEMORY_BYTES, SharedCache, StateStore, StoreError,
        VoteRecord, VoterSet, generation_path,
    },
};

/// A store that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The backup it was made of.
    pub backup: BackupInfo,
    /// The generation of session ids from now on.
    pub generation: u32,
}

/// Makes the store of server `server` in `directory`, which is empty or not there, out of the backup in `file`.
pub fn restore(file: &Path, directory: &Path, server: NodeId) -> Result<Restored, MaintenanceError> {
    let is_free = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(io_error(directory)(error)),
    };
    if !is_free {
        return Err(MaintenanceError::Exists(directory.to_owned()));
    }
    let aside = beside(directory, ".restoring");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_error(&aside)(error)),
        Ok(()) | Err(_) => {}
    }
    let (cache, flushed_index) = (SharedCache::new(OFFLINE_MEMORY_BYTES), Arc::new(AtomicU64::new(0)));
    // The log first, as at every first start: a state without one means that the log was lost.
    let log = LogStore::open(&aside, server, &cache, Arc::clone(&flushed_index), Box::new(|_| {}))?;
    let state = generation_path(&aside, 1);
    fs::create_dir_all(&state).map_err(io_error(&state))?;
    unpack(file, &state)?;
    let generation = begin_anew(&StateStore::open(&aside, &cache, flushed_index)?, &log, server)?;
    // Everything within is synced; a directory takes the place of an empty one.
    sync_parent(&state)?;
    sync_parent(&aside.join("state"))?;
    fs::rename(&aside, directory).map_err(io_error(directory))?;
    sync_parent(directory)?;
    Ok(Restored {
        backup: read_info(file)?,
        generation,
    })
}

/// Makes `state` that of a group of `server` alone, `log` what goes on behind it, and closes both.
fn begin_anew(state: &StateStore, log: &LogStore, server: NodeId) -> Result<u32, MaintenanceError> {
    let position = state.applied().position.ok_or_else(|| StoreError::Corrupt {
        what: "the state in the backup",
        detail: "it holds no entry at all".to_owned(),
    })?;
    let mut record = store_record(state)?;
    record.generation += 1;
    record.deletion_held = true;
    let write = Write {
        family: Family::System,
        key: STORE_KEY.to_vec(),
        value: Some(seal(&record)),
    };
    let membership = MembershipRecord {
        position: Some(position),
        voter_sets: vec![VoterSet {
            voters: vec![server.value()],
        }],
        members: vec![MemberRecord {
            node: server.value(),
            address: String::new(),
        }],
    };
    state.begin_anew(&[write], &membership)?;
    // The next leader's term is above that of every entry in the state.
    log.put_vote(&VoteRecord {
        term: position.term,
        node: server.value(),
        committed: false,
    })?;
    log.purge(position)?;
    log.put_committed(&position)?;
    log.close()?;
    state.close()?;
    Ok(record.generation)
}

fn store_record(state: &StateStore) -> Result<StoreRecord, MaintenanceError> {
    let corrupt = |detail: String| StoreError::Corrupt {
        what: "the state in the backup",
        detail,
    };
    let found: Result<Option<Vec<u8>>, ViewError> = state.read(|view, _| view.get(Family::System, STORE_KEY));
    let found = found.map_err(|error| corrupt(error.to_string()))?;
    let opened = found.map_or_else(|| Ok(StoreRecord::default()), |bytes| open(&bytes));
    Ok(opened.map_err(|error| corrupt(error.to_string()))?)
}
