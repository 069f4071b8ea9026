//! Checkpoints beside the state: which there are for readers, those made for backups, and what comes in from other servers.
//!
//! ```text
//! DIR/snapshots/N/    the Raft group's snapshots
//! DIR/backups/N/      made for a backup, at log index N or later; gone once it is done or its reader is silent
//! DIR/incoming/N/     snapshot N of another server, as far as it has come
//! ```
//!
//! Invariant: a checkpoint that is read stays; what only a crash or a lost reader left behind does not.

use std::{path::PathBuf, sync::atomic::Ordering, time::Instant};

use super::{
    StoreError, directory,
    pins::{CheckpointName, PinError},
    state::StateStore,
};

impl StateStore {
    /// Where a checkpoint lies, kept from being removed for a while.
    pub(crate) fn pin_checkpoint(&self, name: CheckpointName) -> Result<PathBuf, PinError> {
        let path = directory::path_of(&self.checkpoints_of(name.backup), name.number);
        self.pins.pin(name, &path, Instant::now())?;
        Ok(path)
    }

    /// Makes a checkpoint for a backup, while entries go on being applied: the state at one of those applied from now on.
    /// Its number; it is pinned. An error inside says that too many others are.
    pub(crate) fn backup_checkpoint(&self) -> Result<Result<u64, PinError>, StoreError> {
        let _one_at_a_time = self.backing_up.lock();
        self.remove_unread()?;
        let number = self.applied().index();
        let parent = self.checkpoints_of(true);
        directory::create_directory(&parent)?;
        let name = CheckpointName { number, backup: true };
        if !directory::path_of(&parent, number).exists() {
            let generation = self.settled()?;
            directory::make_numbered(&parent, number, |path| generation.checkpoint(path))?;
            self.flushed_index.fetch_max(number, Ordering::AcqRel);
        }
        match self.pin_checkpoint(name) {
            Ok(_) => Ok(Ok(number)),
            Err(refused) => {
                self.remove_unread()?;
                Ok(Err(refused))
            }
        }
    }

    /// Lets a backup's checkpoint go.
    pub(crate) fn release_backup(&self, number: u64) -> Result<(), StoreError> {
        self.pins.unpin(CheckpointName { number, backup: true });
        self.remove_unread()
    }

    /// Removes the checkpoints that nobody reads any more and that are not the newest snapshot.
    pub(crate) fn remove_unread(&self) -> Result<(), StoreError> {
        let snapshots = directory::numbered(&self.checkpoints_of(false))?;
        if let Some((newest, _)) = snapshots.last() {
            self.remove_snapshots_below(*newest)?;
        }
        let parent = self.checkpoints_of(true);
        if !parent.exists() {
            return Ok(());
        }
        let backups = directory::numbered(&parent)?;
        let named = |(number, path)| (CheckpointName { number, backup: true }, path);
        self.pins
            .remove_unpinned(backups.into_iter().map(named), Instant::now())
    }

    /// Where snapshot `number` of another server comes in. What had come of other snapshots is removed.
    pub(crate) fn incoming(&self, number: u64) -> Result<PathBuf, StoreError> {
        let parent = self.directory.join("incoming");
        directory::create_directory(&parent)?;
        for (found, path) in directory::numbered(&parent)? {
            if found != number {
                directory::remove(&path)?;
            }
        }
        let path = directory::path_of(&parent, number);
        directory::create_directory(&path)?;
        Ok(path)
    }

    /// Removes what came in, once it is installed.
    pub(crate) fn clear_incoming(&self) -> Result<(), StoreError> {
        directory::remove(&self.directory.join("incoming"))
    }

    fn checkpoints_of(&self, backup: bool) -> PathBuf {
        self.directory.join(if backup { "backups" } else { "snapshots" })
    }
}
