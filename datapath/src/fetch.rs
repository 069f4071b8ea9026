//! Asking one device for blocks of one shard, and learning from what comes back.
//!
//! Invariant: what is returned as good was verified against the committed chunk hash, whoever sent it.

use std::time::Duration;

use cairn_common::{
    limits::SHARD_READ_DEADLINE_MS,
    wire::{
        failure::FailureCode,
        kind::RequestKind,
        shard::{GetShard, GetShardReply},
    },
};
use cairn_transport::{Body, CallError, call};
use tokio::time::{Instant, timeout_at};

use crate::{
    compute::compute,
    datapath::{Datapath, Finding},
    read_plan::{Blocks, ChunkView},
    verify::{Verified, verify},
};

/// Of one shard's read.
const DEADLINE: Duration = Duration::from_millis(SHARD_READ_DEADLINE_MS);

/// Why a shard could not be had.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The device answers that it does not have it, or the map knows the device no longer.
    Missing,
    /// Its bytes are not those that were committed.
    Damaged,
    /// The device does not answer in time.
    Late,
    /// The device does not answer.
    Unavailable,
}

impl Datapath {
    /// Asks for `blocks` of shard `index` and verifies them.
    pub(crate) async fn fetch(&self, view: &ChunkView, index: usize, blocks: Blocks) -> Result<Verified, Fault> {
        let Some(device) = view.devices.get(index).and_then(Option::as_ref) else {
            return Err(Fault::Missing);
        };
        let finding = Finding {
            chunk: view.id,
            shard: index,
            device: device.id,
        };
        let started = Instant::now();
        let answer = match self.ask(view, index, blocks).await {
            Ok((reply, body)) => {
                let view = view.clone();
                let bytes = body.iter().map(bytes::Bytes::len).sum();
                compute(bytes, move || verify(&view, index, blocks, &reply, body)).await
            }
            Err(CallError::Failed(failure)) if failure.code() == FailureCode::NotFound => {
                self.metrics().missing_shards.inc();
                if self.is_news(finding) {
                    tracing::warn!(chunk = %view.id, shard = index, device = %device.id, "a shard is missing");
                }
                return Err(Fault::Missing);
            }
            Err(CallError::Failed(failure)) if failure.code() == FailureCode::Corrupt => Err(failure.detail),
            Err(error) => {
                self.suspect(device.id, &error);
                tracing::debug!(chunk = %view.id, shard = index, device = %device.id, %error, "a shard cannot be read now");
                // A body that is cut at the deadline says so in other words.
                return Err(if started.elapsed() >= DEADLINE {
                    Fault::Late
                } else {
                    Fault::Unavailable
                });
            }
        };
        answer
            .inspect(|_| self.learn_read_time(started.elapsed()))
            .map_err(|reason| {
                self.metrics().corrupt_shards.inc();
                if self.is_news(finding) {
                    tracing::warn!(chunk = %view.id, shard = index, device = %device.id, reason, "a shard is damaged");
                }
                Fault::Damaged
            })
    }

    async fn ask(
        &self,
        view: &ChunkView,
        index: usize,
        blocks: Blocks,
    ) -> Result<(GetShardReply, Vec<bytes::Bytes>), CallError> {
        let device = view.devices[index].as_ref().expect("the caller looked");
        let narrow = |number: usize| u32::try_from(number).expect("shards and blocks of a chunk fit 32 bits");
        let message = GetShard {
            device: device.id.value(),
            incarnation: device.incarnation.value(),
            chunk_id: view.id_bytes.clone(),
            shard_index: narrow(index),
            first_block: narrow(blocks.first),
            block_count: narrow(blocks.count),
        };
        let deadline = Instant::now() + DEADLINE;
        let (reply, body) = call::<GetShardReply>(
            self.transport(),
            device.server,
            RequestKind::GetShard,
            &message,
            Body::empty(),
            DEADLINE,
        )
        .await?;
        let collected = timeout_at(deadline, body.collect(blocks.bytes(view.shard_len).len())).await;
        Ok((reply, collected.map_err(|_| CallError::DeadlineExceeded)??))
    }
}
