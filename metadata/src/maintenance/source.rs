//! What can be looked at: a stopped store, a checkpoint's directory, a backup file.
//!
//! Invariant: a backup is unpacked beside nothing of value, verified while it is, and removed again.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::{
    backup,
    error::{MaintenanceError, io_error},
};
use crate::store::{OfflineLog, OfflineState, newest_generation};

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A metadata server's directory, with log and state.
    Store(PathBuf),
    /// A checkpoint's directory.
    Checkpoint(PathBuf),
    /// A backup file.
    Backup(PathBuf),
}

/// A source, opened.
pub(super) struct Opened {
    pub(super) state: OfflineState,
    /// Of a store only.
    pub(super) log: Option<OfflineLog>,
    /// Dropped last.
    _unpacked: Option<Scratch>,
}

/// A directory that is removed with its value.
pub(super) struct Scratch(PathBuf);

impl Source {
    /// What lies at `path`: a store's or a `cairn server`'s directory, a checkpoint, or a backup.
    pub fn find(path: &Path) -> Result<Self, MaintenanceError> {
        if path.is_file() {
            return Ok(Self::Backup(path.to_owned()));
        }
        for directory in [path.join("metadata"), path.to_owned()] {
            if directory.join("state").is_dir() || directory.join("log").is_dir() {
                return Ok(Self::Store(directory));
            }
        }
        if path.join("CURRENT").is_file() {
            return Ok(Self::Checkpoint(path.to_owned()));
        }
        Err(MaintenanceError::NoSource {
            path: path.to_owned(),
            detail: "it holds neither metadata/state, nor state, nor CURRENT".to_owned(),
        })
    }

    /// Opens it; a backup is unpacked under `scratch` first.
    pub(super) fn open(&self, scratch: &Path) -> Result<Opened, MaintenanceError> {
        match self {
            Self::Store(directory) => Ok(Opened {
                state: OfflineState::open(&newest_generation(directory)?)?,
                log: Some(OfflineLog::open(directory)?),
                _unpacked: None,
            }),
            Self::Checkpoint(directory) => Ok(Opened {
                state: OfflineState::open(directory)?,
                log: None,
                _unpacked: None,
            }),
            Self::Backup(file) => {
                let unpacked = Scratch::make(scratch)?;
                backup::unpack(file, unpacked.path())?;
                Ok(Opened {
                    state: OfflineState::open(unpacked.path())?,
                    log: None,
                    _unpacked: Some(unpacked),
                })
            }
        }
    }
}

impl Scratch {
    /// A new directory under `parent`.
    pub(super) fn make(parent: &Path) -> Result<Self, MaintenanceError> {
        let mut number = 0_u32;
        loop {
            let path = parent.join(format!("cairn-scratch-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
                Err(error) => return Err(io_error(&path)(error)),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary directory stays behind: remove it");
        }
    }
}
