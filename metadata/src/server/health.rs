//! Whether the server may still answer.
//!
//! Invariant: once it may not, it never may again, and the reason was logged exactly once.

use std::sync::OnceLock;

use cairn_common::wire::failure::{Failure, FailureCode};
use cairn_transport::failure;

/// Whether the server may still answer.
#[derive(Debug, Default)]
pub(super) struct Health {
    stopped: OnceLock<Stop>,
}

#[derive(Debug)]
enum Stop {
    ShutDown,
    Failed(String),
}

impl Health {
    /// Stops answering because the server was asked to shut down.
    pub(super) fn shut_down(&self) {
        let _ = self.stopped.set(Stop::ShutDown);
    }

    /// Stops answering because the server cannot go on.
    pub(super) fn fail(&self, reason: &str) {
        if self.stopped.set(Stop::Failed(reason.to_owned())).is_ok() {
            tracing::error!(
                reason,
                "the metadata server has stopped answering: nothing that was acknowledged is lost; mend what the reason \
                 names, then restart the server"
            );
        }
    }

    /// An error where the server may no longer answer.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.stopped.get() {
            None => Ok(()),
            // Whoever asks may try again: a server that restarts will answer.
            Some(Stop::ShutDown) => Err(failure(FailureCode::Busy, "the metadata server is shutting down")),
            Some(Stop::Failed(reason)) => Err(failure(
                FailureCode::Internal,
                format!("the metadata server has stopped: {reason}"),
            )),
        }
    }

    /// Why the server failed, where it did.
    pub(super) fn failed(&self) -> Option<&str> {
        match self.stopped.get() {
            Some(Stop::Failed(reason)) => Some(reason),
            Some(Stop::ShutDown) | None => None,
        }
    }
}
