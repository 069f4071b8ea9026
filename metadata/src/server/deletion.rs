//! Deletes shards from devices, for the workers that prove that they may go.
//!
//! It must never decide that a shard may go: its callers do, each by its own proof. Invariant: a deletion counts as done
//! only when the device's server said so, or said that there is no such shard.

use std::time::Duration;

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::DeviceId,
    wire::{
        failure::FailureCode,
        kind::RequestKind,
        shard::{DeleteShard, DeleteShardReply},
    },
};
use cairn_transport::{Body, CallError, Transport, call};

use crate::core::ShardId;

/// How long a device may take to delete a shard.
const DELETE_DEADLINE: Duration = Duration::from_secs(10);

/// Why a shard is not known to be gone. All are tried again later.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum DeleteError {
    /// The map does not hold the device.
    #[error("the cluster map holds no device {0}")]
    UnknownDevice(DeviceId),
    /// The device's server did not confirm.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A shard that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doomed {
    pub(super) device: DeviceId,
    pub(super) shard: ShardId,
    /// Of a stray, the map by which it is one; 0 for a shard whose chunk is gone for good.
    pub(super) stray_epoch: u64,
}

/// Deletes one shard.
pub(super) async fn delete_shard(
    transport: &dyn Transport,
    map: &ClusterMap,
    doomed: Doomed,
) -> Result<(), DeleteError> {
    let (device, (chunk, shard_index)) = (doomed.device, doomed.shard);
    let holder = map.devices.get(&device).ok_or(DeleteError::UnknownDevice(device))?;
    let message = DeleteShard {
        device: device.value(),
        incarnation: holder.incarnation.value(),
        chunk_id: Bytes::copy_from_slice(&chunk.to_bytes()),
        shard_index,
        stray_epoch: doomed.stray_epoch,
    };
    let kind = RequestKind::DeleteShard;
    let answer =
        call::<DeleteShardReply>(transport, holder.server, kind, &message, Body::empty(), DELETE_DEADLINE).await;
    match answer {
        Ok(_) => Ok(()),
        Err(CallError::Failed(failure)) if failure.code() == FailureCode::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}
