//! Bytes of a file that were written and are not stored yet: ranges that do not overlap, none of them long.
//!
//! Pure. Invariant: what was written last is what a range holds; nothing is in a range that was not written.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_client::Piece;

/// Bytes of a range at most: one that grows is copied as a whole, and memory for much more the allocator gives back to the kernel each
/// time.
const RANGE_BYTES_MAX: usize = 1 << 20;

/// The bytes.
#[derive(Debug)]
pub(crate) struct Dirty {
    ranges: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    /// Bytes of a range at most.
    longest: usize,
}

impl Default for Dirty {
    fn default() -> Self {
        Self {
            ranges: BTreeMap::new(),
            bytes: 0,
            longest: RANGE_BYTES_MAX,
        }
    }
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
        let before = self.bytes;
        let (mut at, mut left) = (offset, data);
        while !left.is_empty() {
            let taken = self.write_first(at, left);
            at += taken as u64;
            left = &left[taken..];
        }
        self.bytes - before
    }

    /// Takes the first bytes of some: as many as lie over one range, or fit behind it or into a new one before the next. Gives how
    /// many.
    fn write_first(&mut self, at: u64, data: &[u8]) -> usize {
        let next = self.ranges.range(at + 1..).next().map(|(next, _)| *next);
        let free = next.map_or(usize::MAX, |next| index(next - at));
        let before = self.ranges.range_mut(..=at).next_back();
        let (start, taken) = match before {
            Some((start, held)) if end_of(*start, held) > at => {
                let from = index(at - start);
                let taken = data.len().min(held.len() - from);
                held[from..from + taken].copy_from_slice(&data[..taken]);
                return taken;
            }
            Some((start, held)) if end_of(*start, held) == at && held.len() < self.longest => {
                let taken = data.len().min(free).min(self.longest - held.len());
                held.extend_from_slice(&data[..taken]);
                (*start, taken)
            }
            Some(_) | None => {
                let taken = data.len().min(free).min(self.longest);
                self.ranges.insert(at, data[..taken].to_vec());
                (at, taken)
            }
        };
        self.bytes += taken;
        self.join_next(start);
        taken
    }

    /// Joins the range at `start` with the next, where they touch and are not too long together.
    fn join_next(&mut self, start: u64) {
        let Some(held) = self.ranges.get(&start) else { return };
        let (end, room) = (end_of(start, held), self.longest - held.len());
        if self.ranges.get(&end).is_none_or(|next| next.len() > room) {
            return;
        }
        if let Some(next) = self.ranges.remove(&end)
            && let Some(held) = self.ranges.get_mut(&start)
        {
            held.extend_from_slice(&next);
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

/// The same bytes, those that touch in one piece of up to `longest`.
pub(crate) fn joined(pieces: Vec<Piece>, longest: usize) -> Vec<Piece> {
    let mut runs: Vec<Vec<Piece>> = Vec::new();
    let mut bytes = 0;
    for piece in pieces {
        bytes += piece.data.len();
        let touched = runs
            .last_mut()
            .filter(|run| run.last().is_some_and(|last| last.end() == piece.offset));
        match touched.filter(|_| bytes <= longest) {
            Some(run) => run.push(piece),
            None => {
                bytes = piece.data.len();
                runs.push(vec![piece]);
            }
        }
    }
    runs.into_iter().filter_map(one_piece).collect()
}

fn one_piece(mut run: Vec<Piece>) -> Option<Piece> {
    if run.len() <= 1 {
        return run.pop();
    }
    let offset = run.first()?.offset;
    let mut data = Vec::with_capacity(run.iter().map(|piece| piece.data.len()).sum());
    run.iter().for_each(|piece| data.extend_from_slice(&piece.data));
    let data = Bytes::from(data);
    Some(Piece { offset, data })
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

    #[test]
    fn what_touches_is_joined_up_to_a_length() {
        let piece = |offset, data: &'static [u8]| Piece {
            offset,
            data: Bytes::from_static(data),
        };
        let pieces = vec![piece(0, b"ab"), piece(2, b"cd"), piece(4, b"ef"), piece(9, b"xy")];
        assert_eq!(joined(pieces, 4), [piece(0, b"abcd"), piece(4, b"ef"), piece(9, b"xy")]);
        assert_eq!(joined(vec![piece(3, b"long")], 2), [piece(3, b"long")]);
    }

    proptest! {
        #[test]
        fn ranges_hold_what_was_written_last(
            writes in prop::collection::vec((0_u64..200, prop::collection::vec(1_u8..=255, 1..40)), 0..40),
            from in 0_u64..240,
            length in 0_u64..80,
            longest in prop::sample::select(vec![1, 7, 30, RANGE_BYTES_MAX]),
        ) {
            let mut dirty = Dirty { longest, ..Dirty::default() };
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
            prop_assert!(pieces.iter().all(|piece| piece.data.len() <= longest));
            let is_apart = |pair: &[Piece]| {
                pair[0].end() < pair[1].offset
                    || pair[0].end() == pair[1].offset && pair[0].data.len() + pair[1].data.len() > longest
            };
            prop_assert!(pieces.windows(2).all(is_apart));
            let mut taken = vec![0_u8; 240];
            for piece in &pieces {
                taken[piece.offset as usize..][..piece.data.len()].copy_from_slice(&piece.data);
            }
            prop_assert_eq!(taken, model);
        }
    }
}
