//! Which checkpoints are being read, and so must stay: each for a while after its last reader has asked for something.
//!
//! It must never let a reader begin on a checkpoint that is being removed. Invariant: looking whether a checkpoint is there
//! and pinning it, and looking whether it is pinned and removing it, are one step each.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cairn_common::limits::{CHECKPOINT_PIN_MS, CHECKPOINTS_PINNED_MAX};
use parking_lot::Mutex;

use super::{StoreError, directory};

/// A checkpoint of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CheckpointName {
    /// For a snapshot, the log index that it holds the state at; for a backup at most that.
    pub(crate) number: u64,
    /// Made for a backup, and not a snapshot of the Raft group.
    pub(crate) backup: bool,
}

/// Why a checkpoint cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinError {
    /// It is not, or no longer, there.
    Gone,
    /// As many others are being read as may be.
    TooMany,
}

/// The pinned checkpoints, each with the time up to which it stays.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<BTreeMap<CheckpointName, Instant>>);

impl Pins {
    /// Keeps the checkpoint at `path` from being removed for a while from `now` on.
    pub(super) fn pin(&self, name: CheckpointName, path: &Path, now: Instant) -> Result<(), PinError> {
        let mut pins = self.0.lock();
        pins.retain(|_, until| *until > now);
        if !path.is_dir() {
            return Err(PinError::Gone);
        }
        if !pins.contains_key(&name) && pins.len() >= CHECKPOINTS_PINNED_MAX {
            return Err(PinError::TooMany);
        }
        pins.insert(name, now + Duration::from_millis(CHECKPOINT_PIN_MS));
        Ok(())
    }

    /// Lets a checkpoint go.
    pub(super) fn unpin(&self, name: CheckpointName) {
        self.0.lock().remove(&name);
    }

    /// Removes those of `checkpoints` that are not pinned at `now`.
    pub(super) fn remove_unpinned(
        &self,
        checkpoints: impl IntoIterator<Item = (CheckpointName, PathBuf)>,
        now: Instant,
    ) -> Result<(), StoreError> {
        let mut pins = self.0.lock();
        pins.retain(|_, until| *until > now);
        for (name, path) in checkpoints {
            if !pins.contains_key(&name) {
                directory::remove(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> CheckpointName {
        CheckpointName { number, backup: false }
    }

    #[test]
    fn pinned_checkpoints_stay_until_their_time_is_up_and_only_a_few_can_be() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = |number| directory::path_of(parent.path(), number);
        (1..=3).for_each(|number| std::fs::create_dir(path(number)).expect("a directory"));
        let (pins, now) = (Pins::default(), Instant::now());
        let all = || (1..=3).map(|number| (name(number), path(number)));
        assert_eq!(pins.pin(name(9), &path(9), now), Err(PinError::Gone));
        assert_eq!(pins.pin(name(1), &path(1), now), Ok(()));
        assert_eq!(pins.pin(name(2), &path(2), now), Ok(()));
        assert_eq!(pins.pin(name(3), &path(3), now), Err(PinError::TooMany));
        pins.remove_unpinned(all(), now).expect("removed");
        let there = || (1..=3).filter(|number| path(*number).exists()).collect::<Vec<u64>>();
        assert_eq!(there(), [1, 2]);
        pins.unpin(name(1));
        let later = now + Duration::from_millis(CHECKPOINT_PIN_MS / 2);
        assert_eq!(pins.pin(name(2), &path(2), later), Ok(()));
        pins.remove_unpinned(all(), now + Duration::from_millis(CHECKPOINT_PIN_MS + 1))
            .expect("removed");
        assert_eq!(there(), [2]);
        pins.remove_unpinned(all(), later + Duration::from_millis(CHECKPOINT_PIN_MS))
            .expect("removed");
        assert!(there().is_empty());
    }
}
