//! The way into the log: places for records, the writes, one sync for a group, and then the index.
//!
//! Invariants: a place is written once, pages that were synced never again; the header of a record reaches the kernel no
//! earlier than its payload; success is answered after the sync of all that it promises.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use cairn_common::aligned::{ALIGNMENT, AlignedBytes};
use rustix::io::Errno;

use super::{
    Engine,
    payload::{Stage, in_pages},
    segments::Segment,
};
use crate::{
    core::{
        location::Location,
        position::{Position, Sequence},
        record::{Record, RecordBody, Salt},
        segment_header::SEGMENT_HEADER_LEN,
    },
    store::StoreError,
};

/// One member of a group.
pub(crate) enum Item {
    /// A record that is to be written, with its payload.
    Write {
        body: RecordBody,
        payload: Vec<Bytes>,
        /// Of one that is moved: its number, and whether it was known to be damaged.
        moved: Option<Moved>,
    },
    /// A record that was claimed and written before.
    Written(Claimed),
}

/// What a record keeps when it is moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) sequence: Sequence,
    pub(crate) is_damaged: bool,
}

/// A place in the log that a record has to itself. One that is given up must be given back with [`Engine::give_up`].
pub(crate) struct Claimed {
    pub(crate) record: Record,
    segment: Arc<Segment>,
    is_damaged: bool,
    /// How far the log had come.
    claimed_bytes: u64,
}

impl Claimed {
    /// How far the log has gone on since.
    pub(crate) fn lag(&self, engine: &Engine) -> u64 {
        engine.claimed_bytes() - self.claimed_bytes
    }
}

impl Engine {
    /// Writes what is not written yet, syncs all, and has it in the index. Each member has an answer of its own.
    pub(crate) fn commit(&self, items: Vec<Item>) -> Vec<Result<(), StoreError>> {
        let mut answers = Vec::with_capacity(items.len());
        let (mut claimed, mut payloads) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        let mut written = Vec::new();
        self.tail.lock().start_page();
        for item in items {
            answers.push(match item {
                Item::Written(place) => {
                    written.push(place);
                    Ok(())
                }
                Item::Write { body, payload, moved } => self.claim(body, moved).map(|place| {
                    claimed.push(place);
                    payloads.push(payload);
                }),
            });
        }
        self.tail.lock().start_page();
        let outcome = self.write_all(&claimed, &payloads).and_then(|()| {
            claimed.extend(written);
            self.settle(&claimed)
        });
        if let Err(error) = outcome {
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                *answer = Err(error.clone());
            }
        }
        answers
    }

    /// A place for a record, in a new segment where the present one has no room.
    pub(crate) fn claim(&self, body: RecordBody, moved: Option<Moved>) -> Result<Claimed, StoreError> {
        self.health.check()?;
        let is_new_data = moved.is_none() && matches!(body, RecordBody::Shard(_));
        if body.record_len() + SEGMENT_HEADER_LEN > self.segment_bytes as usize {
            return Err(StoreError::Full);
        }
        let mut tail = self.tail.lock();
        if is_new_data && tail.is_reserve() {
            // What compaction needs to make room must not be filled by what room is made for.
            if self.room_left()?.free_bytes < self.compaction_bytes() {
                return Err(StoreError::Full);
            }
            tail.put_reserve(false);
        }
        let synced_end = tail.settled_end();
        let position = loop {
            if let Some(position) = tail.claim(body.record_len(), body.alignment()) {
                break position;
            }
            let full = tail.position();
            self.roll(&mut tail, is_new_data)?;
            // There is none before the first, and one that cannot be read is left as it is.
            if let Ok(segment) = self.segments.find(full.segment) {
                self.full.lock().push((segment, full.offset));
            }
        };
        let sequence = moved.map_or_else(|| tail.number(), |moved| moved.sequence);
        let claimed_bytes = tail.claimed_bytes();
        drop(tail);
        let segment = self.segments.find(position.segment);
        let segment = segment.map_err(|error| self.segment_failed(error))?;
        Ok(Claimed {
            record: Record {
                position,
                sequence,
                synced_end,
                body,
            },
            segment,
            is_damaged: moved.is_some_and(|moved| moved.is_damaged),
            claimed_bytes,
        })
    }

    /// Begins a new segment. New data leaves the reserve alone; deletes and compaction, which give room back, use it.
    pub(super) fn roll(&self, tail: &mut crate::core::tail::Tail, is_new_data: bool) -> Result<(), StoreError> {
        let left = self.room_left()?.free_bytes.checked_sub(self.segment_bytes.into());
        let reserve = self.reserve_bytes();
        let kept = if is_new_data { reserve } else { self.last_bytes() };
        let left = left.filter(|left| *left >= kept).ok_or(StoreError::Full)?;
        let next = tail.segment().next();
        let made = self.segments.make(next, self.segment_bytes, (self.salts)());
        made.map_err(|error| self.segment_failed(error))?;
        tail.roll(next, self.segment_bytes);
        tail.put_reserve(left < self.compaction_bytes());
        Ok(())
    }

    /// Writes a part of a large record's payload, `offset` bytes behind the payload's start.
    pub(crate) fn write_payload(&self, claimed: &Claimed, offset: usize, pieces: &[Bytes]) -> Result<(), StoreError> {
        let at = claimed.record.body.payload_offset() + offset;
        self.write_large(claimed, at, pieces)
    }

    /// Writes a large record's header: last, or in front of its whole payload.
    pub(crate) fn write_header(&self, claimed: &Claimed, payload: Vec<Bytes>) -> Result<(), StoreError> {
        let mut pieces = vec![in_pages(&claimed.record.encode(&claimed.segment.salt))];
        pieces.extend(payload);
        self.write_large(claimed, 0, &pieces)
    }

    fn write_large(&self, claimed: &Claimed, at: usize, pieces: &[Bytes]) -> Result<(), StoreError> {
        self.health.check()?;
        let offset = claimed.record.position.offset + u32::try_from(at).expect("a record is at most RECORD_LEN_MAX");
        let written = claimed.segment.file.write_at(offset, pieces);
        written.map_err(|errno| self.write_failed(errno))
    }

    /// Room was set aside for what is written, so whatever fails is the disk's fault.
    fn write_failed(&self, errno: Errno) -> StoreError {
        self.health.poison(format!("cannot write to a segment: {errno}"))
    }

    /// Gives a claimed place back: nothing will come there.
    pub(crate) fn give_up(&self, claimed: &Claimed) {
        self.tail.lock().settle(claimed.record.position);
    }

    /// Writes records in the order of their places.
    fn write_all(&self, claimed: &[Claimed], payloads: &[Vec<Bytes>]) -> Result<(), StoreError> {
        let mut from = 0;
        while from < claimed.len() {
            if claimed[from].record.body.is_large() {
                self.write_whole(&claimed[from], &payloads[from])?;
                from += 1;
                continue;
            }
            let run = run_length(&claimed[from..]);
            self.write_run(&claimed[from..from + run], &payloads[from..from + run])?;
            from += run;
        }
        Ok(())
    }

    /// Writes a large record stage by stage, its header last, or in front of what fits one stage.
    fn write_whole(&self, claimed: &Claimed, payload: &[Bytes]) -> Result<(), StoreError> {
        let payload_len = claimed.record.body.payload_len();
        let (mut stage, mut sent) = (Stage::default(), 0);
        for mut piece in payload.iter().cloned() {
            while !piece.is_empty() {
                piece = stage.add(piece);
                // A full stage takes nothing more.
                if stage.is_full() && sent + stage.len() < payload_len {
                    let len = stage.len();
                    self.write_payload(claimed, sent, &stage.take())?;
                    sent += len;
                }
            }
        }
        if sent == 0 {
            return self.write_header(claimed, stage.take());
        }
        self.write_payload(claimed, sent, &stage.take())?;
        self.write_header(claimed, Vec::new())
    }

    /// Writes small records that lie behind each other, as whole pages.
    fn write_run(&self, claimed: &[Claimed], payloads: &[Vec<Bytes>]) -> Result<(), StoreError> {
        let (first, last) = (&claimed[0], &claimed[claimed.len() - 1]);
        let start = first.record.position.offset as usize;
        // Groups and large records start and end on pages. A run that did not would write over the end of another record.
        assert!(start.is_multiple_of(ALIGNMENT), "a run of records starts on a page");
        let mut pages = AlignedBytes::zeroed(last.record.end() as usize - start);
        let mut header = Vec::new();
        for (claimed, payload) in claimed.iter().zip(payloads) {
            let mut at = claimed.record.position.offset as usize - start;
            header.clear();
            claimed.record.encode_to(&first.segment.salt, &mut header);
            for piece in std::iter::once(header.as_slice()).chain(payload.iter().map(AsRef::as_ref)) {
                pages[at..at + piece.len()].copy_from_slice(piece);
                at += piece.len();
            }
        }
        let written = first
            .segment
            .file
            .write_at(first.record.position.offset, &[Bytes::from_owner(pages)]);
        written.map_err(|errno| self.write_failed(errno))
    }

    /// Syncs all segments that were written to, and has their records in the index.
    fn settle(&self, claimed: &[Claimed]) -> Result<(), StoreError> {
        let mut segments: Vec<&Arc<Segment>> = claimed.iter().map(|claimed| &claimed.segment).collect();
        segments.sort_unstable_by_key(|segment| segment.id);
        segments.dedup_by_key(|segment| segment.id);
        for segment in segments {
            let started = Instant::now();
            let synced = segment.file.sync();
            self.metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
            synced.map_err(|errno| self.health.poison(format!("cannot sync a segment: {errno}")))?;
        }
        let positions: Vec<Position> = claimed.iter().map(|claimed| claimed.record.position).collect();
        self.change_and_settle(&positions, |view, changes| {
            for Claimed { record, is_damaged, .. } in claimed {
                match Location::of(record) {
                    Some(location) => {
                        let is_damaged = *is_damaged;
                        changes.place(view, record.body.key(), Location { is_damaged, ..location })?;
                    }
                    None => changes.take(view, record)?,
                }
                changes.fill(view, record.position.segment, record.end().into());
            }
            Ok(())
        })?;
        self.shorten_full();
        Ok(())
    }

    /// Gives back the room behind the end of segments to which nothing comes any more.
    fn shorten_full(&self) {
        if self.full.lock().is_empty() {
            return;
        }
        let settled = self.tail.lock().settled_end();
        self.full.lock().retain(|(segment, end)| {
            if segment.id >= settled.segment {
                return true;
            }
            // Where it fails the room is given back with the segment.
            _ = segment
                .file
                .shorten((*end).next_multiple_of(ALIGNMENT as u32).max(SEGMENT_HEADER_LEN as u32));
            false
        });
    }
}

/// How many of the records at the start lie behind each other in one segment and are written together.
fn run_length(claimed: &[Claimed]) -> usize {
    let follows = |index: &usize| {
        let (before, next) = (&claimed[index - 1].record, &claimed[*index].record);
        !next.body.is_large()
            && next.position.segment == before.position.segment
            && next.position.offset == before.end()
    };
    1 + (1..claimed.len()).take_while(follows).count()
}

/// Salts from the operating system.
pub(crate) fn random_salt() -> Salt {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).expect("the operating system gives randomness");
    salt
}
