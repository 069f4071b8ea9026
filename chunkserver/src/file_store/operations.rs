//! Put, read and delete of one shard file, as blocking calls.
//!
//! Invariant: `put` answers `Ok` only after data, name and directory are synced, in that order; nothing is ever renamed over
//! an existing file.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering,
    time::Instant,
};

use bytes::Bytes;
use cairn_common::limits::BLOCK_SIZE_BYTES;
use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, openat, renameat_with, statat, unlinkat},
    io::Errno,
};

use super::{
    directory_sync::SyncFailed,
    disk::{expect_scattered_reads, read_at},
    header::{HEADER_LEN_MAX, ShardHeader},
    open::OpenDevice,
};
use crate::{
    shard::{NewShard, ShardKey, StoredShard},
    shard_directories::{directory_of, shard_directory_name, shard_path},
    store::StoreError,
};

/// How putting a finished file in its place ended.
enum Placed {
    New,
    /// The same shard was there.
    Same,
}

impl OpenDevice {
    /// Stores a shard durably.
    pub(crate) fn put(&self, shard: &NewShard) -> Result<(), StoreError> {
        self.health.check()?;
        let header = ShardHeader::from(shard);
        self.check_room(header.file_len())?;
        let mut pieces = vec![Bytes::from(header.encode())];
        pieces.extend(shard.payload.iter().cloned());
        let name = self.tmp_name();
        let placed = self
            .write_tmp(&name, &pieces)
            .and_then(|()| self.place(&name, shard.key, header.file_len(), &pieces));
        if !matches!(placed, Ok(Placed::New)) {
            // What stays behind, should this fail too, is removed at the next start.
            let _ = unlinkat(&self.tmp, &name, AtFlags::empty());
        }
        placed?;
        // Also where it was there before: its writer may not have synced the name yet.
        self.sync_directory(directory_of(shard.key))?;
        self.metrics.put_shards.inc();
        self.metrics.written_bytes.inc_by(u64::from(shard.shard_len));
        Ok(())
    }

    fn write_tmp(&self, name: &str, pieces: &[Bytes]) -> Result<(), StoreError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = match openat(&self.tmp, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Err(self.lost("create a file in tmp/", 0)),
            Err(errno) => return Err(self.health.judge("create a file in tmp/", errno)),
        };
        self.disk
            .write_all(file.as_fd(), pieces)
            .map_err(|errno| self.health.judge("write a shard", errno))?;
        let started = Instant::now();
        let synced = self.disk.sync_data(file.as_fd());
        self.metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
        // Where the room ran out only now, what was lost is this file's, which nobody was promised.
        synced.map_err(|errno| self.health.judge("sync a shard", errno))
    }

    fn place(&self, name: &str, key: ShardKey, file_len: u64, pieces: &[Bytes]) -> Result<Placed, StoreError> {
        let directory = directory_of(key);
        let path = shard_path(key);
        let counted = self.directories[directory].counted.read();
        match self.rename_new(name, &path) {
            Ok(()) => {
                if *counted {
                    self.used_bytes.fetch_add(file_len, Ordering::Relaxed);
                }
                Ok(Placed::New)
            }
            Err(Errno::EXIST) => self.compare(key, file_len, pieces),
            Err(Errno::NOENT) => Err(self.lost("put a shard in its place", directory)),
            Err(errno) => Err(self.health.judge("put a shard in its place", errno)),
        }
    }

    /// Gives the file its name unless the name is taken.
    fn rename_new(&self, name: &str, path: &str) -> Result<(), Errno> {
        match renameat_with(&self.tmp, name, &self.shards, path, RenameFlags::NOREPLACE) {
            // A file system that does not know the flag: a link refuses a taken name as well.
            Err(Errno::INVAL | Errno::NOSYS) => {
                linkat(&self.tmp, name, &self.shards, path, AtFlags::empty())?;
                unlinkat(&self.tmp, name, AtFlags::empty())
            }
            renamed => renamed,
        }
    }

    /// Whether what is stored under `key` is what was to be stored.
    fn compare(&self, key: ShardKey, file_len: u64, pieces: &[Bytes]) -> Result<Placed, StoreError> {
        let file = self.open_shard(key)?;
        let len = usize::try_from(file_len).map_err(|_| StoreError::Conflict)?;
        let stored = read_at(&file, 0, len + 1).map_err(|errno| self.health.judge("read a shard", errno))?;
        let mut rest = &stored[..];
        let same = pieces.iter().all(|piece| {
            let matching = rest.strip_prefix(&piece[..]);
            matching.is_some_and(|behind| {
                rest = behind;
                true
            })
        });
        if same && rest.is_empty() {
            Ok(Placed::Same)
        } else {
            Err(StoreError::Conflict)
        }
    }

    /// Makes the names in a shard directory durable, together with whoever else waits for that.
    pub(crate) fn sync_directory(&self, directory: usize) -> Result<(), StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match openat(&self.shards, shard_directory_name(directory), flags, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Err(self.lost("open a shard directory", directory)),
            Err(errno) => return Err(self.health.judge("open a shard directory", errno)),
        };
        let sync = || {
            let started = Instant::now();
            let synced = self.disk.sync_directory(opened.as_fd());
            self.metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
            synced
        };
        self.directories[directory]
            .sync
            .wait(sync)
            .map_err(|failed| match failed {
                Ok(SyncFailed) => self.health.poison("the sync of a shard directory failed".to_owned()),
                Err(errno) => self.health.poison(format!("cannot sync a shard directory: {errno}")),
            })
    }

    /// Reads blocks of a shard.
    pub(crate) fn read(&self, key: ShardKey, first_block: u32, block_count: u32) -> Result<StoredShard, StoreError> {
        self.health.check()?;
        let file = self.open_shard(key)?;
        expect_scattered_reads(&file);
        let fault = |errno| self.health.judge("read a shard", errno);
        let head = read_at(&file, 0, HEADER_LEN_MAX).map_err(fault)?;
        let header = ShardHeader::decode(&head).map_err(|error| self.corrupt(key, error.to_string()))?;
        if header.key != key {
            return Err(self.corrupt(key, format!("the file holds shard {}", header.key)));
        }
        let limit = |block: u64| (block * BLOCK_SIZE_BYTES as u64).min(u64::from(header.shard_len));
        let start = limit(u64::from(first_block));
        let wanted = usize::try_from(limit(u64::from(first_block) + u64::from(block_count)) - start)
            .expect("a shard is at most a chunk long");
        let offset = header.payload_offset() as u64 + start;
        let payload = read_at(&file, offset, wanted).map_err(fault)?;
        if payload.len() < wanted {
            return Err(self.corrupt(key, "the file ends within its blocks".to_owned()));
        }
        self.metrics.read_shards.inc();
        self.metrics.read_bytes.inc_by(wanted as u64);
        Ok(StoredShard {
            shard_len: header.shard_len,
            block_hashes: header.block_hashes,
            shard_hashes: header.shard_hashes,
            payload,
        })
    }

    /// Deletes a shard for good.
    pub(crate) fn delete(&self, key: ShardKey) -> Result<(), StoreError> {
        self.health.check()?;
        let directory = directory_of(key);
        let path = shard_path(key);
        {
            let counted = self.directories[directory].counted.read();
            let len = statat(&self.shards, &path, AtFlags::empty()).map_or(0, |found| found.st_size);
            match unlinkat(&self.shards, &path, AtFlags::empty()) {
                Ok(()) if *counted => {
                    _ = self
                        .used_bytes
                        .fetch_sub(u64::try_from(len).unwrap_or(0), Ordering::Relaxed);
                }
                Ok(()) => {}
                // Synced all the same: the delete that came first may not have been.
                Err(Errno::NOENT) => match self.missing(directory) {
                    StoreError::NotFound => {}
                    down => return Err(down),
                },
                Err(errno) => return Err(self.health.judge("delete a shard", errno)),
            }
        }
        self.sync_directory(directory)?;
        self.metrics.deleted_shards.inc();
        Ok(())
    }

    fn open_shard(&self, key: ShardKey) -> Result<OwnedFd, StoreError> {
        match openat(
            &self.shards,
            shard_path(key),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(file) => Ok(file),
            Err(Errno::NOENT) => Err(self.missing(directory_of(key))),
            Err(errno) => Err(self.health.judge("open a shard", errno)),
        }
    }

    /// A directory of the device is gone.
    fn lost(&self, what: &str, directory: usize) -> StoreError {
        match self.missing(directory) {
            StoreError::NotFound => self.health.judge(what, Errno::NOENT),
            down => down,
        }
    }
}
