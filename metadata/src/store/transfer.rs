//! Checkpoints handed out piece by piece, to members that lack a snapshot and to backups.
//!
//! It must never hand out bytes of a file that the manifest does not name, nor keep a place for a reader that has gone.
//! Invariant: a checkpoint is pinned before anything of it is read, and whatever is read at a time is bounded.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::PathBuf, sync::Arc};

use bytes::Bytes;
use cairn_common::{
    envelope::seal,
    limits::{CHECKPOINT_PIECE_BYTES, CHECKPOINT_READ_BYTES_MAX},
    wire::checkpoint::{CheckpointManifest, ReadCheckpoint, ReadCheckpointReply},
};
use cairn_transport::{Body, BodySender};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::{
    StoreError, manifest,
    pins::{CheckpointName, PinError},
    state::StateStore,
};

/// Pieces that wait for a reader that is slower than the disk.
const PIECES_AHEAD: usize = 4;

/// Why a piece cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// The checkpoint is not, or no longer, there.
    #[error("checkpoint {0} is not here, or no longer: ask for the newest")]
    Gone(u64),
    /// As many others are being read as may be.
    #[error("too many checkpoints are being read: try again when one is done")]
    TooMany,
    /// The manifest is still being made.
    #[error("the checkpoint's files are being hashed: ask again")]
    Hashing,
    /// The request names no range of a file of the checkpoint.
    #[error("{0}")]
    Malformed(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the checkpoints of a state for others.
pub(crate) struct CheckpointReader {
    state: Arc<StateStore>,
    /// Held while a manifest is made: one at a time, it is the disk that bounds it.
    hashing: Arc<Mutex<()>>,
}

impl CheckpointReader {
    pub(crate) fn new(state: Arc<StateStore>) -> Self {
        Self {
            state,
            hashing: Arc::default(),
        }
    }

    /// The range that `request` asks for, streamed until `deadline` at most.
    pub(crate) async fn read(
        &self,
        request: ReadCheckpoint,
        deadline: Instant,
    ) -> Result<(ReadCheckpointReply, Body), ReadError> {
        if request.length > CHECKPOINT_READ_BYTES_MAX {
            let most = CHECKPOINT_READ_BYTES_MAX >> 20;
            return Err(ReadError::Malformed(format!("more than {most} MiB asked for at once")));
        }
        let (number, backup) = (request.number, request.backup);
        let name = CheckpointName { number, backup };
        let path = self.state.pin_checkpoint(name).map_err(|error| match error {
            PinError::Gone => ReadError::Gone(number),
            PinError::TooMany => ReadError::TooMany,
        })?;
        let manifest = self.manifest(name, path.clone(), deadline).await?;
        if request.file.is_empty() {
            return Ok(whole(Bytes::from(seal(&manifest)), &request));
        }
        let Some(named) = manifest.files.into_iter().find(|file| file.name == request.file) else {
            let detail = format!("checkpoint {number} has no file {:?}", request.file);
            return Err(ReadError::Malformed(detail));
        };
        if request.offset > named.length {
            return Err(ReadError::Malformed("an offset behind the file's end".to_owned()));
        }
        let file = open_checked(path.join(&named.name), named.length).await?;
        let end = request.offset.saturating_add(request.length).min(named.length);
        let (sender, body) = Body::channel(PIECES_AHEAD);
        tokio::spawn(timeout_at(deadline, send_range(file, request.offset..end, sender)));
        let reply = ReadCheckpointReply {
            file_length: named.length,
        };
        Ok((reply, body))
    }

    /// The checkpoint's manifest, made now where it was never asked for. Making it goes on where `deadline` passes.
    async fn manifest(
        &self,
        name: CheckpointName,
        path: PathBuf,
        deadline: Instant,
    ) -> Result<CheckpointManifest, ReadError> {
        let kept = path.clone();
        if let Some(kept) = blocking(move || manifest::load(&kept)).await? {
            return Ok(kept);
        }
        let Ok(making) = Arc::clone(&self.hashing).try_lock_owned() else {
            return Err(ReadError::Hashing);
        };
        let state = Arc::clone(&self.state);
        let making = blocking(move || {
            let _one_at_a_time = making;
            // A checkpoint that is gone meanwhile ends this by itself: its files are gone too.
            manifest::make(&path, name.number, || drop(state.pin_checkpoint(name)))
        });
        match timeout_at(deadline, making).await {
            Ok(made) => Ok(made?),
            Err(_) => Err(ReadError::Hashing),
        }
    }
}

/// A range of bytes at hand.
fn whole(bytes: Bytes, request: &ReadCheckpoint) -> (ReadCheckpointReply, Body) {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let range = at(request.offset)..at(request.offset.saturating_add(request.length));
    let reply = ReadCheckpointReply {
        file_length: bytes.len() as u64,
    };
    (reply, Body::from(bytes.slice(range)))
}

async fn open_checked(path: PathBuf, length: u64) -> Result<Arc<File>, StoreError> {
    blocking(move || {
        let what = "reading a checkpoint of the metadata";
        let file = File::open(&path).map_err(|error| StoreError::from_io(what, &error))?;
        let found = file
            .metadata()
            .map_err(|error| StoreError::from_io(what, &error))?
            .len();
        if found == length {
            return Ok(Arc::new(file));
        }
        Err(StoreError::Corrupt {
            what: "a checkpoint of the metadata",
            detail: format!("{} has {found} bytes instead of {length}", path.display()),
        })
    })
    .await
}

/// Sends a range of a file. Where it ends early the sender is dropped unfinished, which the reader notices.
async fn send_range(file: Arc<File>, range: std::ops::Range<u64>, sender: BodySender) {
    let mut at = range.start;
    while at < range.end {
        let length = (range.end - at).min(CHECKPOINT_PIECE_BYTES as u64);
        let from = Arc::clone(&file);
        let piece = blocking(move || {
            let mut piece = vec![0; usize::try_from(length).unwrap_or(CHECKPOINT_PIECE_BYTES)];
            let read = from.read_exact_at(&mut piece, at);
            read.map_err(|error| StoreError::from_io("reading a checkpoint of the metadata", &error))?;
            Ok(Bytes::from(piece))
        });
        match piece.await {
            Ok(piece) => {
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
            Err(error) => return tracing::error!(%error, "a checkpoint cannot be handed out"),
        }
        at += length;
    }
    sender.finish();
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| {
        let died = io::Error::other(error.to_string());
        Err(StoreError::from_io("a task of the metadata store", &died))
    })
}
