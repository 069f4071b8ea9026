//! How much of each segment is in use, and which one is worth compacting.
//!
//! Pure. The choice is greedy: the segment with the most garbage for its size gives back the most room for each byte that is
//! moved. Invariant: the newest segment is never chosen, so that numbers of segments are never used again.

use std::collections::BTreeMap;

use super::position::SegmentId;

/// Shares are counted in this many parts.
const WHOLE: u64 = 100;

/// From this share of garbage on a segment is compacted even where there is room: moving what is left costs less than it gives.
const GARBAGE_WHEN_ROOMY: u64 = 50;

/// The share of garbage below which a segment is left alone even where room is short: moving it would give next to nothing.
const GARBAGE_WHEN_SHORT: u64 = 5;

/// What of a segment is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes that were appended, header included.
    pub(crate) used_bytes: u64,
    /// Bytes of records that are needed: shards, and tombstones of shards in other segments.
    pub(crate) live_bytes: u64,
    /// Shards that are needed and were found damaged.
    pub(crate) damaged: u32,
}

/// How much room a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Plenty,
    /// Less than is kept free for new data.
    Short,
}

/// The segments of a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usages {
    segments: BTreeMap<SegmentId, Usage>,
}

impl Usage {
    /// Bytes that compaction would give back.
    pub(crate) fn garbage_bytes(&self) -> u64 {
        self.used_bytes.saturating_sub(self.live_bytes)
    }
}

impl Usages {
    pub(crate) fn insert(&mut self, segment: SegmentId, usage: Usage) {
        self.segments.insert(segment, usage);
    }

    pub(crate) fn remove(&mut self, segment: SegmentId) {
        self.segments.remove(&segment);
    }

    pub(crate) fn find(&self, segment: SegmentId) -> Option<Usage> {
        self.segments.get(&segment).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SegmentId, Usage)> {
        self.segments.iter().map(|(segment, usage)| (*segment, *usage))
    }

    /// All segments together.
    pub(crate) fn total(&self) -> Usage {
        let mut total = Usage::default();
        for usage in self.segments.values() {
            total.used_bytes += usage.used_bytes;
            total.live_bytes += usage.live_bytes;
            total.damaged += usage.damaged;
        }
        total
    }

    /// The segment to compact next, of those that are `eligible`; none where it is not worth it.
    pub(crate) fn victim(&self, room: Room, eligible: impl Fn(SegmentId) -> bool) -> Option<SegmentId> {
        let enough = match room {
            Room::Plenty => GARBAGE_WHEN_ROOMY,
            Room::Short => GARBAGE_WHEN_SHORT,
        };
        let newest = *self.segments.keys().next_back()?;
        let share = |usage: &Usage| usage.garbage_bytes() * WHOLE / usage.used_bytes.max(1);
        let candidates = self
            .segments
            .iter()
            .filter(|(segment, usage)| **segment < newest && share(usage) >= enough && eligible(**segment));
        candidates
            .max_by_key(|(segment, usage)| (share(usage), std::cmp::Reverse(**segment)))
            .map(|(segment, _)| *segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usages(parts: &[(u64, u64, u32)]) -> Usages {
        let mut usages = Usages::default();
        for (number, (used_bytes, live_bytes, damaged)) in (1..).zip(parts.iter().copied()) {
            let usage = Usage {
                used_bytes,
                live_bytes,
                damaged,
            };
            usages.insert(SegmentId::new(number), usage);
        }
        usages
    }

    #[test]
    fn the_segment_with_the_most_garbage_is_chosen_but_never_the_newest() {
        let usages = usages(&[(1000, 400, 0), (1000, 300, 0), (1000, 0, 0)]);
        assert_eq!(usages.victim(Room::Plenty, |_| true), Some(SegmentId::new(2)));
        let but_the_second = usages.victim(Room::Plenty, |segment| segment != SegmentId::new(2));
        assert_eq!(but_the_second, Some(SegmentId::new(1)));
        assert_eq!(usages.total().garbage_bytes(), 2300);
    }

    #[test]
    fn little_garbage_is_worth_it_only_where_room_is_short() {
        let some = usages(&[(1000, 800, 0), (1000, 1000, 0)]);
        assert_eq!(
            (some.victim(Room::Plenty, |_| true), some.victim(Room::Short, |_| true)),
            (None, Some(SegmentId::new(1)))
        );
        let hardly_any = usages(&[(1000, 960, 0), (1000, 1000, 0)]);
        assert_eq!(hardly_any.victim(Room::Short, |_| true), None);
    }
}
