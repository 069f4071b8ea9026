//! Why the store failed, by what a person or the caller does next.
//!
//! Invariant: damage, a failing disk, a full disk and a wrong configuration are never one variant, and every message says
//! what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use cairn_common::{envelope::EnvelopeError, ids::NodeId};

use crate::core::view::ViewError;

/// Why the store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error("{path} is in use by another process: stop that one first", path = .0.display())]
    InUse(PathBuf),
    /// The store belongs to another server of the cluster.
    #[error(
        "this store belongs to metadata server {found}, not to {asked}: check the directory and the server's number"
    )]
    OtherServer {
        /// Whose store it is.
        found: NodeId,
        /// Who asked to open it.
        asked: NodeId,
    },
    /// The store was written by a newer program.
    #[error("{what}: {detail}")]
    Newer {
        /// The record.
        what: &'static str,
        /// Which version was found.
        detail: String,
    },
    /// Bytes on the disk are not those that were written.
    #[error(
        "{what} is damaged: {detail}. Nothing was changed. Keep the directory, check the disk, then restore this server \
         from a backup or from the other servers"
    )]
    Corrupt {
        /// The damaged part.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The disk is full.
    #[error("no space is left on the disk of the metadata store: free some, then start the server again ({0})")]
    Full(String),
    /// The disk or the file system failed.
    #[error("{what} failed: {detail}. Check the disk and its permissions, then start the server again")]
    Io {
        /// What was done.
        what: &'static str,
        /// What the system answered.
        detail: String,
    },
    /// The log was to be purged beyond what the state holds on disk. A bug: refused, nothing was lost.
    #[error("the log must not be purged to {asked}: the state is on disk only up to {flushed}")]
    NotFlushed {
        /// The index asked for.
        asked: u64,
        /// The index that is on disk.
        flushed: u64,
    },
    /// The store has been closed.
    #[error("the metadata store is closed")]
    Closed,
}

impl StoreError {
    /// The error for a failed system call.
    pub(crate) fn from_io(what: &'static str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull {
            return Self::Full(error.to_string());
        }
        Self::Io {
            what,
            detail: error.to_string(),
        }
    }

    /// The error for a record that cannot be read.
    pub(crate) fn from_envelope(what: &'static str, error: &EnvelopeError) -> Self {
        match error {
            EnvelopeError::Version { .. } => Self::Newer {
                what,
                detail: error.to_string(),
            },
            EnvelopeError::Truncated(_) | EnvelopeError::Checksum | EnvelopeError::Body(_) => Self::Corrupt {
                what,
                detail: error.to_string(),
            },
        }
    }

    /// The error for a failed database operation.
    pub(crate) fn from_rocksdb(what: &'static str, error: &rocksdb::Error) -> Self {
        let detail = error.to_string();
        if error.kind() == rocksdb::ErrorKind::Corruption {
            return Self::Corrupt { what, detail };
        }
        if detail.contains("No space left on device") {
            return Self::Full(detail);
        }
        Self::Io { what, detail }
    }

    /// The error for a database at `path` that could not be opened.
    pub(crate) fn from_opening(what: &'static str, path: &Path, error: &rocksdb::Error) -> Self {
        let detail = error.to_string();
        // RocksDB has no error kind for a lock that is held; both of its messages name the LOCK file.
        if error.kind() == rocksdb::ErrorKind::IOError && detail.contains("LOCK") && detail.contains("lock") {
            return Self::InUse(path.to_owned());
        }
        // A file that the manifest names and that is gone is damage, although RocksDB calls it an I/O error.
        if detail.contains("No such file or directory") || detail.contains("does not exist") {
            return Self::Corrupt { what, detail };
        }
        Self::from_rocksdb(what, error)
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::InUse(_) => io::ErrorKind::ResourceBusy,
            StoreError::OtherServer { .. } | StoreError::NotFlushed { .. } => io::ErrorKind::InvalidInput,
            StoreError::Newer { .. } => io::ErrorKind::Unsupported,
            StoreError::Corrupt { .. } => io::ErrorKind::InvalidData,
            StoreError::Full(_) => io::ErrorKind::StorageFull,
            StoreError::Io { .. } => io::ErrorKind::Other,
            StoreError::Closed => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

impl From<StoreError> for ViewError {
    fn from(error: StoreError) -> Self {
        Self::Storage(error.to_string())
    }
}
