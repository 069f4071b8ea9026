//! Deletes shards from devices, for the garbage and the inventory workers.
//!
//! It must never decide that a shard may go: its callers do, each by its own proof. Invariant: a deletion counts as done
//! only when the device's server said so, or said that there is no such shard.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId},
    wire::{
        failure::FailureCode,
        kind::RequestKind,
        query::{Answer, MapQuery, Query},
        shard::{DeleteShard, DeleteShardReply},
    },
};
use cairn_transport::{Body, CallError, Transport, call};

use crate::{
    core::view::ViewError,
    raft::{Machine, RaftNode},
};

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

/// Deletes one shard.
pub(super) async fn delete_shard(
    transport: &dyn Transport,
    map: &ClusterMap,
    device: DeviceId,
    chunk: ChunkId,
    shard_index: u32,
) -> Result<(), DeleteError> {
    let holder = map.devices.get(&device).ok_or(DeleteError::UnknownDevice(device))?;
    let message = DeleteShard {
        device: device.value(),
        incarnation: holder.incarnation.value(),
        chunk_id: Bytes::copy_from_slice(&chunk.to_bytes()),
        shard_index,
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

/// The cluster map of the local state, where there is one.
pub(super) fn local_map(node: &RaftNode, machine: &Arc<dyn Machine>) -> Result<Option<ClusterMap>, ViewError> {
    let query = Query::Map(MapQuery {});
    let reply = node
        .state()
        .read(|view, applied| machine.answer(view, applied.index(), &query))?;
    let Some(Answer::Map(message)) = reply.answer else {
        return Ok(None);
    };
    let map = ClusterMap::try_from(message);
    map.map(Some).map_err(|error| ViewError::Corrupt {
        family: "system",
        detail: error.to_string(),
    })
}
