//! Codes anew what is in buckets that want another redundancy than it has.
//!
//! Marked buckets are walked, each with a session of its own (`recode_pass.rs`); the mark goes after a walk that found nothing.
//! Invariant: what is to be done stands in the replicated state alone; a walk that ends early has done no harm, and the next finds what
//! is left.

use std::{collections::HashMap, sync::Arc, time::Duration};

use cairn_common::{
    cluster_map::ClusterMap,
    ids::SessionId,
    wire::{
        chunk::{ChunkChange, ChunkCommand, ChunkQuestion, ChunkReply},
        command::{Command, EndSession, OpenSession, Outcome, WriteRequest},
        recode::{MarksQuery, RecodeMark},
    },
};
use cairn_transport::Transport;
use tokio::time::{Instant, sleep};

use super::{
    local::RoundError,
    proposer::SubmitError,
    recode_pass::{Pass, Walked},
    service::Inner,
};

/// Time between two looks for marked buckets.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// First and longest wait before a bucket is walked again of which something was left.
const PASS_AGAIN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(3600));
/// Times that a command is given again where too many wait, and the wait in between.
const BUSY_TRIES_MAX: usize = 20;
const BUSY_WAIT: Duration = Duration::from_millis(250);

/// What the worker needs.
pub(super) struct RecodeWorker {
    pub(super) inner: Arc<Inner>,
    pub(super) transport: Arc<dyn Transport>,
}

/// When a bucket is walked again.
struct Wait {
    length: Duration,
    due: Instant,
}

impl RecodeWorker {
    /// Works for as long as it is polled.
    pub(super) async fn run(self) {
        let mut waiting = HashMap::new();
        loop {
            sleep(LOOK_EVERY).await;
            match self.look(&mut waiting).await {
                Ok(()) => {}
                Err(RoundError::Submit(error)) => tracing::debug!(%error, "nothing is coded anew for now"),
                Err(RoundError::View(error)) => tracing::error!(%error, "it cannot be read what is to be coded anew"),
            }
        }
    }

    async fn look(&self, waiting: &mut HashMap<u64, Wait>) -> Result<(), RoundError> {
        let ChunkReply::Marks(marks) = self.inner.ask_about_chunks(ChunkQuestion::Marks(MarksQuery {})).await? else {
            return Ok(());
        };
        waiting.retain(|bucket, _| marks.marks.iter().any(|mark| mark.bucket == *bucket));
        let is_paused = |map: Option<Arc<ClusterMap>>| map.is_none_or(|map| map.upkeep.moves_paused);
        if marks.marks.is_empty() || is_paused(self.inner.local_map().await?) {
            return Ok(());
        }
        // Until deletion is released the old chunks would stay beside the new ones.
        if self.inner.is_deletion_held().await? {
            return Ok(());
        }
        for mark in marks.marks {
            if waiting.get(&mark.bucket).is_some_and(|wait| wait.due > Instant::now()) {
                continue;
            }
            let is_done = match self.pass(mark).await {
                Ok(Walked { is_whole: false, .. }) => false,
                Ok(Walked { found: 0, .. }) => self.change(ChunkChange::BucketRecoded(mark)).await? > 0,
                // Something may have come to lie where the walk had been: another follows at once.
                Ok(Walked { left, .. }) => left == 0,
                Err(RoundError::Submit(error)) => {
                    tracing::debug!(%error, "a bucket is coded anew later");
                    false
                }
                Err(error) => return Err(error),
            };
            if is_done {
                waiting.remove(&mark.bucket);
            } else {
                let wait = waiting.get(&mark.bucket);
                let length = wait.map_or(PASS_AGAIN.0, |wait| (wait.length * 2).min(PASS_AGAIN.1));
                let due = Instant::now() + length;
                waiting.insert(mark.bucket, Wait { length, due });
            }
        }
        Ok(())
    }

    async fn pass(&self, mark: RecodeMark) -> Result<Walked, RoundError> {
        let open = Command::OpenSession(OpenSession { mounts: false });
        let Some(Outcome::Session(session)) = self.submit(0, open).await? else {
            return Ok(Walked::default());
        };
        let pass = Pass::new(self, mark.bucket, SessionId::new(session));
        let walked = tokio::select! {
            walked = pass.walk() => walked,
            ended = pass.stay_alive() => Err(ended),
        };
        self.submit(0, Command::EndSession(EndSession { session })).await?;
        if let Ok(Walked { found, left, .. }) = walked {
            tracing::info!(
                bucket = mark.bucket,
                found,
                left,
                "a bucket's chunks were compared with its redundancy"
            );
        }
        walked
    }

    /// Gives a command; where too many wait, a little later.
    pub(super) async fn submit(&self, session: u64, command: Command) -> Result<Option<Outcome>, RoundError> {
        let mut tries = 0;
        loop {
            let request = WriteRequest {
                session,
                command: Some(command.clone()),
                ..WriteRequest::default()
            };
            match self.inner.proposer.submit(request).await {
                Err(SubmitError::Busy) if tries < BUSY_TRIES_MAX => tries += 1,
                submitted => return Ok(submitted?.outcome),
            }
            sleep(BUSY_WAIT).await;
        }
    }

    /// How much a change of chunk records changed.
    pub(super) async fn change(&self, change: ChunkChange) -> Result<u32, RoundError> {
        let command = Command::Chunk(ChunkCommand { change: Some(change) });
        match self.submit(0, command).await? {
            Some(Outcome::Chunk(outcome)) => Ok(outcome.changed),
            Some(Outcome::Refused(refusal)) => {
                tracing::debug!(refusal.detail, "a chunk does not take another's place");
                Ok(0)
            }
            _ => Ok(0),
        }
    }
}
