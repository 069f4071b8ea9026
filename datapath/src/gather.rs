//! Gathering enough shards: the same blocks from any `needed` of the candidates, the likeliest first, more when some fail or
//! are late.
//!
//! Invariant: it ends with enough verified shards or after every candidate was asked, and those that were late again where the
//! caller has the patience, so an error means that the chunk cannot be read now, never that one device was slow for a moment.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};

use crate::{
    datapath::Datapath,
    fetch::Fault,
    read_plan::{Blocks, ChunkView, PlanError},
    verify::Verified,
};

/// Why a range of a chunk could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Too few shards can be had: the data is unreadable now, and may come back with its devices.
    #[error("{present} shards are present, {needed} are needed: the data cannot be read now")]
    TooFewShards {
        /// Shards that can be had, damaged ones included.
        present: usize,
        /// Shards needed.
        needed: usize,
    },
    /// Enough shards are present, but too few that are undamaged. A person should look.
    #[error("only {good} of {present} present shards are undamaged, {needed} are needed")]
    Corrupt {
        /// Shards that can be had and are what was committed.
        good: usize,
        /// Shards that can be had.
        present: usize,
        /// Shards needed.
        needed: usize,
    },
    /// The map does not say where the chunk lies: fetch the map again.
    #[error("the cluster map has no row for the chunk")]
    NoRow,
    /// The chunk's record or the range is not a possible one: a bug. Give up.
    #[error("the chunk cannot be read as asked: {0}")]
    Malformed(&'static str),
}

/// What failed so far, by shard.
pub(crate) type Faults = BTreeMap<usize, Fault>;

/// What a gathering starts from.
pub(crate) struct Gathering {
    /// The blocks wanted, the same of every shard.
    pub(crate) blocks: Blocks,
    /// Shards needed.
    pub(crate) needed: usize,
    /// Shards at hand.
    pub(crate) good: Vec<(usize, Verified)>,
    /// Shards to ask for, in this order.
    pub(crate) candidates: VecDeque<usize>,
    /// Shards that failed already.
    pub(crate) faults: Faults,
    /// How long shards that were late are asked for again, where the others do not suffice.
    pub(crate) patience: Duration,
}

impl Datapath {
    /// Completes `gathering`.
    pub(crate) async fn gather(
        &self,
        view: &ChunkView,
        gathering: Gathering,
    ) -> Result<(Vec<(usize, Verified)>, Faults), ReadError> {
        let Gathering {
            blocks,
            needed,
            mut good,
            mut candidates,
            mut faults,
            patience,
        } = gathering;
        let started = Instant::now();
        let ask = async |index| (index, self.fetch(view, index, blocks).await);
        let (mut running, mut asked) = (FuturesUnordered::new(), Vec::new());
        loop {
            while good.len() + running.len() < needed
                && let Some(index) = candidates.pop_front()
            {
                asked.push(index);
                running.push(ask(index));
            }
            if good.len() >= needed {
                return Ok((good, faults));
            }
            tokio::select! {
                next = running.next() => match next {
                    Some((index, Ok(verified))) => good.push((index, verified)),
                    Some((index, Err(fault))) => _ = faults.insert(index, fault),
                    None => {
                        let late = faults.values().filter(|fault| **fault == Fault::Late).count();
                        if good.len() + late < needed || started.elapsed() >= patience {
                            return Err(unreadable(view, needed, &faults));
                        }
                        let late = faults.extract_if(.., |_, fault| *fault == Fault::Late);
                        running.extend(late.map(|(index, _)| ask(index)));
                    }
                },
                () = sleep(self.late_after()), if !candidates.is_empty() => {
                    let more = (needed - good.len()).min(candidates.len());
                    let is_late = |index: &usize| {
                        !faults.contains_key(index) && !good.iter().any(|(answered, _)| answered == index)
                    };
                    let late: Vec<usize> = asked.iter().copied().filter(is_late).collect();
                    if self.may_hedge(view, &late, more) {
                        for index in candidates.drain(..more) {
                            asked.push(index);
                            running.push(ask(index));
                        }
                    }
                }
            }
        }
    }
}

/// The error after all candidates were asked.
fn unreadable(view: &ChunkView, needed: usize, faults: &Faults) -> ReadError {
    let good = view.redundancy.width() - faults.len();
    let damaged = faults.values().filter(|fault| **fault == Fault::Damaged).count();
    let present = good + damaged;
    if present >= needed {
        return ReadError::Corrupt { good, present, needed };
    }
    ReadError::TooFewShards { present, needed }
}

impl From<PlanError> for ReadError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Malformed(reason) => Self::Malformed(reason),
            PlanError::NoRow => Self::NoRow,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use async_trait::async_trait;
    use bytes::Bytes;
    use cairn_common::{
        checksum::{block_hashes, chunk_hash, shard_hash},
        cluster_map::{ClusterMap, Device},
        ids::{DeviceId, Incarnation, NodeId},
        wire::{object::Chunk, shard::GetShardReply},
    };
    use cairn_transport::{Body, CallError, Request, Response, Transport, reply};

    use crate::{ChunkBudget, Datapath, Metrics, ReadError};

    const BYTES: &[u8] = b"what the chunk holds";

    /// A server that does not answer the first so many requests.
    struct SlowAtFirst {
        silent: usize,
        asked: AtomicUsize,
        answer: GetShardReply,
    }

    #[async_trait]
    impl Transport for SlowAtFirst {
        async fn send(&self, _: NodeId, request: Request) -> Result<Response, CallError> {
            if self.asked.fetch_add(1, Ordering::Relaxed) < self.silent {
                let late = tokio::time::timeout_at(request.deadline, std::future::pending()).await;
                return late.map_err(|_| CallError::DeadlineExceeded);
            }
            Ok(reply(&self.answer, Body::from(Bytes::from_static(BYTES))))
        }
    }

    /// What a read brings of a chunk on one device, which leaves so many requests without an answer, and how often it was asked.
    async fn read_from(silent: usize) -> (Result<Vec<Bytes>, ReadError>, usize) {
        let blocks = block_hashes(BYTES);
        let shard = shard_hash(BYTES.len(), &blocks);
        let device = Device {
            id: DeviceId::new(1),
            incarnation: Incarnation::new(1),
            server: NodeId::new(1),
            weight_bytes: 1,
            failure_domain: String::new(),
            disk: String::new(),
        };
        let map = Arc::new(ClusterMap {
            devices: [(device.id, device)].into(),
            ..ClusterMap::default()
        });
        let chunk = Chunk {
            id: Bytes::from_static(&[1; 16]),
            data_shards: 1,
            parity_shards: 0,
            length: u32::try_from(BYTES.len()).expect("few"),
            hash: Bytes::copy_from_slice(chunk_hash(BYTES.len(), &[shard]).as_bytes()),
            explicit_devices: vec![1],
            epoch: 1,
            missing: 0,
        };
        let server = Arc::new(SlowAtFirst {
            silent,
            asked: AtomicUsize::new(0),
            answer: GetShardReply {
                shard_len: chunk.length,
                block_hashes: blocks.iter().flat_map(|hash| *hash.as_bytes()).collect(),
                shard_hashes: Bytes::copy_from_slice(shard.as_bytes()),
            },
        });
        let transport = Arc::clone(&server) as Arc<dyn Transport>;
        let source = Arc::new(move || Arc::clone(&map));
        let datapath = Datapath::new(transport, source, ChunkBudget::new(1 << 20), Metrics::default());
        let read = datapath.read_chunk(&chunk, 0..chunk.length).await;
        (read, server.asked.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn who_alone_has_it_and_was_late_is_asked_again_and_not_for_ever() {
        let whole = Ok(vec![Bytes::from_static(BYTES)]);
        assert_eq!(read_from(0).await, (whole.clone(), 1));
        assert_eq!(read_from(2).await, (whole, 3));
        let (read, asked) = read_from(usize::MAX).await;
        assert_eq!(read, Err(ReadError::TooFewShards { present: 0, needed: 1 }));
        assert_eq!(asked, 3);
    }
}
