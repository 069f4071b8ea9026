//! Gives up multipart uploads that nobody goes on with.
//!
//! It looks at its start and every hour, bucket by bucket in bounded steps; which uploads go is decided by the state machine,
//! by the bucket's setting and the time of the command's entry. It must never judge by this server's clock alone: that only
//! says when a look is worth a command. Invariant: it runs only while this server leads.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cairn_common::{
    limits::EXPIRE_UPLOADS_MAX,
    wire::command::{Command, ExpireUploads, Outcome},
};

use super::{local::RoundError, service::Inner};

/// From the end of a look to the next: uploads are kept for days.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// Buckets looked at in one read of the state.
const BUCKETS_AT_ONCE: usize = 256;

/// What the worker needs.
pub(super) struct UploadsWorker {
    pub(super) inner: Arc<Inner>,
}

impl UploadsWorker {
    /// Looks for as long as it is polled.
    pub(super) async fn run(self) {
        loop {
            match self.look().await {
                Ok(0) => {}
                Ok(uploads) => tracing::info!(uploads, "uploads that nobody went on with were given up"),
                Err(RoundError::Submit(error)) => {
                    tracing::debug!(%error, "abandoned uploads wait for the next look");
                }
                Err(RoundError::View(error)) => {
                    tracing::error!(%error, "uploads cannot be read; none is given up");
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Gives up what is abandoned; how many.
    async fn look(&self) -> Result<u64, RoundError> {
        let mut given_up = 0;
        let mut after = Some(0);
        while let Some(bucket) = after {
            let now_ms = wall_clock_ms();
            let read = self.inner.node.state().read(|view, applied| {
                // The entry's time is at least that of the newest one, whatever this clock says.
                let now_ms = now_ms.max(applied.time_ms);
                self.inner
                    .machine
                    .buckets_to_expire(view, now_ms, bucket, BUCKETS_AT_ONCE)
            });
            let (due, next) = read?;
            for bucket_id in due {
                given_up += self.expire(bucket_id).await?;
            }
            after = next;
        }
        Ok(given_up)
    }

    async fn expire(&self, bucket_id: u64) -> Result<u64, RoundError> {
        let mut given_up = 0;
        loop {
            let limit = u32::try_from(EXPIRE_UPLOADS_MAX).unwrap_or(u32::MAX);
            let command = Command::ExpireUploads(ExpireUploads { bucket_id, limit });
            match self.inner.proposer.submit_own(command).await?.outcome {
                Some(Outcome::UploadsExpired(count)) => {
                    given_up += count;
                    if count < limit.into() {
                        return Ok(given_up);
                    }
                }
                // The bucket has gone meanwhile, and its uploads with it.
                _ => return Ok(given_up),
            }
        }
    }
}

fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
