//! Reading a range of a chunk: the data shards alone while all is well, any k shards decoded where it is not.
//!
//! Invariant: bytes are returned as slices of what the devices sent, verified, or decoded from verified bytes; a whole shard
//! that was decoded is checked against its own hash as well.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cairn_common::{
    checksum::{Hash, block_hashes, shard_hash},
    cluster_map::ClusterMap,
    erasure::Codec,
    limits::READ_PATIENCE_MS,
    wire::object::Chunk,
};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};

use crate::{
    compute::compute,
    datapath::Datapath,
    gather::{Faults, Gathering, ReadError},
    read_plan::{Blocks, ChunkView, Piece},
    suspects::Avoided,
    verify::Verified,
};

/// What a reader would rather wait for than fail.
const PATIENCE: Duration = Duration::from_millis(READ_PATIENCE_MS);

/// Shards by index, each with the blocks that were read of it.
type Shards = BTreeMap<usize, (Blocks, Bytes)>;

impl Datapath {
    /// Reads and verifies bytes `range` of a chunk, around shards that are missing, late or wrong.
    pub async fn read_chunk(&self, chunk: &Chunk, range: Range<u32>) -> Result<Vec<Bytes>, ReadError> {
        let started = Instant::now();
        let read = self
            .read_range(&self.map(), chunk, &(range.start as usize..range.end as usize))
            .await;
        let metrics = self.metrics();
        match &read {
            Ok(_) => {
                metrics.chunk_reads.inc();
                metrics.read_bytes.inc_by(u64::from(range.end - range.start));
                metrics.read_seconds.observe(started.elapsed().as_secs_f64());
            }
            Err(_) => _ = metrics.read_failures.inc(),
        }
        read
    }

    /// The bytes of `range` of a chunk whose devices stand in `map`.
    pub(crate) async fn read_range(
        &self,
        map: &ClusterMap,
        chunk: &Chunk,
        range: &Range<usize>,
    ) -> Result<Vec<Bytes>, ReadError> {
        let view = ChunkView::new(chunk, map)?;
        let pieces = view.pieces(range)?;
        let shards = if pieces.is_empty() {
            Shards::new()
        } else if view.redundancy.is_replicated() {
            self.read_copy(&view, &pieces[0]).await?
        } else {
            self.read_coded(&view, &pieces).await?
        };
        Ok(pieces.iter().map(|piece| cut(&shards, piece)).collect())
    }

    /// Any one replica.
    async fn read_copy(&self, view: &ChunkView, piece: &Piece) -> Result<Shards, ReadError> {
        let gathering = Gathering {
            blocks: Blocks::holding(&piece.bytes),
            needed: 1,
            good: Vec::new(),
            candidates: in_order(view, &self.avoided(), |_| true),
            faults: Faults::new(),
            patience: PATIENCE,
        };
        let (good, faults) = self.gather(view, gathering).await?;
        self.metrics().degraded_reads.inc_by(u64::from(!faults.is_empty()));
        // Whichever replica it was, it stands for shard 0.
        Ok(good
            .into_iter()
            .map(|(_, verified)| (piece.shard, (verified.blocks, verified.bytes)))
            .collect())
    }

    /// The data shards of the pieces; those that fail or are late are decoded from others.
    async fn read_coded(&self, view: &ChunkView, pieces: &[Piece]) -> Result<Shards, ReadError> {
        let avoided = self.avoided();
        let (direct, faults) = self.read_direct(view, pieces, &avoided).await;
        let lost: Vec<&Piece> = pieces
            .iter()
            .filter(|piece| !direct.contains_key(&piece.shard))
            .collect();
        let Some(blocks) = lost
            .iter()
            .map(|piece| Blocks::holding(&piece.bytes))
            .reduce(Blocks::union)
        else {
            return Ok(sent(direct));
        };
        self.metrics().degraded_reads.inc();
        let at_hand = |index: &usize| {
            direct
                .get(index)
                .is_some_and(|verified| verified.blocks.contains(blocks))
        };
        let good = direct
            .iter()
            .filter(|(index, _)| at_hand(index))
            .map(|(index, verified)| (*index, verified.clone()));
        let is_lost = |index: usize| lost.iter().any(|piece| piece.shard == index);
        let untried = |index: usize| !at_hand(&index) && !faults.contains_key(&index);
        let mut candidates = in_order(view, &avoided, |index| untried(index) && !is_lost(index));
        // What was late or avoided is asked again only where the others do not suffice.
        candidates.extend(in_order(view, &avoided, |index| untried(index) && is_lost(index)));
        let good = good.collect();
        let needed = view.redundancy.data_shards();
        // What is gathered, and what it is copied into to be decoded.
        let bytes = 2 * view.redundancy.width() * blocks.bytes(view.shard_len).len();
        let _room = self.room_to_decode(bytes).await;
        let (good, _) = self
            .gather(
                view,
                Gathering {
                    blocks,
                    needed,
                    good,
                    candidates,
                    faults: faults.clone(),
                    patience: PATIENCE,
                },
            )
            .await?;
        let restored = self.decode(view, blocks, good).await?;
        let mut shards = sent(direct);
        shards.extend(restored.into_iter().filter(|(index, _)| is_lost(*index)));
        Ok(shards)
    }

    /// Asks each piece's own shard, but not devices that failed or were late a moment ago. What does not come in time is left out.
    async fn read_direct(
        &self,
        view: &ChunkView,
        pieces: &[Piece],
        avoided: &Avoided,
    ) -> (BTreeMap<usize, Verified>, Faults) {
        let (mut good, mut faults) = (BTreeMap::new(), Faults::new());
        let direct = pieces.iter().filter(|piece| !is_shunned(view, avoided, piece.shard));
        let asked: Vec<usize> = direct.clone().map(|piece| piece.shard).collect();
        let mut running: FuturesUnordered<_> = direct
            .map(async |piece| {
                (
                    piece.shard,
                    self.fetch(view, piece.shard, Blocks::holding(&piece.bytes)).await,
                )
            })
            .collect();
        loop {
            tokio::select! {
                next = running.next() => match next {
                    Some((shard, Ok(verified))) => _ = good.insert(shard, verified),
                    Some((shard, Err(fault))) => _ = faults.insert(shard, fault),
                    None => return (good, faults),
                },
                () = sleep(self.late_after()) => {
                    let is_late = |shard: &usize| !good.contains_key(shard) && !faults.contains_key(shard);
                    let late: Vec<usize> = asked.iter().copied().filter(is_late).collect();
                    if self.may_hedge(view, &late, late.len()) {
                        return (good, faults);
                    }
                }
            }
        }
    }

    /// Restores the missing data shards of `blocks`.
    async fn decode(
        &self,
        view: &ChunkView,
        blocks: Blocks,
        good: Vec<(usize, Verified)>,
    ) -> Result<Shards, ReadError> {
        let codec = self.codec(view.redundancy);
        let (shard_len, bytes) = (view.shard_len, blocks.bytes(view.shard_len).len());
        let work = bytes * view.redundancy.width();
        compute(work, move || decode_blocks(&codec, shard_len, blocks, &good)).await
    }
}

fn decode_blocks(
    codec: &Arc<Codec>,
    shard_len: usize,
    blocks: Blocks,
    good: &[(usize, Verified)],
) -> Result<Shards, ReadError> {
    let needed = codec.redundancy().data_shards();
    let mut shards = vec![None; codec.redundancy().width()];
    for (index, verified) in good.iter().take(needed) {
        let skipped = blocks.bytes(shard_len).start - verified.blocks.bytes(shard_len).start;
        shards[*index] = Some(verified.bytes[skipped..skipped + blocks.bytes(shard_len).len()].to_vec());
    }
    codec.decode_data(&mut shards).map_err(|_| ReadError::TooFewShards {
        present: good.len(),
        needed,
    })?;
    let whole = blocks.bytes(shard_len) == (0..shard_len);
    let hashes: &[Hash] = good.first().map_or(&[], |(_, verified)| &verified.shard_hashes);
    let mut restored = Shards::new();
    for (index, shard) in shards.into_iter().take(needed).enumerate() {
        let shard = shard.ok_or(ReadError::TooFewShards {
            present: good.len(),
            needed,
        })?;
        let decoded = !good.iter().any(|(given, _)| *given == index);
        if whole && decoded && hashes.get(index) != Some(&shard_hash(shard_len, &block_hashes(&shard))) {
            return Err(ReadError::Corrupt {
                good: 0,
                present: good.len(),
                needed,
            });
        }
        restored.insert(index, (blocks, Bytes::from(shard)));
    }
    Ok(restored)
}

fn sent(direct: BTreeMap<usize, Verified>) -> Shards {
    direct
        .into_iter()
        .map(|(index, verified)| (index, (verified.blocks, verified.bytes)))
        .collect()
}

/// The bytes of `piece`, as a slice of what was read.
fn cut(shards: &Shards, piece: &Piece) -> Bytes {
    let (blocks, bytes) = &shards[&piece.shard];
    let skipped = blocks.bytes(usize::MAX).start;
    bytes.slice(piece.bytes.start - skipped..piece.bytes.end - skipped)
}

/// The shards that `wanted` lets pass: those of trusted devices first, data before parity.
fn in_order(view: &ChunkView, avoided: &Avoided, wanted: impl Fn(usize) -> bool) -> VecDeque<usize> {
    let mut order: Vec<usize> = (0..view.redundancy.width()).filter(|index| wanted(*index)).collect();
    order.sort_by_key(|index| match &view.devices[*index] {
        Some(device) if avoided.failing.contains(&device.id) => 3,
        Some(device) if avoided.late.contains(&device.id) => 2,
        Some(device) if avoided.strained.contains(&device.id) => 1,
        Some(_) => 0,
        None => 4,
    });
    order.into()
}

fn is_shunned(view: &ChunkView, avoided: &Avoided, index: usize) -> bool {
    view.devices[index]
        .as_ref()
        .is_none_or(|device| avoided.failing.contains(&device.id) || avoided.late.contains(&device.id))
}
