//! Checkpoints as others ask for them: read piece by piece, made for backups, let go.
//!
//! Invariant: a checkpoint that no reader has asked for within its time is removed, whether or not anyone says so.

use std::{sync::Arc, time::Duration};

use cairn_common::{
    limits::CHECKPOINT_PIN_MS,
    wire::{
        checkpoint::{BackUpReply, ReadCheckpoint},
        failure::{Failure, FailureCode},
    },
};
use cairn_transport::{Body, Response, failure, reply};
use tokio::time::Instant;

use crate::store::{CheckpointReader, PinError, ReadError, StateStore, StoreError};

/// The checkpoints of this server. Clones share them.
#[derive(Clone)]
pub(super) struct Checkpoints {
    state: Arc<StateStore>,
    reader: Arc<CheckpointReader>,
}

impl Checkpoints {
    pub(super) fn new(state: Arc<StateStore>) -> Self {
        let reader = Arc::new(CheckpointReader::new(Arc::clone(&state)));
        Self { state, reader }
    }

    /// A piece of one.
    pub(super) async fn read(&self, request: ReadCheckpoint, deadline: Instant) -> Result<Response, Failure> {
        match self.reader.read(request, deadline).await {
            Ok((message, body)) => Ok(reply(&message, body)),
            Err(error) => Err(read_failure(&error)),
        }
    }

    /// Makes one for a backup.
    pub(super) async fn make(&self) -> Result<Response, Failure> {
        let state = Arc::clone(&self.state);
        match blocking(move || state.backup_checkpoint()).await? {
            Ok(number) => Ok(reply(&BackUpReply { number }, Body::empty())),
            Err(PinError::TooMany | PinError::Gone) => Err(read_failure(&ReadError::TooMany)),
        }
    }

    /// Lets a backup's go.
    pub(super) async fn release(&self, number: u64) -> Result<Response, Failure> {
        let state = Arc::clone(&self.state);
        blocking(move || state.release_backup(number)).await?;
        Ok(reply(&BackUpReply { number }, Body::empty()))
    }

    /// Removes those that nobody reads any more, for as long as it is polled.
    pub(super) async fn remove_unread(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(CHECKPOINT_PIN_MS / 2)).await;
            let state = Arc::clone(&self.state);
            if let Err(failed) = blocking(move || state.remove_unread()).await {
                tracing::warn!(reason = failed.detail, "old checkpoints could not be removed");
            }
        }
    }
}

fn read_failure(error: &ReadError) -> Failure {
    let code = match error {
        ReadError::Gone(_) => FailureCode::NotFound,
        ReadError::TooMany | ReadError::Hashing => FailureCode::Busy,
        ReadError::Malformed(_) => FailureCode::Malformed,
        ReadError::Store(error) => return store_failure(error),
    };
    failure(code, error.to_string())
}

fn store_failure(error: &StoreError) -> Failure {
    tracing::error!(%error, "a checkpoint of the metadata cannot be made or read");
    let code = match error {
        StoreError::Corrupt { .. } | StoreError::Newer { .. } => FailureCode::Corrupt,
        StoreError::Full(_) => FailureCode::DeviceFull,
        StoreError::Closed => FailureCode::Busy,
        StoreError::InUse(_)
        | StoreError::OtherServer { .. }
        | StoreError::Io { .. }
        | StoreError::NotFlushed { .. } => FailureCode::Internal,
    };
    failure(code, error.to_string())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(store_failure(&error)),
        Err(error) => Err(failure(FailureCode::Internal, format!("a task has died: {error}"))),
    }
}
