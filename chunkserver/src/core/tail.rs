//! The end of the log: where the next record goes, and what is on its way there.
//!
//! Pure. Records are claimed in order and may become durable in any order. Invariant: everything before [`Tail::settled_end`]
//! is applied to the index or was given up, so that what is read again after a crash starts there.

use std::collections::BTreeSet;

use cairn_common::aligned::ALIGNMENT;

use super::{
    position::{Position, SegmentId, Sequence},
    record::UNIT,
    segment_header::SEGMENT_HEADER_LEN,
};

/// The end of a device's log.
#[derive(Debug)]
pub(crate) struct Tail {
    segment: SegmentId,
    size_bytes: u32,
    offset: u32,
    next_sequence: Sequence,
    on_their_way: BTreeSet<Position>,
    claimed_bytes: u64,
    is_reserve: bool,
}

impl Tail {
    /// The end at `position` of a segment of `size_bytes`.
    pub(crate) fn new(position: Position, size_bytes: u32, next_sequence: Sequence) -> Self {
        let mut tail = Self {
            segment: position.segment,
            size_bytes,
            offset: position.offset,
            next_sequence,
            on_their_way: BTreeSet::new(),
            claimed_bytes: 0,
            is_reserve: false,
        };
        tail.start_page();
        tail
    }

    /// Goes on in a new segment.
    pub(crate) fn roll(&mut self, segment: SegmentId, size_bytes: u32) {
        (self.segment, self.size_bytes) = (segment, size_bytes);
        self.offset = narrow(SEGMENT_HEADER_LEN);
    }

    /// Says whether the segment that is written was begun in the room kept for deletes and compaction: new data stays out.
    pub(crate) fn put_reserve(&mut self, is_reserve: bool) {
        self.is_reserve = is_reserve;
    }

    /// Whether it was.
    pub(crate) fn is_reserve(&self) -> bool {
        self.is_reserve
    }

    /// The segment that is written.
    pub(crate) fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Where the next record would start at the earliest.
    pub(crate) fn position(&self) -> Position {
        Position {
            segment: self.segment,
            offset: self.offset,
        }
    }

    /// The number that the next record gets.
    pub(crate) fn next_sequence(&self) -> Sequence {
        self.next_sequence
    }

    /// Bytes claimed since the store was opened.
    pub(crate) fn claimed_bytes(&self) -> u64 {
        self.claimed_bytes
    }

    /// A place for a record of `len` bytes; `None` where the segment has no room for it.
    pub(crate) fn claim(&mut self, len: usize, alignment: usize) -> Option<Position> {
        let start = (self.offset as usize).next_multiple_of(alignment.max(UNIT));
        let end = start + len;
        if end > self.size_bytes as usize {
            return None;
        }
        self.claimed_bytes += (end - self.offset as usize) as u64;
        self.offset = narrow(end);
        let position = Position {
            segment: self.segment,
            offset: narrow(start),
        };
        self.on_their_way.insert(position);
        Some(position)
    }

    /// A number for a record.
    pub(crate) fn number(&mut self) -> Sequence {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.next();
        sequence
    }

    /// Moves the end to a page's start: bytes that were synced are never written again.
    pub(crate) fn start_page(&mut self) {
        let end = (self.offset as usize).next_multiple_of(ALIGNMENT);
        self.offset = narrow(end.min(self.size_bytes as usize));
    }

    /// The record at `position` is applied, or was given up.
    pub(crate) fn settle(&mut self, position: Position) {
        self.on_their_way.remove(&position);
    }

    /// All records before it are applied or were given up.
    pub(crate) fn settled_end(&self) -> Position {
        self.on_their_way.first().copied().unwrap_or_else(|| self.position())
    }
}

fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).expect("segments are smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail() -> Tail {
        let start = Position {
            segment: SegmentId::new(1),
            offset: 4096,
        };
        Tail::new(start, 1 << 20, Sequence::new(10))
    }

    #[test]
    fn records_are_claimed_in_order_each_at_its_alignment() {
        let mut tail = tail();
        let offsets = [(128, 64), (100, 64), (4096, 4096), (64, 64)].map(|(len, alignment)| {
            let position = tail.claim(len, alignment).expect("there is room");
            (position.offset, tail.number().value())
        });
        assert_eq!(offsets, [(4096, 10), (4224, 11), (8192, 12), (12288, 13)]);
        tail.start_page();
        assert_eq!(tail.position().offset, 16384);
        assert_eq!(tail.claim(1 << 20, 64), None);
    }

    #[test]
    fn what_is_read_again_starts_at_the_first_record_that_is_on_its_way() {
        let mut tail = tail();
        let positions = [64, 64, 64].map(|len| tail.claim(len, 64).expect("there is room"));
        tail.settle(positions[1]);
        assert_eq!(tail.settled_end(), positions[0]);
        tail.settle(positions[0]);
        assert_eq!(tail.settled_end(), positions[2]);
        tail.roll(SegmentId::new(2), 1 << 20);
        assert_eq!(tail.settled_end(), positions[2], "also in an older segment");
        tail.settle(positions[2]);
        assert_eq!(tail.settled_end(), tail.position());
    }
}
