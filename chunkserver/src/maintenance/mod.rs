//! What an operator does with a device that no process uses: look into it, verify it, make its index anew.
//!
//! Nothing here takes part in serving. Looking and verifying change nothing. Invariants: a device is locked for as long as it is
//! held here, so that no process serves it meanwhile; an index is replaced only by one that is whole and durable.

mod inspect;
mod rebuild;
#[cfg(test)]
mod tests;
mod verify;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{fd::OwnedFd, io::Errno};

pub use self::{
    inspect::{Filter, Line, SegmentSummary, State, Summary},
    rebuild::Rebuilt,
    verify::{Finding, Verified},
};
use crate::{
    directory,
    engine::{
        Engine, Parts, Recovered, Settings,
        disk::{Disk, KernelDisk},
        health::Health,
        index::{Index, IndexError, RocksIndex},
        random_salt,
        segments::{SegmentError, Segments},
    },
    metrics::Metrics,
    store::StoreError,
    superblock::{DeviceIdentity, open_any_superblock},
};

/// Memory of an index that is looked at or made.
const INDEX_MEMORY_BYTES: usize = 64 << 20;

/// Why an operator's work on a device could not be done, by what to do next.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// It is no device, is in use, or is one that this program does not know.
    #[error("{path} cannot be used: {reason}", path = .path.display())]
    Device {
        /// The device's directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The device cannot be read as a whole.
    #[error("{path} cannot be read: {reason}", path = .path.display())]
    Unreadable {
        /// The device's directory.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A device that no process uses, held so.
pub struct StoppedDevice {
    path: PathBuf,
    identity: DeviceIdentity,
    _lock: OwnedFd,
}

impl StoppedDevice {
    /// Locks the device in the directory `path`, whichever it is.
    pub fn open(path: &Path) -> Result<Self, MaintenanceError> {
        let unusable = |reason: String| MaintenanceError::Device {
            path: path.to_owned(),
            reason,
        };
        let root = directory::open(path).map_err(|errno| unusable(errno.to_string()))?;
        let (lock, identity) = open_any_superblock(&root).map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            identity,
            _lock: lock,
        })
    }

    /// Which device it is.
    pub fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    fn disk(&self) -> Result<KernelDisk, MaintenanceError> {
        KernelDisk::open(&self.path).map_err(|errno| self.unreadable(format!("its segments: {errno}")))
    }

    fn segments(&self, disk: impl Disk) -> Result<Segments, MaintenanceError> {
        Segments::open(Arc::new(disk), self.identity).map_err(|error| self.segment_error(&error))
    }

    /// The store as a start would find it, over `index`.
    fn engine(
        &self,
        disk: impl Disk,
        index: impl Index,
        progress: &dyn Fn(u64, u64),
    ) -> Result<(Engine, Recovered), MaintenanceError> {
        let metrics = Metrics::default().of(self.identity.device);
        let parts = Parts {
            identity: self.identity,
            disk: Arc::new(disk),
            index: Box::new(index),
            health: Health::new(
                self.identity.device,
                self.path.display().to_string(),
                metrics.up.clone(),
            ),
            metrics,
            settings: Settings {
                reserve_bytes: 0,
                segment_bytes: None,
                capacity_bytes: None,
            },
            salts: Box::new(random_salt),
        };
        Engine::open(parts, progress).map_err(|reason| self.unreadable(reason))
    }

    fn index_path(&self) -> PathBuf {
        RocksIndex::path(&self.path)
    }

    fn unreadable(&self, reason: impl ToString) -> MaintenanceError {
        MaintenanceError::Unreadable {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }

    fn segment_error(&self, error: &SegmentError) -> MaintenanceError {
        self.unreadable(error)
    }

    fn store_error(&self, error: &StoreError) -> MaintenanceError {
        self.unreadable(error)
    }

    fn index_error(&self, error: &IndexError) -> MaintenanceError {
        self.unreadable(error)
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> MaintenanceError {
    |error| MaintenanceError::Io {
        path: path.to_owned(),
        error,
    }
}

fn errno_error(path: &Path) -> impl Fn(Errno) -> MaintenanceError {
    |errno| io_error(path)(errno.into())
}
