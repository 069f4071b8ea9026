//! What a device holds: keys in order, and the bytes they take.
//!
//! Invariant: a page's keys are in order of (placement hash, chunk id, index) and none that was there all along is left out.
//! Files that are no shards are passed over; nothing is ever deleted here.

use std::sync::{Weak, atomic::Ordering};

use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, statat},
    io::Errno,
};

use super::open::OpenDevice;
use crate::{
    shard::{ShardKey, ShardPage},
    shard_directories::{DIRECTORY_COUNT, directory_of, entries, parse_shard_name, shard_directory_name, shard_path},
    store::StoreError,
};

impl OpenDevice {
    /// Up to `limit` keys behind `after`.
    pub(crate) fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<ShardPage, StoreError> {
        self.health.check()?;
        let mut keys = Vec::new();
        for directory in after.map_or(0, directory_of)..DIRECTORY_COUNT {
            let mut found = self.keys_of(directory)?;
            found.retain(|key| after.is_none_or(|after| *key > after));
            found.sort_unstable();
            keys.extend(found);
            if keys.len() > limit {
                keys.truncate(limit);
                return Ok(ShardPage { keys, more: true });
            }
        }
        Ok(ShardPage { keys, more: false })
    }

    fn keys_of(&self, directory: usize) -> Result<Vec<ShardKey>, StoreError> {
        let names = self.names_of(directory)?;
        Ok(names
            .iter()
            .filter_map(|name| parse_shard_name(directory, name))
            .collect())
    }

    fn names_of(&self, directory: usize) -> Result<Vec<String>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let names = openat(&self.shards, shard_directory_name(directory), flags, Mode::empty())
            .and_then(|opened| entries(&opened));
        names.map_err(|errno| match errno {
            Errno::NOENT => match self.missing(directory) {
                StoreError::NotFound => self.health.judge("list a shard directory", errno),
                down => down,
            },
            _ => self.health.judge("list a shard directory", errno),
        })
    }

    /// Adds one directory's files to the used bytes, once.
    fn count(&self, directory: usize) -> Result<(), StoreError> {
        let mut counted = self.directories[directory].counted.write();
        if *counted {
            return Ok(());
        }
        let size = |key| statat(&self.shards, shard_path(key), AtFlags::empty()).map_or(0, |found| found.st_size);
        let sizes = self
            .keys_of(directory)?
            .into_iter()
            .map(|key| u64::try_from(size(key)).unwrap_or(0));
        self.used_bytes.fetch_add(sizes.sum(), Ordering::Relaxed);
        *counted = true;
        Ok(())
    }
}

/// Counts the used bytes of all directories; ends early where the device is closed or fails.
pub(crate) fn count_all(device: &Weak<OpenDevice>) {
    for directory in 0..DIRECTORY_COUNT {
        let Some(device) = device.upgrade() else { return };
        if device.count(directory).is_err() {
            return;
        }
    }
}
