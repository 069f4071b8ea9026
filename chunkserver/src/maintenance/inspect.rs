//! A device's segments and records, readable.
//!
//! Records are read from the segments; the index is asked only which of them hold. Invariant: what is damaged is shown as such,
//! and ends nothing.

use super::{INDEX_MEMORY_BYTES, MaintenanceError, StoppedDevice};
use crate::{
    core::{
        position::SegmentId,
        record::{Record, RecordBody},
        segment_name::Stage,
        usage::{Usage, Usages},
    },
    engine::{
        disk::Unchanged,
        index::{Index as _, RocksIndex},
        segments::{SegmentError, Segments},
        walk_records,
    },
    shard::ShardKey,
};

/// A device at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// In order of their numbers.
    pub segments: Vec<SegmentSummary>,
    /// Up to which segment and byte the index knows everything; `None` where it knows nothing, with the reason where it cannot be
    /// read.
    pub indexed: Result<Option<(u64, u32)>, String>,
    /// When the last whole pass of the scrub ended, in milliseconds since 1970; 0 before the first has.
    pub scrub_finished_ms: u64,
}

/// A segment at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its number.
    pub number: u64,
    /// `serving`, `condemned` (being compacted) or `set-aside` (kept for what cannot be read).
    pub stage: &'static str,
    /// Bytes up to the end of its last record.
    pub used_bytes: u64,
    /// Bytes of it that are needed, as the index says.
    pub live_bytes: u64,
    /// Shards in it that were found damaged.
    pub damaged: u32,
    /// Records of shards that were found, needed or not.
    pub shards: u64,
    /// Tombstones that were found.
    pub tombstones: u64,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// Which records are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of this segment only.
    pub segment: Option<u64>,
    /// Those of the chunk of this id only, as records show it.
    pub chunk: Option<String>,
    /// At most so many.
    pub limit: Option<u64>,
}

/// What holds of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The shard lies there, or the tombstone is needed.
    Live,
    /// The shard lies there and was found damaged.
    Damaged,
    /// It was deleted, or moved elsewhere.
    Garbage,
    /// The index does not know it yet: a start reads it again.
    New,
    /// The index cannot be read.
    Unknown,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The segment that it lies in.
    pub segment: u64,
    /// Where in it, in bytes.
    pub offset: u32,
    /// `shard` or `tombstone`.
    pub kind: &'static str,
    /// The chunk's id.
    pub chunk: String,
    /// Which shard of it.
    pub shard: u8,
    /// Its place in the order of changes.
    pub sequence: u64,
    /// Bytes of the record.
    pub record_len: u64,
    /// Bytes of the shard; 0 in a tombstone.
    pub shard_len: u32,
    /// Bytes of the chunk, shards of the chunk: 0 in a tombstone.
    pub chunk_len: u32,
    /// The segment whose shard a tombstone deletes.
    pub target: Option<u64>,
    /// What holds of it.
    pub state: State,
}

impl State {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Damaged => "damaged",
            Self::Garbage => "garbage",
            Self::New => "new",
            Self::Unknown => "unknown",
        }
    }
}

impl StoppedDevice {
    /// The device's segments, and how far its index knows them.
    pub fn summarize(&self) -> Result<Summary, MaintenanceError> {
        let segments = self.segments(Unchanged(self.disk()?))?;
        let known = Known::read(self);
        let mut summaries = Vec::new();
        for (number, stage) in segments.stages() {
            let usage = known.usages.find(number).unwrap_or_default();
            summaries.push(self.summarize_segment(&segments, number, stage, &usage)?);
        }
        Ok(Summary {
            segments: summaries,
            indexed: known.indexed,
            scrub_finished_ms: known.scrub_finished_ms,
        })
    }

    fn summarize_segment(
        &self,
        segments: &Segments,
        number: SegmentId,
        stage: Stage,
        usage: &Usage,
    ) -> Result<SegmentSummary, MaintenanceError> {
        let mut summary = SegmentSummary {
            number: number.value(),
            stage: stage_name(stage),
            used_bytes: 0,
            live_bytes: usage.live_bytes,
            damaged: usage.damaged,
            shards: 0,
            tombstones: 0,
            error: None,
        };
        match segments.find(number) {
            Ok(segment) => walk_records(&segment, 0, |record| {
                summary.used_bytes = record.end().into();
                match record.body {
                    RecordBody::Shard(_) => summary.shards += 1,
                    RecordBody::Tombstone { .. } => summary.tombstones += 1,
                }
                Ok(())
            })
            .map_err(|reason| self.unreadable(reason))?,
            Err(error @ (SegmentError::Header(..) | SegmentError::Absent(_))) => {
                summary.error = Some(error.to_string())
            }
            Err(error @ SegmentError::Io(..)) => return Err(self.segment_error(&error)),
        }
        Ok(summary)
    }

    /// Shows records, in the order in which they lie; `show` ends it with `false`.
    pub fn inspect(&self, filter: &Filter, show: &mut dyn FnMut(Line) -> bool) -> Result<(), MaintenanceError> {
        let segments = self.segments(Unchanged(self.disk()?))?;
        let known = Known::read(self);
        let mut left = filter.limit.unwrap_or(u64::MAX);
        for (number, _) in segments.stages() {
            if filter.segment.is_some_and(|only| only != number.value()) {
                continue;
            }
            let Ok(segment) = segments.find(number) else { continue };
            let walked = walk_records(&segment, 0, |record| {
                if left == 0 {
                    return Err(ENOUGH.to_owned());
                }
                let line = line_of(&record, known.state_of(&record, &segments));
                if filter.chunk.as_ref().is_some_and(|only| *only != line.chunk) {
                    return Ok(());
                }
                left -= 1;
                if show(line) { Ok(()) } else { Err(ENOUGH.to_owned()) }
            });
            match walked {
                Ok(()) => {}
                Err(reason) if reason == ENOUGH => return Ok(()),
                Err(reason) => return Err(self.unreadable(reason)),
            }
        }
        Ok(())
    }
}

/// Ends a walk of which enough was seen.
const ENOUGH: &str = "enough";

/// What the index says, as it was on the disk last.
struct Known {
    index: Option<RocksIndex>,
    usages: Usages,
    indexed: Result<Option<(u64, u32)>, String>,
    scrub_finished_ms: u64,
}

impl Known {
    fn read(device: &StoppedDevice) -> Self {
        let opened = RocksIndex::open_read_only(&device.index_path(), INDEX_MEMORY_BYTES);
        let read = opened.and_then(|index| {
            let (usages, state, scrub) = (index.usages()?, index.state()?, index.scrub()?);
            let end = state.map(|state| state.settled_end);
            Ok((index, usages, end, scrub.finished_ms))
        });
        match read {
            Ok((index, usages, end, scrub_finished_ms)) => Self {
                index: Some(index),
                usages,
                indexed: Ok(end.map(|end| (end.segment.value(), end.offset))),
                scrub_finished_ms,
            },
            Err(error) => Self {
                index: None,
                usages: Usages::default(),
                indexed: Err(error.to_string()),
                scrub_finished_ms: 0,
            },
        }
    }

    fn state_of(&self, record: &Record, segments: &Segments) -> State {
        let Some(index) = &self.index else {
            return State::Unknown;
        };
        let (segment, offset) = (record.position.segment.value(), record.position.offset);
        if self
            .indexed
            .as_ref()
            .is_ok_and(|end| end.is_none_or(|end| (segment, offset) >= end))
        {
            return State::New;
        }
        let key = record.body.key();
        let found = |key: &ShardKey| index.find(key);
        match &record.body {
            RecordBody::Tombstone { target, .. } if *target == record.position.segment => State::Garbage,
            RecordBody::Tombstone { target, .. } if segments.contains(*target) => State::Live,
            RecordBody::Tombstone { .. } => State::Garbage,
            RecordBody::Shard(_) => match found(&key) {
                Ok(Some(location)) if location.position != record.position => State::Garbage,
                Ok(Some(location)) if location.is_damaged => State::Damaged,
                Ok(Some(_)) => State::Live,
                Ok(None) => State::Garbage,
                Err(_) => State::Unknown,
            },
        }
    }
}

fn line_of(record: &Record, state: State) -> Line {
    let key = record.body.key();
    let (kind, shard_len, chunk_len, target) = match &record.body {
        RecordBody::Shard(shard) => ("shard", shard.shard_len, shard.chunk_len, None),
        RecordBody::Tombstone { target, .. } => ("tombstone", 0, 0, Some(target.value())),
    };
    Line {
        segment: record.position.segment.value(),
        offset: record.position.offset,
        kind,
        chunk: key.chunk.to_string(),
        shard: key.index,
        sequence: record.sequence.value(),
        record_len: record.body.record_len() as u64,
        shard_len,
        chunk_len,
        target,
        state,
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Making => "making",
        Stage::Serving => "serving",
        Stage::Condemned => "condemned",
        Stage::SetAside => "set-aside",
    }
}
