//! Makes a store out of a backup: a group of one, with deletion held.
//!
//! What was written after the backup is not in it, so chunks of it look like garbage: that is why nothing is deleted before
//! an operator has looked. It must never touch a store that is there. Invariant: the store appears under its name whole and
//! durable; its generation and its map epochs are above all that the old store ever used, and every session of the old store
//! has ended. So no session id and no chunk id comes twice, and nothing that was under way is accepted again.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cairn_common::{
    envelope::{Record, open, seal},
    ids::{DeviceId, NodeId},
    wire::{
        inventory::DeviceLoss,
        map::{DeviceMessage, MapMessage},
    },
};

use super::{
    backup::{BackupInfo, beside, read_info, sync_parent, unpack},
    error::{MaintenanceError, io_error},
};
use crate::{
    core::{
        GENERATION_MAX,
        view::{Family, ViewError, Write},
    },
    record::{
        garbage::{self, HELD_PREFIX},
        loss,
        system::{MAP_KEY, STORE_KEY, StoreRecord},
    },
    store::{
        LogStore, MemberRecord, MembershipRecord, OFFLINE_MEMORY_BYTES, SharedCache, StateStore, StoreError,
        VoteRecord, VoterSet, generation_path,
    },
};

/// 2026-01-01 in UTC, since 1970.
const BEGIN_OF_2026: Duration = Duration::from_secs(1_767_225_600);
/// Records that one step changes: few enough for memory, enough that steps cost nothing.
const BATCH_RECORDS: usize = 1 << 14;
/// Queue numbers of files that are let go: behind those that an entry gives out.
const LET_GO_FROM: u32 = 1 << 31;

/// A store that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The backup it was made of.
    pub backup: BackupInfo,
    /// The generation of session ids from now on.
    pub generation: u32,
}

/// Makes the store of server `server` in `directory`, which is empty or not there, out of the backup in `file`.
///
/// Every restore begins a generation of its own, by the minute: restore a backup again a minute later at the earliest.
pub fn restore(file: &Path, directory: &Path, server: NodeId) -> Result<Restored, MaintenanceError> {
    restore_at(file, directory, server, minutes_now())
}

/// Restores at a time in minutes since 2026 began.
pub(crate) fn restore_at(
    file: &Path,
    directory: &Path,
    server: NodeId,
    minutes: u32,
) -> Result<Restored, MaintenanceError> {
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
    let generation = begin_anew(&StateStore::open(&aside, &cache, flushed_index)?, &log, server, minutes)?;
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
fn begin_anew(state: &StateStore, log: &LogStore, server: NodeId, minutes: u32) -> Result<u32, MaintenanceError> {
    let position = state
        .applied()
        .position
        .ok_or_else(|| corrupt("it holds no entry at all"))?;
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
    for family in [Family::Session, Family::Reply, Family::Hold, Family::Lock] {
        clear(state, &membership, family)?;
    }
    let_go(state, &membership, position.index)?;
    let mut store: StoreRecord = read(state, STORE_KEY)?.unwrap_or_default();
    if store.generation >= GENERATION_MAX {
        return Err(MaintenanceError::NoGeneration(store.generation));
    }
    store.generation = minutes.clamp(store.generation + 1, GENERATION_MAX);
    store.deletion_held = true;
    (store.sessions, store.mounts) = (0, 0);
    let mut writes = Vec::new();
    let map: Option<MapMessage> = read(state, MAP_KEY)?;
    if let (Some(mut map), Some(head)) = (map, &mut store.map) {
        // Nothing of the time that is undone meets an epoch of the time to come. The rows stay those of the epoch before.
        map.epoch = (map.epoch + 1).max(u64::from(store.generation) << u32::BITS);
        (head.epoch, head.first_epoch, head.last_loss_epoch) = (map.epoch, map.epoch, map.epoch);
        // What devices hold is that of the time that is undone: each is looked through before anyone calls the redundancy full.
        writes.extend(map.devices.iter().map(|device| to_be_surveyed(device, map.epoch)));
        writes.push(put(Family::System, MAP_KEY.to_vec(), seal(&map)));
    }
    writes.push(put(Family::System, STORE_KEY.to_vec(), seal(&store)));
    state.begin_anew(&writes, &membership)?;
    // The next leader's term is above that of every entry in the state.
    log.put_vote(&VoteRecord {
        term: position.term,
        node: server.value(),
        committed: false,
    })?;
    log.purge(position)?;
    log.note_committed(position);
    log.close()?;
    state.close()?;
    Ok(store.generation)
}

fn to_be_surveyed(device: &DeviceMessage, epoch: u64) -> Write {
    let loss = DeviceLoss {
        device: device.id,
        incarnation: device.incarnation,
        epoch,
        surveyed: false,
    };
    put(Family::System, loss::key(DeviceId::new(device.id)), seal(&loss))
}

/// Minutes since 2026 began, UTC: grows from restore to restore, also of one backup.
fn minutes_now() -> u32 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_2026 = since_1970.saturating_sub(BEGIN_OF_2026);
    u32::try_from(since_2026.as_secs() / 60).unwrap_or(u32::MAX)
}

/// Removes all records of a family. What the sessions of the old store left there is nobody's any more.
fn clear(state: &StateStore, membership: &MembershipRecord, family: Family) -> Result<(), MaintenanceError> {
    loop {
        let removals: Vec<Write> = first(state, family, &[])?
            .into_iter()
            .map(|(key, _)| gone(family, key))
            .collect();
        if removals.is_empty() {
            return Ok(());
        }
        state.begin_anew(&removals, membership)?;
    }
}

/// Queues the files that were held open behind all that waits for release.
fn let_go(state: &StateStore, membership: &MembershipRecord, log_index: u64) -> Result<(), MaintenanceError> {
    let mut number = LET_GO_FROM;
    loop {
        let mut held = first(state, Family::Garbage, &[HELD_PREFIX])?;
        held.retain(|(key, _)| garbage::is_held_key(key));
        if held.is_empty() {
            return Ok(());
        }
        let mut writes = Vec::with_capacity(held.len() * 2);
        for (key, value) in held {
            writes.push(gone(Family::Garbage, key));
            writes.push(put(Family::Garbage, garbage::queue_key(log_index, number), value));
            number += 1;
        }
        state.begin_anew(&writes, membership)?;
    }
}

/// A key and its value.
type KeyValue = (Vec<u8>, Vec<u8>);

/// The first records of a family from `from` on.
fn first(state: &StateStore, family: Family, from: &[u8]) -> Result<Vec<KeyValue>, MaintenanceError> {
    let mut records = Vec::new();
    let scanned: Result<(), ViewError> = state.read(|view, _| {
        view.scan(family, from, &mut |key, value| {
            records.push((key.to_vec(), value.to_vec()));
            records.len() < BATCH_RECORDS
        })
    });
    scanned.map_err(|error| corrupt(&error.to_string()))?;
    Ok(records)
}

fn read<R: Record>(state: &StateStore, key: &[u8]) -> Result<Option<R>, MaintenanceError> {
    let found: Result<Option<Vec<u8>>, ViewError> = state.read(|view, _| view.get(Family::System, key));
    let found = found.map_err(|error| corrupt(&error.to_string()))?;
    let opened = found.map(|bytes| open(&bytes)).transpose();
    Ok(opened.map_err(|error| corrupt(&error.to_string()))?)
}

fn corrupt(detail: &str) -> StoreError {
    StoreError::Corrupt {
        what: "the state in the backup",
        detail: detail.to_owned(),
    }
}

fn put(family: Family, key: Vec<u8>, value: Vec<u8>) -> Write {
    let value = Some(value);
    Write { family, key, value }
}

fn gone(family: Family, key: Vec<u8>) -> Write {
    let value = None;
    Write { family, key, value }
}
