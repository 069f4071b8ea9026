//! How far the scrub has come.
//!
//! Pure. A pass goes through all segments in order of their numbers and begins anew when a period has gone by since the last
//! one began. Invariant: a pass that was interrupted goes on where it was.

use super::position::{Position, SegmentId};

/// The state of a device's scrub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScrubState {
    /// Where it goes on.
    pub(crate) next: Position,
    /// When the present pass began, or the last one: in milliseconds since 1970; 0 before the first.
    pub(crate) started_ms: u64,
    /// When the last whole pass ended; 0 before the first has.
    pub(crate) finished_ms: u64,
    /// Damaged shards that the present pass has found, or the last one.
    pub(crate) found: u64,
}

impl ScrubState {
    /// Whether a pass is under way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.started_ms > self.finished_ms
    }

    /// Begins a pass where it is time; says whether one is under way.
    pub(crate) fn begin(&mut self, now_ms: u64, period_ms: u64) -> bool {
        if !self.is_under_way() && (self.started_ms == 0 || now_ms >= self.started_ms.saturating_add(period_ms)) {
            *self = Self {
                next: Position::default(),
                // Later than the end of the one before, whatever the clock says.
                started_ms: now_ms.max(self.finished_ms + 1),
                found: 0,
                ..*self
            };
        }
        self.is_under_way()
    }

    /// The next of `segments`, which are in order, to look at, and from which offset on; ends the pass where there is none.
    pub(crate) fn next_segment(&mut self, segments: &[SegmentId], now_ms: u64) -> Option<Position> {
        let next = segments.iter().find(|segment| **segment >= self.next.segment);
        let Some(segment) = next else {
            self.finished_ms = now_ms.max(self.started_ms);
            return None;
        };
        if *segment != self.next.segment {
            self.next = Position {
                segment: *segment,
                offset: 0,
            };
        }
        Some(self.next)
    }

    /// The segment at hand is done.
    pub(crate) fn handle_segment_done(&mut self) {
        self.next = Position {
            segment: self.next.segment.next(),
            offset: 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn a_pass_goes_through_all_segments_and_the_next_waits_for_its_time() {
        let segments = [3, 5].map(SegmentId::new);
        let mut scrub = ScrubState::default();
        assert!(scrub.begin(1000, DAY_MS));
        for segment in segments {
            assert_eq!(
                scrub.next_segment(&segments, 2000).map(|next| next.segment),
                Some(segment)
            );
            scrub.handle_segment_done();
        }
        assert_eq!(scrub.next_segment(&segments, 3000), None);
        assert_eq!((scrub.is_under_way(), scrub.finished_ms), (false, 3000));
        assert!(!scrub.begin(1000 + DAY_MS - 1, DAY_MS));
        assert!(scrub.begin(1000 + DAY_MS, DAY_MS));
    }

    #[test]
    fn an_interrupted_pass_goes_on_where_it_was() {
        let segments = [3, 5].map(SegmentId::new);
        let mut scrub = ScrubState::default();
        scrub.begin(1000, DAY_MS);
        scrub.next_segment(&segments, 2000);
        scrub.next.offset = 4096;
        assert!(scrub.begin(5000, DAY_MS));
        assert_eq!(scrub.next_segment(&segments, 2000).map(|next| next.offset), Some(4096));
        let later = [5].map(SegmentId::new);
        assert_eq!(
            scrub.next_segment(&later, 2000).map(|next| next.offset),
            Some(0),
            "the segment has gone"
        );
    }
}
