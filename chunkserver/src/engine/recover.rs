//! Opening: what the segments hold and the index does not know yet, and where the log goes on.
//!
//! The index names the place before which it knows everything; from there on the segments are read again. The newest records
//! tell up to which place everything was synced: what lies before it is whole, or the disk has damaged it later, which scrub
//! finds. Behind it nothing was promised that is not whole: a record whose payload does not match is cut. Invariants: nothing
//! is answered before what was found is synced; a place that was cut never holds a record again that nobody wrote.

use std::sync::Arc;

use bytes::Bytes;
use cairn_common::limits::BLOCK_SIZE_BYTES;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::{
    Engine, Parts, View,
    index::IndexBatch,
    read::are_good,
    segment_bytes,
    segments::{Segment, SegmentError, Segments},
};
use crate::core::{
    changes::Changes,
    index_record::IndexState,
    position::{Position, SegmentId, Sequence},
    record::{Record, RecordBody, UNIT},
    segment_header::SEGMENT_HEADER_LEN,
    tail::Tail,
    usage::Usages,
    walk::Walk,
};

/// Records whose changes go to the index in one batch.
const BATCH_RECORDS: usize = 4096;

/// Bytes of a payload that are verified at a time: whole blocks.
const VERIFY_LEN: usize = 16 * BLOCK_SIZE_BYTES;

/// What opening has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Records that were read again.
    pub(crate) records: u64,
    /// Records that were cut: nobody was promised them.
    pub(crate) cut: u64,
    /// Segments that cannot be read at all.
    pub(crate) unreadable: u64,
}

impl Engine {
    /// Opens a device's store. The error says why it cannot serve. `progress` is told of bytes of segments that were read
    /// again, and of how many.
    pub(crate) fn open(parts: Parts, progress: &dyn Fn(u64, u64)) -> Result<(Self, Recovered), String> {
        let Parts {
            identity,
            disk,
            index,
            health,
            metrics,
            settings,
            salts,
        } = parts;
        let space = disk
            .space()
            .map_err(|errno| format!("cannot read the free space: {errno}"))?;
        let segments = Segments::open(Arc::clone(&disk), identity).map_err(|error| error.to_string())?;
        let usages = index.usages().map_err(|error| error.to_string())?;
        let scrub = index.scrub().map_err(|error| error.to_string())?;
        let start = Position::default();
        let engine = Self {
            health,
            metrics,
            disk,
            segments,
            index,
            settings,
            segment_bytes: segment_bytes(&settings, &space),
            salts,
            usages: Mutex::new(usages),
            tail: Mutex::new(Tail::new(start, 0, Sequence::default())),
            scrub: Mutex::new(scrub),
            full: Mutex::default(),
        };
        let recovered = engine.recover(progress)?;
        Ok((engine, recovered))
    }

    fn recover(&self, progress: &dyn Fn(u64, u64)) -> Result<Recovered, String> {
        let known = self
            .index
            .state()
            .map_err(|error| error.to_string())?
            .unwrap_or_default();
        let synced_end = self.synced_end(known.settled_end)?;
        let mut recovery = Recovery {
            engine: self,
            usages: self.usages.lock().clone(),
            state: known,
            synced_end,
            changes: Changes::default(),
            pending: 0,
            recovered: Recovered::default(),
        };
        recovery.forget_missing()?;
        let mut end = None;
        let mut segments = self.segments.numbers();
        segments.retain(|segment| *segment >= known.settled_end.segment);
        let bytes = |segments: usize| segments as u64 * u64::from(self.segment_bytes);
        for (done, segment) in segments.iter().enumerate() {
            progress(bytes(done), bytes(segments.len()));
            end = recovery.take_segment(*segment, known.settled_end.offset_in(*segment))?;
        }
        recovery.write()?;
        let Recovery {
            usages,
            state,
            recovered,
            ..
        } = recovery;
        *self.usages.lock() = usages;
        self.start_log(end, &state);
        Ok(recovered)
    }

    /// The log goes on behind its last record, or in a new segment where the newest cannot be read.
    fn start_log(&self, end: Option<(Position, u32)>, state: &IndexState) {
        let newest = self
            .segments
            .newest()
            .unwrap_or_default()
            .max(state.settled_end.segment);
        let (position, size_bytes) = match end {
            Some((end, size_bytes)) if end.segment == newest => (end, size_bytes),
            _ => {
                let full = Position {
                    segment: newest,
                    offset: 0,
                };
                (full, 0)
            }
        };
        let mut tail = Tail::new(position, size_bytes, state.next_sequence);
        tail.put_reserve(self.space().unwrap_or_default().free_bytes < self.compaction_bytes());
        *self.tail.lock() = tail;
    }

    /// The place before which everything was synced, as the newest records tell: `settled_end` or one behind it, for the index
    /// holds only what was synced.
    fn synced_end(&self, settled_end: Position) -> Result<Position, String> {
        let mut synced_end = settled_end;
        for number in self.segments.numbers().into_iter().rev() {
            if number < settled_end.segment {
                break;
            }
            let Some(segment) = self.readable(number)? else {
                continue;
            };
            let mut is_empty = true;
            walk_records(&segment, settled_end.offset_in(number), |record| {
                is_empty = false;
                synced_end = synced_end.max(record.synced_end);
                Ok(())
            })?;
            if !is_empty {
                break;
            }
        }
        Ok(synced_end)
    }

    fn readable(&self, number: SegmentId) -> Result<Option<Arc<Segment>>, String> {
        match self.segments.find(number) {
            Ok(segment) => Ok(Some(segment)),
            Err(error @ (SegmentError::Header(..) | SegmentError::Absent(_))) => {
                tracing::error!(device = %self.health.device(), %error, "the segment cannot be read; its shards are lost here");
                Ok(None)
            }
            Err(error @ SegmentError::Io(..)) => Err(error.to_string()),
        }
    }
}

/// A recovery under way.
struct Recovery<'a> {
    engine: &'a Engine,
    usages: Usages,
    state: IndexState,
    synced_end: Position,
    changes: Changes,
    pending: usize,
    recovered: Recovered,
}

impl Recovery<'_> {
    /// Forgets segments that were removed after the index was last written.
    fn forget_missing(&mut self) -> Result<(), String> {
        let segments = &self.engine.segments;
        let aside = segments.set_aside();
        let known: Vec<_> = self.usages.iter().collect();
        for (segment, usage) in known {
            if segments.contains(segment) || aside.contains(&segment) {
                continue;
            }
            if usage.live_bytes > 0 {
                let live_bytes = usage.live_bytes;
                tracing::error!(device = %self.engine.health.device(), %segment, live_bytes, "a segment is missing; its shards are lost here");
            }
            let forgotten = self.engine.forget_usage(segment, &mut self.usages);
            forgotten.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Takes the records of a segment from `from` on; gives the end of the last one, and the segment's size.
    fn take_segment(&mut self, number: SegmentId, from: u32) -> Result<Option<(Position, u32)>, String> {
        let Some(segment) = self.engine.readable(number)? else {
            self.recovered.unreadable += 1;
            return Ok(None);
        };
        // What a crash of the process left in the page cache must not be answered before it is on the disk.
        segment.file.sync().map_err(io("sync a segment"))?;
        let mut end = from.max(SEGMENT_HEADER_LEN as u32);
        let mut cut = Vec::new();
        walk_records(&segment, from, |record| {
            if record.position >= self.synced_end && !is_whole(&segment, &record).map_err(io("read a record"))? {
                if self.was_promised(&record)? {
                    // What is wrong with it is found where it is read.
                    end = record.end();
                } else {
                    cut.push(record.position.offset);
                }
                return Ok(());
            }
            end = record.end();
            self.take(&record)
        })?;
        for offset in &cut {
            let zeros = Bytes::from_static(&[0; UNIT]);
            segment
                .file
                .write_at(*offset, &[zeros])
                .map_err(io("cut a torn record"))?;
        }
        if !cut.is_empty() {
            segment.file.sync().map_err(io("sync a segment"))?;
            self.recovered.cut += cut.len() as u64;
        }
        let before = View {
            engine: self.engine,
            usages: &self.usages,
        };
        self.changes.fill(&before, number, end.into());
        let position = Position {
            segment: number,
            offset: end,
        };
        self.state.settled_end = self.state.settled_end.max(position);
        Ok(Some((position, segment.size_bytes)))
    }

    /// Whether the index knows a record: then it was synced once, and the disk has damaged it.
    fn was_promised(&self, record: &Record) -> Result<bool, String> {
        let found = self
            .engine
            .index
            .find(&record.body.key())
            .map_err(|error| error.to_string())?;
        Ok(found.is_some_and(|found| found.position == record.position))
    }

    fn take(&mut self, record: &Record) -> Result<(), String> {
        let before = View {
            engine: self.engine,
            usages: &self.usages,
        };
        self.changes.take(&before, record).map_err(|error| error.to_string())?;
        self.state.next_sequence = self.state.next_sequence.max(record.sequence.next());
        self.recovered.records += 1;
        self.pending += 1;
        if self.pending >= BATCH_RECORDS {
            self.write()?;
        }
        Ok(())
    }

    /// Writes what has come together. The state only moves with the last of it: until then a start begins where this one did.
    fn write(&mut self) -> Result<(), String> {
        self.pending = 0;
        let batch = IndexBatch {
            changes: std::mem::take(&mut self.changes),
            state: Some(self.state),
            ..IndexBatch::default()
        };
        self.engine.index.apply(&batch).map_err(|error| error.to_string())?;
        for (segment, usage) in batch.changes.usages {
            self.usages.insert(segment, usage);
        }
        Ok(())
    }
}

/// Visits the records of a segment from `from` on.
pub(crate) fn walk_records(
    segment: &Segment,
    from: u32,
    mut visit: impl FnMut(Record) -> Result<(), String>,
) -> Result<(), String> {
    let len = segment.file.len().map_err(io("read a segment's length"))?;
    let end = u32::try_from(len).unwrap_or(u32::MAX).min(segment.size_bytes);
    let from = from.max(SEGMENT_HEADER_LEN as u32);
    let mut walk = Walk::new(segment.id, &segment.salt, from, end, |offset, len| {
        read_data(segment, offset, len)
    });
    while let Some(record) = walk.next().map_err(io("read a segment"))? {
        visit(record)?;
    }
    Ok(())
}

/// Bytes of a segment; none where nothing was ever written from there on.
fn read_data(segment: &Segment, offset: u32, len: usize) -> Result<Bytes, Errno> {
    match segment.file.next_data(offset)? {
        Some(_) => segment.file.read_at(offset, len),
        None => Ok(Bytes::new()),
    }
}

/// Whether a record's payload is what its hashes say.
pub(super) fn is_whole(segment: &Segment, record: &Record) -> Result<bool, Errno> {
    let RecordBody::Shard(shard) = &record.body else {
        return Ok(true);
    };
    let start = record.position.offset + record.body.payload_offset() as u32;
    let mut from = 0;
    while from < shard.shard_len as usize {
        let len = VERIFY_LEN.min(shard.shard_len as usize - from);
        let payload = segment.file.read_at(start + from as u32, len)?;
        if payload.len() < len || !are_good(&payload, from, &shard.block_hashes) {
            return Ok(false);
        }
        from += len;
    }
    Ok(true)
}

fn io(what: &'static str) -> impl Fn(Errno) -> String {
    move |errno| format!("cannot {what}: {errno}")
}
