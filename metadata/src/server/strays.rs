//! Deletes shards that were left behind where their chunk lies elsewhere by now.
//!
//! A stray is deleted by three proofs: the state, no older than the moment when the shard was known to be there, needs it nowhere
//! near; the device where the shard belongs has it; and the device that deletes it was given no copy under a later map since.
//! Invariant: what cannot be proven stays.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::DeviceId,
    wire::{
        kind::RequestKind,
        shard::{GetShard, GetShardReply},
    },
};
use cairn_transport::{Body, Transport, call};
use futures::{StreamExt, stream};

use super::{
    deletion::{Doomed, delete_shard},
    service::Inner,
};
use crate::core::{ShardId, Verdict, view::ViewError};

/// How long a device may take to say that it has a shard.
const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// Strays deleted at once.
const IN_PARALLEL: usize = 8;
/// Strays that wait at most; inventories find the others.
const WAITING_MAX: usize = 1 << 16;
/// How long a shard that was moved stays where it was: for readers who planned before.
const LINGER: Duration = Duration::from_secs(10);

/// Shards that moves left behind, in the order in which they may go.
#[derive(Default)]
pub(super) struct LeftBehind(VecDeque<(Duration, DeviceId, ShardId)>);

impl LeftBehind {
    /// Notes that a shard lies elsewhere since `now`.
    pub(super) fn note(&mut self, device: DeviceId, shard: ShardId, now: Duration) {
        if self.0.len() < WAITING_MAX {
            self.0.push_back((now + LINGER, device, shard));
        }
    }

    /// Those that may go, `limit` at most, of one device.
    pub(super) fn take_due(&mut self, now: Duration, limit: usize) -> Option<(DeviceId, Vec<ShardId>)> {
        let (_, device, _) = *self.0.front().filter(|(due, _, _)| *due <= now)?;
        let (mut taken, mut rest) = (Vec::new(), VecDeque::with_capacity(self.0.len()));
        for waiting in self.0.drain(..) {
            if waiting.0 <= now && waiting.1 == device && taken.len() < limit {
                taken.push(waiting.2);
            } else {
                rest.push_back(waiting);
            }
        }
        self.0 = rest;
        Some((device, taken))
    }
}

/// Deletes those of the `shards` on `device` that are strays by the state as it is here; how many.
pub(super) async fn delete_strays(
    inner: &Inner,
    transport: &Arc<dyn Transport>,
    map: &ClusterMap,
    device: DeviceId,
    shards: Vec<ShardId>,
) -> Result<u64, ViewError> {
    let judged = shards.clone();
    let verdicts = inner
        .read_state(move |machine, view, _| machine.judge(view, device, &judged))
        .await?;
    let strays = shards
        .into_iter()
        .zip(verdicts)
        .filter_map(|(shard, verdict)| match verdict {
            Verdict::Stray { epoch, home } => Some((shard, epoch, home)),
            Verdict::Kept | Verdict::Orphan => None,
        });
    let deleted = stream::iter(strays)
        .map(|(shard, stray_epoch, home)| async move {
            // Nobody waits for a device that is known to be down: what is urgent comes behind.
            let serves = |id| inner.servers.serving(map, id).is_some();
            if !serves(device) || !serves(home) || !has(&**transport, map, home, shard).await {
                return false;
            }
            let doomed = Doomed {
                device,
                shard,
                stray_epoch,
            };
            let outcome = delete_shard(&**transport, map, doomed).await;
            if let Err(error) = &outcome {
                tracing::debug!(%device, chunk = %shard.0, shard = shard.1, %error, "a stray stays for now");
            }
            outcome.is_ok()
        })
        .buffer_unordered(IN_PARALLEL)
        .filter(|is_gone| std::future::ready(*is_gone))
        .count()
        .await as u64;
    inner.metrics.strays_deleted.inc_by(deleted);
    Ok(deleted)
}

/// Whether a device has a shard, by its own word.
async fn has(transport: &dyn Transport, map: &ClusterMap, device: DeviceId, (chunk, shard_index): ShardId) -> bool {
    let Some(holder) = map.devices.get(&device) else {
        return false;
    };
    let message = GetShard {
        device: device.value(),
        incarnation: holder.incarnation.value(),
        chunk_id: Bytes::copy_from_slice(&chunk.to_bytes()),
        shard_index,
        first_block: 0,
        block_count: 1,
    };
    let kind = RequestKind::GetShard;
    call::<GetShardReply>(transport, holder.server, kind, &message, Body::empty(), ASK_DEADLINE)
        .await
        .is_ok()
}

#[cfg(test)]
mod tests {
    use cairn_common::ids::{ChunkId, SessionId};

    use super::*;

    #[test]
    fn what_is_left_behind_lingers_and_goes_device_by_device() {
        let shard = |counter| {
            let session = SessionId::new(1);
            (ChunkId { session, counter }, 0)
        };
        let (one, two) = (DeviceId::new(1), DeviceId::new(2));
        let mut left = LeftBehind::default();
        for (device, counter) in [(one, 1), (two, 2), (one, 3), (one, 4)] {
            left.note(device, shard(counter), Duration::from_secs(counter));
        }
        assert_eq!(left.take_due(LINGER, 9), None);
        let now = LINGER + Duration::from_secs(3);
        assert_eq!(left.take_due(now, 1), Some((one, vec![shard(1)])));
        assert_eq!(left.take_due(now, 9), Some((two, vec![shard(2)])));
        assert_eq!(left.take_due(now, 9), Some((one, vec![shard(3)])));
        assert_eq!(left.take_due(now, 9), None);
    }
}
