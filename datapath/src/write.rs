//! Storing one chunk: all shards in parallel, all durable, or again under another id.
//!
//! A try that failed leaves shards under an id that is never committed; they are garbage for the inventory worker, and are
//! not deleted here, since a delete could overtake the write it means. Invariant: what is returned for commit names an id
//! under which every shard was acknowledged as durable, in one try, with the tolerance that was asked for.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    erasure::Codec,
    ids::DeviceId,
    limits::{BUSY_BACKOFF_MS, CHUNK_WRITE_TRIES_MAX, SHARD_WRITE_DEADLINE_MS, WRITE_SETTLE_MS},
    redundancy::Redundancy,
    wire::{
        failure::FailureCode,
        kind::RequestKind,
        object::Chunk,
        shard::{PutShard, PutShardReply},
    },
};
use cairn_transport::{Body, CallError, call};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};

use crate::{
    buffer::ChunkBuffer,
    compute::compute,
    datapath::{Datapath, is_busy},
    encode::EncodedChunk,
    placement::{ChunkIds, Placement, TooFewDevices, place},
};

/// Why a chunk was not stored. Nothing may be committed; the caller's bytes are gone with the buffer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// Too few devices serve for the redundancy asked for: refuse the write until they are back.
    #[error("{up} devices serve, {needed} are needed to store data with its redundancy")]
    TooFewDevices {
        /// Devices believed to serve.
        up: usize,
        /// Devices needed.
        needed: usize,
    },
    /// The devices that serve have no room: refuse the write until space is made.
    #[error("{full} devices are full; {up} have room, {needed} are needed")]
    OutOfSpace {
        /// Devices that have room.
        up: usize,
        /// Devices that serve but are full.
        full: usize,
        /// Devices needed.
        needed: usize,
    },
    /// The devices have too much to do: slow down and try again.
    #[error("the devices have too much to do: slow down")]
    Busy,
    /// It failed under several ids, on devices that seemed to serve: try again later.
    #[error("a chunk could not be stored in {tries} tries: {last}")]
    Failed {
        /// Tries made.
        tries: usize,
        /// What the last of them met.
        last: CallError,
    },
    /// The request breaks a rule: a bug. Give up.
    #[error("a chunk was refused: {0}")]
    Rejected(String),
}

/// A chunk's bytes between tries.
enum Pending {
    /// Not yet encoded.
    Raw(ChunkBuffer),
    /// Encoded by an earlier try.
    Frozen(Frozen),
}

/// Bytes laid out for the scheme of the first try, and hashed for that of the last.
struct Frozen {
    encoded: Bytes,
    chunk: EncodedChunk,
}

impl Pending {
    /// Whether the chunk can be sent as `scheme`. Once it was laid out as copies there is no parity to send.
    fn can_be(&self, scheme: Redundancy) -> bool {
        match self {
            Self::Raw(_) => true,
            Self::Frozen(frozen) => scheme.is_replicated() || frozen.encoded.len() > frozen.chunk.chunk_len,
        }
    }
}

/// One failed try.
struct Failed {
    error: CallError,
    all_busy: bool,
}

impl Datapath {
    /// Encodes, hashes and stores all shards of a chunk durably; returns what a commit carries.
    pub async fn write_chunk(
        &self,
        ids: &dyn ChunkIds,
        redundancy: Redundancy,
        buffer: ChunkBuffer,
    ) -> Result<Chunk, WriteError> {
        let started = Instant::now();
        let written = self.write_with_tries(ids, redundancy, buffer).await;
        let metrics = self.metrics();
        match &written {
            Ok(chunk) => {
                metrics.chunk_writes.inc();
                metrics.written_bytes.inc_by(chunk.length.into());
                metrics
                    .explicit_placements
                    .inc_by(u64::from(!chunk.explicit_devices.is_empty()));
                metrics.write_seconds.observe(started.elapsed().as_secs_f64());
            }
            Err(_) => _ = metrics.write_failures.inc(),
        }
        written
    }

    async fn write_with_tries(
        &self,
        ids: &dyn ChunkIds,
        redundancy: Redundancy,
        buffer: ChunkBuffer,
    ) -> Result<Chunk, WriteError> {
        if buffer.is_empty() {
            return Err(WriteError::Rejected("a chunk holds at least one byte".to_owned()));
        }
        let scheme = redundancy.for_chunk(buffer.len());
        let mut pending = Pending::Raw(buffer);
        let mut tries = 0;
        loop {
            let map = self.map();
            let by_row = pending.can_be(scheme);
            let placement = place(&map, scheme, by_row, ids, self.avoided())?;
            let frozen = self.prepare(pending, placement.redundancy).await;
            let failed = match self.send_all(&map, &placement, &frozen.chunk).await {
                Ok(()) => return Ok(record(&map, &placement, &frozen.chunk)),
                Err(failed) => failed,
            };
            tries += 1;
            if is_rejection(&failed.error) {
                return Err(WriteError::Rejected(failed.error.to_string()));
            }
            if tries == CHUNK_WRITE_TRIES_MAX {
                let last = failed.error;
                return Err(if failed.all_busy {
                    WriteError::Busy
                } else {
                    WriteError::Failed { tries, last }
                });
            }
            tracing::debug!(id = %placement.id, error = %failed.error, "sending a chunk again under a new id");
            self.metrics().write_retries.inc();
            if failed.all_busy {
                sleep(Duration::from_millis(BUSY_BACKOFF_MS << tries)).await;
            }
            pending = Pending::Frozen(frozen);
        }
    }

    /// Encodes, hashes and stores all shards of a chunk durably, on devices of `map` that someone else chose, in one try.
    pub(crate) async fn write_placed(
        &self,
        map: &ClusterMap,
        placement: &Placement,
        buffer: ChunkBuffer,
    ) -> Result<Chunk, WriteError> {
        let frozen = self.prepare(Pending::Raw(buffer), placement.redundancy).await;
        match self.send_all(map, placement, &frozen.chunk).await {
            Ok(()) => Ok(record(map, placement, &frozen.chunk)),
            Err(Failed { error, .. }) => Err(WriteError::Failed { tries: 1, last: error }),
        }
    }

    /// Encodes and hashes where the scheme asks for what is not there yet.
    async fn prepare(&self, pending: Pending, redundancy: Redundancy) -> Frozen {
        match pending {
            Pending::Raw(buffer) => {
                let codec = self.codec(redundancy);
                compute(buffer.len(), move || encode(buffer, &codec)).await
            }
            Pending::Frozen(Frozen { encoded, chunk }) if chunk.redundancy != redundancy => {
                let chunk_len = chunk.chunk_len;
                let rehash = move || {
                    let chunk = EncodedChunk::new(&encoded, chunk_len, redundancy);
                    Frozen { encoded, chunk }
                };
                compute(chunk_len, rehash).await
            }
            Pending::Frozen(frozen) => frozen,
        }
    }

    /// Sends all shards at once. After the first failure the rest is awaited a little longer and then given up: devices that
    /// went away together cost one try. A device that is late where half of the others have acknowledged is given up as well: one that
    /// fell silent does not cost its whole deadline.
    async fn send_all(&self, map: &ClusterMap, placement: &Placement, chunk: &EncodedChunk) -> Result<(), Failed> {
        let started = Instant::now();
        let mut waiting: BTreeSet<DeviceId> = placement.devices.iter().copied().collect();
        let mut running: FuturesUnordered<_> = placement
            .devices
            .iter()
            .enumerate()
            .map(async |(index, device)| (*device, self.send(map, placement, chunk, index, *device).await))
            .collect();
        let mut failed: Option<Failed> = None;
        let settled = sleep(Duration::MAX);
        let late = sleep(self.write_late_after());
        tokio::pin!(settled, late);
        loop {
            let is_half_done = waiting.len() * 2 <= placement.devices.len();
            let (device, sent) = tokio::select! {
                next = running.next() => match next {
                    Some(next) => next,
                    None => break,
                },
                () = &mut settled => break,
                () = &mut late, if is_half_done => {
                    waiting.iter().for_each(|device| self.suspect_late(*device));
                    let error = CallError::DeadlineExceeded;
                    return Err(failed.unwrap_or(Failed { error, all_busy: false }));
                }
            };
            waiting.remove(&device);
            match sent {
                Ok(()) => {
                    self.trust(device);
                    self.learn_write_time(started.elapsed());
                }
                Err(error) => {
                    self.suspect(device, &error);
                    if failed.is_none() {
                        settled
                            .as_mut()
                            .reset(Instant::now() + Duration::from_millis(WRITE_SETTLE_MS));
                    }
                    let all_busy = is_busy(&error) && failed.as_ref().is_none_or(|failed| failed.all_busy);
                    failed = Some(Failed { error, all_busy });
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn send(
        &self,
        map: &ClusterMap,
        placement: &Placement,
        chunk: &EncodedChunk,
        index: usize,
        device: DeviceId,
    ) -> Result<(), CallError> {
        let device = map
            .devices
            .get(&device)
            .expect("rows and placements name devices of the map");
        let shard = &chunk.shards[index];
        let message = PutShard {
            device: device.id.value(),
            incarnation: device.incarnation.value(),
            chunk_id: Bytes::copy_from_slice(&placement.id.to_bytes()),
            shard_index: narrow(index),
            shard_len: narrow(shard.bytes.len()),
            chunk_len: narrow(chunk.chunk_len),
            block_hashes: shard.block_hashes.clone(),
            shard_hashes: chunk.shard_hashes.clone(),
        };
        let timeout = Duration::from_millis(SHARD_WRITE_DEADLINE_MS);
        let body = Body::from(shard.bytes.clone());
        let sent = call::<PutShardReply>(
            self.transport(),
            device.server,
            RequestKind::PutShard,
            &message,
            body,
            timeout,
        );
        sent.await.map(|_| ())
    }
}

fn encode(buffer: ChunkBuffer, codec: &Codec) -> Frozen {
    let chunk_len = buffer.len();
    let encoded = buffer.encode(codec);
    let chunk = EncodedChunk::new(&encoded, chunk_len, codec.redundancy());
    Frozen { encoded, chunk }
}

/// What a commit carries.
fn record(map: &ClusterMap, placement: &Placement, chunk: &EncodedChunk) -> Chunk {
    let explicit = if placement.explicit {
        placement.devices.as_slice()
    } else {
        &[]
    };
    Chunk {
        id: Bytes::copy_from_slice(&placement.id.to_bytes()),
        data_shards: narrow(chunk.redundancy.data_shards()),
        parity_shards: narrow(chunk.redundancy.parity_shards()),
        length: narrow(chunk.chunk_len),
        hash: Bytes::copy_from_slice(chunk.hash.as_bytes()),
        explicit_devices: explicit.iter().map(|device| device.value()).collect(),
        epoch: map.epoch.value(),
        missing: 0,
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("a chunk, its shards and their number fit 32 bits")
}

/// Whether the request itself was at fault, so that no other device would take it either.
fn is_rejection(error: &CallError) -> bool {
    matches!(error, CallError::Failed(failure) if failure.code() == FailureCode::Malformed)
}

impl From<TooFewDevices> for WriteError {
    fn from(TooFewDevices { up, full, needed }: TooFewDevices) -> Self {
        if up + full >= needed {
            return Self::OutOfSpace { up, full, needed };
        }
        Self::TooFewDevices { up, needed }
    }
}
