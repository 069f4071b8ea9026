//! Reading everything again at a set rate, to find what the disk has damaged before it is needed.
//!
//! A segment at a time, in the order of the log: every needed shard is verified against its hashes, and what the index says to
//! be there is held against what was found. How far it came is kept in the index. Invariant: what is damaged is remembered
//! and reported, and stays where it is.

use super::{
    Engine,
    index::IndexBatch,
    recover::{is_whole, walk_records},
    segments::Segment,
};
use crate::{
    core::{
        position::Position,
        record::{HEADER_LEN_MAX, Record, RecordBody},
        scrub::ScrubState,
    },
    shard::ShardKey,
    store::StoreError,
};

/// Bytes after which it is written down how far the scrub has come.
const NOTE_BYTES: u64 = 64 << 20;

/// Shards of the index that are looked at at a time.
const LIST_PAGE: usize = 4096;

/// How a step of the scrub ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scrubbed {
    /// It is not time yet.
    Idle,
    /// A segment was looked at.
    Segment,
    /// It was interrupted.
    Interrupted,
    /// All segments were looked at.
    Pass,
}

/// Ends a walk whose outcome is kept elsewhere.
const ENDED: &str = "ended";

impl Engine {
    /// Looks at the next segment. `progress` is told of bytes that were read, waits as the pace asks, and ends the step with
    /// `false`.
    pub(crate) fn scrub(
        &self,
        now_ms: u64,
        period_ms: u64,
        progress: impl Fn(u64) -> bool,
    ) -> Result<Scrubbed, StoreError> {
        self.health.check()?;
        let next = {
            let mut scrub = self.scrub.lock();
            if !scrub.begin(now_ms, period_ms) {
                return Ok(Scrubbed::Idle);
            }
            scrub.next_segment(&self.segments.numbers(), now_ms)
        };
        let Some(next) = next else {
            self.note_scrub()?;
            return Ok(Scrubbed::Pass);
        };
        match self.segments.find(next.segment) {
            Ok(segment) => {
                if !self.scrub_segment(&segment, next, progress)? {
                    self.note_scrub()?;
                    return Ok(Scrubbed::Interrupted);
                }
            }
            // Compacted since, or unreadable, which was said at the start.
            Err(error) => _ = self.segment_failed(error),
        }
        self.health.check()?;
        self.scrub.lock().handle_segment_done();
        self.note_scrub()?;
        Ok(Scrubbed::Segment)
    }

    /// Goes on with a scrub of which another index knew.
    pub(crate) fn resume_scrub(&self, state: ScrubState) -> Result<(), StoreError> {
        *self.scrub.lock() = state;
        self.note_scrub()
    }

    /// Looks at a segment from a place on; `false` where it was interrupted.
    fn scrub_segment(
        &self,
        segment: &Segment,
        from: Position,
        progress: impl Fn(u64) -> bool,
    ) -> Result<bool, StoreError> {
        let live_before = self.live_bytes(segment);
        let settled = self.tail.lock().settled_end();
        let (mut found_bytes, mut noted) = (0, 0);
        let mut outcome = Ok(true);
        let walked = walk_records(segment, from.offset, |record| {
            if record.position >= settled {
                return Err(ENDED.to_owned());
            }
            let len = record.body.record_len() as u64;
            match self.scrub_record(segment, &record) {
                Ok(true) => found_bytes += len,
                Ok(false) => {}
                Err(error) => {
                    outcome = Err(error);
                    return Err(ENDED.to_owned());
                }
            }
            self.scrub.lock().next.offset = record.end();
            noted += len;
            if noted >= NOTE_BYTES {
                noted = 0;
                outcome = self.note_scrub().map(|()| true);
            }
            if outcome.is_ok() && !progress(len) {
                outcome = Ok(false);
            }
            if outcome == Ok(true) {
                Ok(())
            } else {
                Err(ENDED.to_owned())
            }
        });
        if let Err(reason) = walked.or_else(|reason| if reason == ENDED { Ok(()) } else { Err(reason) }) {
            return Err(self.health.poison(reason));
        }
        let is_still = live_before == self.live_bytes(segment);
        if outcome == Ok(true) && from.offset == 0 && is_still && found_bytes != live_before {
            self.look_for_missing(segment)?;
        }
        outcome
    }

    /// Verifies a record; says whether it is needed.
    fn scrub_record(&self, segment: &Segment, record: &Record) -> Result<bool, StoreError> {
        let key = match &record.body {
            RecordBody::Shard(shard) => shard.key,
            RecordBody::Tombstone { target, .. } => {
                return Ok(*target != segment.id && self.segments.contains(*target));
            }
        };
        let Some(location) = self.find(&key)?.filter(|found| found.position == record.position) else {
            return Ok(false);
        };
        let whole = is_whole(segment, record).map_err(|errno| self.health.judge("read a segment", errno))?;
        if !whole {
            self.scrub_found(key, &location, "its bytes are not what their hashes say");
        }
        Ok(true)
    }

    /// Marks the shards that the index says to be in a segment and that have no record there.
    fn look_for_missing(&self, segment: &Segment) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.list(after, LIST_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            for (key, location) in page
                .iter()
                .filter(|(_, location)| location.position.segment == segment.id)
            {
                let head = segment.file.read_at(location.position.offset, HEADER_LEN_MAX);
                let head = head.map_err(|errno| self.health.judge("read a segment", errno))?;
                if Record::decode(&head, location.position, &segment.salt).is_err() {
                    self.scrub_found(*key, location, "no record is where it should be");
                }
            }
        }
    }

    fn scrub_found(&self, key: ShardKey, location: &crate::core::location::Location, reason: &str) {
        self.scrub.lock().found += 1;
        // Whether it could be remembered shows in the device's health.
        _ = self.found_damaged(key, location, reason.to_owned());
    }

    fn live_bytes(&self, segment: &Segment) -> u64 {
        self.usages.lock().find(segment.id).unwrap_or_default().live_bytes
    }

    fn note_scrub(&self) -> Result<(), StoreError> {
        let batch = IndexBatch {
            scrub: Some(*self.scrub.lock()),
            ..IndexBatch::default()
        };
        self.index.apply(&batch).map_err(|error| self.index_failed(&error))
    }
}
