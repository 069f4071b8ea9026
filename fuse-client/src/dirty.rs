//! Bytes of a file that were written and are not stored yet: ranges that neither overlap nor touch.
//!
//! Pure. Invariant: what was written last is what a range holds; nothing is in a range that was not written.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_client::Piece;

/// The bytes.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    ranges: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

impl Dirty {
    /// Bytes in all.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Ranges.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Where the last range ends.
    pub(crate) fn end(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(start, data)| end_of(*start, data))
    }

    /// Takes bytes at `offset`, over what is there. Gives by how many bytes there are more now.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> usize {
        if data.is_empty() {
            return 0;
        }
        let before = self.bytes;
        let end = offset + data.len() as u64;
        let joined = self.ranges.range(..=offset).next_back();
        let start = match joined {
            Some((start, held)) if end_of(*start, held) >= offset => *start,
            Some(_) | None => offset,
        };
        let held = self.ranges.entry(start).or_default();
        let from = index(offset - start);
        let covered = (held.len() - from).min(data.len());
        held[from..from + covered].copy_from_slice(&data[..covered]);
        held.extend_from_slice(&data[covered..]);
        self.bytes += data.len() - covered;
        if covered < data.len() {
            self.absorb(start, end);
        }
        self.bytes - before
    }

    /// Joins what follows the range at `start`, which was written up to `end`, and is overlapped or touched by it.
    fn absorb(&mut self, start: u64, end: u64) {
        while let Some((&next, _)) = self.ranges.range(start + 1..=end).next() {
            let Some(data) = self.ranges.remove(&next) else { return };
            let overlap = index(end - next).min(data.len());
            self.bytes -= overlap;
            if let Some(held) = self.ranges.get_mut(&start) {
                held.extend_from_slice(&data[overlap..]);
            }
        }
    }

    /// Calls `visit` with the bytes that lie in `start..end`, and where.
    pub(crate) fn visit(&self, start: u64, end: u64, mut visit: impl FnMut(u64, &[u8])) {
        let first = self
            .ranges
            .range(..=start)
            .next_back()
            .map_or(start, |(first, _)| *first);
        for (offset, data) in self.ranges.range(first..end.max(first)) {
            let from = start.max(*offset);
            let to = end.min(end_of(*offset, data));
            if from < to {
                visit(from, &data[index(from - offset)..index(to - offset)]);
            }
        }
    }

    /// Moves what lies at `from` or behind it to begin at `to`, or behind all that lies before it. Gives where it begins.
    pub(crate) fn shift(&mut self, from: u64, to: u64) -> u64 {
        let mut moved = self.ranges.split_off(&from);
        if let Some((start, held)) = self.ranges.iter_mut().next_back()
            && end_of(*start, held) > from
        {
            moved.insert(from, held.split_off(index(from - start)));
        }
        let to = to.max(self.end().unwrap_or(0));
        for (offset, data) in moved {
            self.bytes -= data.len();
            self.write(offset - from + to, &data);
        }
        to
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> Vec<Piece> {
        self.bytes = 0;
        std::mem::take(&mut self.ranges)
            .into_iter()
            .map(|(offset, data)| Piece {
                offset,
                data: Bytes::from(data),
            })
            .collect()
    }
}

fn end_of(start: u64, data: &[u8]) -> u64 {
    start + data.len() as u64
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a range is in memory")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_appended_moves_with_the_end() {
        let mut dirty = Dirty::default();
        dirty.write(10, b"abcd");
        assert_eq!(dirty.shift(12, 20), 20);
        let pieces = dirty.take();
        let seen: Vec<(u64, &[u8])> = pieces.iter().map(|piece| (piece.offset, &piece.data[..])).collect();
        assert_eq!(seen, [(10, &b"ab"[..]), (20, &b"cd"[..])]);
    }

    proptest! {
        #[test]
        fn ranges_hold_what_was_written_last(
            writes in prop::collection::vec((0_u64..200, prop::collection::vec(1_u8..=255, 1..40)), 0..40),
            from in 0_u64..240,
            length in 0_u64..80,
        ) {
            let mut dirty = Dirty::default();
            let mut model = vec![0_u8; 240];
            for (offset, data) in &writes {
                let before = dirty.bytes();
                let more = dirty.write(*offset, data);
                prop_assert_eq!(dirty.bytes(), before + more);
                model[*offset as usize..][..data.len()].copy_from_slice(data);
            }
            prop_assert_eq!(dirty.bytes(), model.iter().filter(|byte| **byte != 0).count());
            let to = (from + length).min(240);
            let mut seen = vec![0_u8; 240];
            dirty.visit(from, to, |offset, data| seen[offset as usize..][..data.len()].copy_from_slice(data));
            for at in 0..240 {
                let expected = if (from..to).contains(&at) { model[at as usize] } else { 0 };
                prop_assert_eq!(seen[at as usize], expected, "at {}", at);
            }
            let pieces = dirty.take();
            prop_assert!(pieces.windows(2).all(|pair| pair[0].offset + (pair[0].data.len() as u64) < pair[1].offset));
            let mut taken = vec![0_u8; 240];
            for piece in &pieces {
                taken[piece.offset as usize..][..piece.data.len()].copy_from_slice(&piece.data);
            }
            prop_assert_eq!(taken, model);
        }
    }
}
