//! Chunks: where their shards lie, what is missing, what waits for repair.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_common::wire::{
    chunk::{ChunkAnswer, ChunkInfo, ChunkQuery, ChunkQuestion, ChunkReply, PageQuery, RepairPage},
    object::Chunk,
    query::{Answer, Query},
};

use super::{Questions, Sample, same};

impl Questions<'_> {
    pub(super) fn chunks(&mut self, sample: Sample) -> Result<(), String> {
        let live: Vec<Bytes> = self.world.live_chunks().into_iter().collect();
        let (cases, most) = sample.bounds();
        for id in self.rng.sample(live.iter(), cases, most) {
            let question = ChunkQuestion::Chunk(id.clone());
            let ChunkReply::Chunk(info) = self.ask_chunk(&question)? else {
                return Err(format!("{question:?} is no chunk"));
            };
            self.chunk(id, &info)?;
        }
        let repairs = self.repairs()?;
        for id in &live {
            let chunk = &self.world.chunks[id];
            let missing = self.world.places[id].missing.count_ones();
            let priority = chunk.parity_shards.checked_sub(missing).unwrap_or(192);
            let found = repairs.get(id).copied();
            let agrees = if missing > 0 {
                found == Some(priority)
            } else {
                found.is_none_or(|found| found == 64 || found == 128)
            };
            same(agrees, &("repair of", id), &(missing, priority), &found)?;
        }
        Ok(())
    }

    fn ask_chunk(&self, question: &ChunkQuestion) -> Result<ChunkReply, String> {
        let query = Query::Chunk(ChunkQuery {
            question: Some(question.clone()),
        });
        match self.ask(&query)? {
            Ok(Answer::Chunk(ChunkAnswer { reply: Some(reply) })) => Ok(reply),
            other => Err(format!("{query:?} is answered by {other:?}")),
        }
    }

    fn chunk(&self, id: &Bytes, info: &ChunkInfo) -> Result<(), String> {
        let (committed, place) = (&self.world.chunks[id], &self.world.places[id]);
        let row = self.world.wanted_row(committed);
        let found = info.chunk.clone().unwrap_or_default();
        let devices = if found.explicit_devices.is_empty() {
            row.clone()
        } else {
            found.explicit_devices.clone()
        };
        let expected = Chunk {
            missing: place.missing,
            explicit_devices: found.explicit_devices.clone(),
            epoch: found.epoch,
            ..committed.clone()
        };
        let lies_elsewhere = place
            .devices
            .iter()
            .zip(&row)
            .zip(0..)
            .filter(|((lies, wanted), _)| lies != wanted);
        let misplaced = lies_elsewhere.fold(0, |bits, (_, index)| bits | 1 << index);
        let agrees = devices == place.devices
            && found == expected
            && info.row == row
            && info.misplaced == misplaced
            && info.references > 0;
        same(agrees, &("chunk", id), &(expected, place, row, misplaced), info)
    }

    /// All chunks that wait for repair, with their priorities.
    fn repairs(&mut self) -> Result<BTreeMap<Bytes, u32>, String> {
        let limit = *self.rng.pick(&[2, 1000]);
        let (mut found, mut from, mut last) = (BTreeMap::new(), Bytes::new(), 0);
        loop {
            let question = ChunkQuestion::Repairs(PageQuery { from, limit });
            let ChunkReply::Repairs(RepairPage { repairs, next_from }) = self.ask_chunk(&question)? else {
                return Err(format!("{question:?} is no page of repairs"));
            };
            for repair in repairs {
                let id = repair.chunk.and_then(|info| info.chunk).unwrap_or_default().id;
                let twice = found.insert(id, repair.priority).is_some();
                if twice || repair.priority < last {
                    return Err("the repair queue holds a chunk twice, or is out of order".to_owned());
                }
                last = repair.priority;
            }
            if next_from.is_empty() {
                return Ok(found);
            }
            from = next_from;
        }
    }
}
