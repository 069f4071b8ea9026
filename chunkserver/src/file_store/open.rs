//! A device that was opened: its directories, its lock, and what is known of its space.
//!
//! Invariant: opening creates and changes nothing but that `tmp/` is emptied; a directory that is not exactly the expected
//! device is refused with a reason.

use std::{
    collections::HashSet,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, RwLock};
use rustix::{
    fs::{AtFlags, Mode, OFlags, StatVfs, fstat, fstatvfs, openat, stat, statat, unlinkat},
    io::Errno,
};

use super::{
    directory_sync::DirectorySync,
    disk::{Disk, Kernel},
    health::Health,
};
use crate::{
    metrics::DeviceMetrics,
    shard::ShardKey,
    shard_directories::{
        DIRECTORY_COUNT, SHARDS, TMP, entries, open_directory, shard_directory_name, shard_directory_names,
    },
    store::{StoreError, StoreStatus},
    superblock::{DeviceIdentity, open_superblock, superblock_is_there},
};

/// Damaged shards that are counted apart; beyond that the count stands still.
const CORRUPT_MAX: usize = 65_536;

/// What a store is opened with.
pub(crate) struct OpenConfig {
    pub(crate) path: PathBuf,
    pub(crate) identity: DeviceIdentity,
    pub(crate) reserve_bytes: u64,
    pub(crate) metrics: DeviceMetrics,
    pub(crate) disk: Box<dyn Disk>,
}

/// A device in use. The lock goes with it.
pub(crate) struct OpenDevice {
    pub(crate) root: OwnedFd,
    pub(crate) tmp: OwnedFd,
    pub(crate) shards: OwnedFd,
    _lock: OwnedFd,
    path: PathBuf,
    reserve_bytes: u64,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) metrics: DeviceMetrics,
    pub(crate) health: Health,
    pub(crate) directories: Vec<ShardDirectory>,
    pub(crate) used_bytes: AtomicU64,
    next_tmp: AtomicU64,
    corrupt: Mutex<HashSet<ShardKey>>,
}

/// One directory under `shards/`.
#[derive(Default)]
pub(crate) struct ShardDirectory {
    pub(crate) sync: DirectorySync,
    /// Whether its files are in the used bytes. Held shared while a file comes or goes and alone while they are counted, so
    /// that each is counted once.
    pub(crate) counted: RwLock<bool>,
}

impl OpenConfig {
    /// A configuration over the kernel's own disk operations.
    pub(crate) fn new(path: PathBuf, identity: DeviceIdentity, reserve_bytes: u64, metrics: DeviceMetrics) -> Self {
        Self {
            path,
            identity,
            reserve_bytes,
            metrics,
            disk: Box::new(Kernel),
        }
    }
}

impl OpenDevice {
    /// Opens, locks and checks the device, and empties `tmp/`.
    pub(crate) fn open(config: OpenConfig) -> Result<Self, String> {
        let fault = |what: &'static str| move |errno: Errno| format!("cannot {what}: {errno}");
        let root = open_directory(&config.path).map_err(fault("open the device's directory"))?;
        let lock = open_superblock(&root, &config.identity).map_err(|error| error.to_string())?;
        let subdirectory = |name: &str| {
            openat(
                &root,
                name,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        let tmp = subdirectory(TMP).map_err(fault("open tmp/"))?;
        let shards = subdirectory(SHARDS).map_err(fault("open shards/"))?;
        for name in shard_directory_names() {
            statat(&shards, &name, AtFlags::empty()).map_err(|errno| format!("shards/{name} is missing: {errno}"))?;
        }
        for name in entries(&tmp).map_err(fault("list tmp/"))? {
            unlinkat(&tmp, &name, AtFlags::empty()).map_err(fault("empty tmp/"))?;
        }
        let shown = config.path.display().to_string();
        Ok(Self {
            health: Health::new(config.identity.device, shown, config.metrics.up.clone()),
            root,
            tmp,
            shards,
            _lock: lock,
            path: config.path,
            reserve_bytes: config.reserve_bytes,
            disk: config.disk,
            metrics: config.metrics,
            directories: (0..DIRECTORY_COUNT).map(|_| ShardDirectory::default()).collect(),
            used_bytes: AtomicU64::new(0),
            next_tmp: AtomicU64::new(0),
            corrupt: Mutex::default(),
        })
    }

    /// A name that no other file in `tmp/` has.
    pub(crate) fn tmp_name(&self) -> String {
        format!("{:016x}", self.next_tmp.fetch_add(1, Ordering::Relaxed))
    }

    /// Refuses where `len` more bytes would eat into the reserve.
    pub(crate) fn check_room(&self, len: u64) -> Result<(), StoreError> {
        let space = self.space()?;
        if space.f_bavail.saturating_mul(space.f_frsize) < self.reserve_bytes.saturating_add(len) {
            return Err(StoreError::Full);
        }
        Ok(())
    }

    /// A file that should be there is not: its shard is missing, unless more than that is.
    pub(crate) fn missing(&self, directory: usize) -> StoreError {
        match self.vanished(directory) {
            Some(what) => self.health.poison(format!("{what} has vanished")),
            None => StoreError::NotFound,
        }
    }

    /// What of the device itself is gone.
    fn vanished(&self, directory: usize) -> Option<String> {
        let place = |found: rustix::fs::Stat| (found.st_dev, found.st_ino);
        let same = match (stat(&self.path), fstat(&self.root)) {
            (Ok(by_path), Ok(by_handle)) => place(by_path) == place(by_handle),
            _ => false,
        };
        if !same || !superblock_is_there(&self.root) {
            return Some(format!("the directory {}", self.path.display()));
        }
        let name = shard_directory_name(directory);
        let missing = statat(&self.shards, &name, AtFlags::empty()).is_err();
        missing.then(|| format!("the directory {}/{SHARDS}/{name}", self.path.display()))
    }

    /// A shard's file is not what it should be.
    pub(crate) fn corrupt(&self, key: ShardKey, reason: String) -> StoreError {
        self.metrics.corrupt_shards.inc();
        let mut corrupt = self.corrupt.lock();
        if corrupt.len() < CORRUPT_MAX && corrupt.insert(key) {
            tracing::warn!(path = %self.path.display(), shard = %key, reason, "a shard file is damaged");
        }
        StoreError::Corrupt(reason)
    }

    /// State and space; notices that the directory has gone.
    pub(crate) fn status(&self) -> StoreStatus {
        if self.health.down().is_none() {
            // The answer matters only where it takes the device down.
            let _ = self.missing(0);
        }
        let space = self.space().ok();
        let bytes = |count: fn(&StatVfs) -> u64| space.as_ref().map_or(0, |space| count(space) * space.f_frsize);
        StoreStatus {
            down: self.health.down().map(str::to_owned),
            total_bytes: bytes(|space| space.f_blocks),
            free_bytes: bytes(|space| space.f_bavail),
            used_bytes: self.used_bytes.load(Ordering::Relaxed),
            corrupt_shards: self.corrupt.lock().len() as u64,
        }
    }

    fn space(&self) -> Result<StatVfs, StoreError> {
        fstatvfs(&self.root).map_err(|errno| self.health.judge("read the free space", errno))
    }
}
