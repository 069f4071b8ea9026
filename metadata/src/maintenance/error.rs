//! Why an operator's work on a store could not be done, by what to do next.

use std::{
    io,
    path::{Path, PathBuf},
};

use cairn_transport::CallError;

use crate::store::{FetchError, StoreError};

/// Why an operator's work on a store could not be done.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The store failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A checkpoint could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The server did not answer.
    #[error("the metadata server does not answer: {0}")]
    Call(#[from] CallError),
    /// There is no store, checkpoint or backup at the path.
    #[error("{path} is no metadata store, no checkpoint and no backup: {detail}", path = .path.display())]
    NoSource {
        /// The path.
        path: PathBuf,
        /// What was looked for.
        detail: String,
    },
    /// The backup's bytes are not those that were written.
    #[error("the backup {path} is damaged: {detail}. Nothing was changed: use another backup", path = .path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The target is there already.
    #[error("{path} is there already, and nothing is replaced: name another place, or move it away", path = .0.display())]
    Exists(PathBuf),
    /// No generation of session ids is left.
    #[error("generation {0} is the last that session ids have room for: make a new store, and copy the data into it")]
    NoGeneration(u32),
    /// A file could not be read or written.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Puts the path to what the system said.
pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> MaintenanceError {
    |error| MaintenanceError::Io {
        path: path.to_owned(),
        error,
    }
}
