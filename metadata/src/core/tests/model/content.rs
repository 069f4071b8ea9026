//! What a file holds, byte range by byte range.
//!
//! Invariant: pieces are in order, do not overlap, are never empty and end within the size; what none covers reads as zeros.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_common::wire::{object::Extent, query::Plan};

/// Where a range of a file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From this byte of a chunk on.
    Chunk { id: Bytes, offset: u64 },
    /// These bytes.
    Inline(Bytes),
}

impl Source {
    /// The same without its first bytes, and no longer than `length`.
    fn part(&self, skip: u64, length: u64) -> Self {
        match self {
            Self::Chunk { id, offset } => Self::Chunk {
                id: id.clone(),
                offset: offset + skip,
            },
            Self::Inline(bytes) => Self::Inline(bytes.slice(skip as usize..(skip + length) as usize)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) source: Source,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) pieces: Vec<Piece>,
}

impl Content {
    pub(super) fn inline(bytes: &Bytes) -> Self {
        let mut content = Self {
            size: bytes.len() as u64,
            pieces: Vec::new(),
        };
        content.overlay(0, bytes.len() as u64, Source::Inline(bytes.clone()));
        content
    }

    /// Of the extents of a command, or of a plan.
    pub(super) fn of_extents(size: u64, extents: &[Extent]) -> Self {
        let mut content = Self {
            size,
            pieces: Vec::new(),
        };
        content.write(extents);
        content.size = size;
        content
    }

    /// Lays extents over what there is, and grows to their end.
    pub(super) fn write(&mut self, extents: &[Extent]) {
        for extent in extents {
            let source = match &extent.chunk {
                Some(chunk) => Source::Chunk {
                    id: chunk.id.clone(),
                    offset: u64::from(extent.chunk_offset),
                },
                None => Source::Inline(extent.inline.clone()),
            };
            let end = extent.file_offset + extent.length;
            self.overlay(extent.file_offset, end, source);
            self.size = self.size.max(end);
        }
    }

    fn overlay(&mut self, start: u64, end: u64, source: Source) {
        self.punch(start, end);
        if start < end {
            self.pieces.push(Piece { start, end, source });
            self.pieces.sort_by_key(|piece| piece.start);
        }
    }

    /// Makes a hole.
    pub(super) fn punch(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let kept = self
            .pieces
            .iter()
            .flat_map(|piece| [piece.within(0, start), piece.within(end, u64::MAX)]);
        self.pieces = kept.flatten().collect();
    }

    /// Cuts off, or grows by a hole.
    pub(super) fn resize(&mut self, size: u64) {
        self.punch(size, u64::MAX);
        self.size = size;
    }

    /// The pieces of a range, as they would lie at `to` instead of `from`.
    pub(super) fn range(&self, from: u64, end: u64, to: u64) -> Vec<Piece> {
        let moved = |piece: Piece| Piece {
            start: piece.start - from + to,
            end: piece.end - from + to,
            source: piece.source,
        };
        self.pieces
            .iter()
            .filter_map(|piece| piece.within(from, end))
            .map(moved)
            .collect()
    }

    /// Puts pieces in place of a range.
    pub(super) fn replace(&mut self, start: u64, end: u64, pieces: Vec<Piece>) {
        self.punch(start, end);
        self.pieces.extend(pieces);
        self.pieces.sort_by_key(|piece| piece.start);
    }

    pub(super) fn chunks(&self) -> BTreeSet<Bytes> {
        let chunk = |piece: &Piece| match &piece.source {
            Source::Chunk { id, .. } => Some(id.clone()),
            Source::Inline(_) => None,
        };
        self.pieces.iter().filter_map(chunk).collect()
    }

    /// What readers can tell from byte `from` on: ranges of chunks, joined where one goes on in the next, and bytes that are
    /// not zero.
    pub(super) fn seen(&self, from: u64) -> Vec<Piece> {
        let mut seen: Vec<Piece> = Vec::new();
        for piece in self.pieces.iter().filter_map(|piece| piece.within(from, u64::MAX)) {
            match &piece.source {
                Source::Inline(bytes) => seen.extend(nonzero(piece.start, bytes)),
                Source::Chunk { id, offset } => {
                    if let Some(last) = seen.last_mut()
                        && last.end == piece.start
                        && matches!(&last.source, Source::Chunk { id: before, offset: at }
                            if before == id && at + (last.end - last.start) == *offset)
                    {
                        last.end = piece.end;
                    } else {
                        seen.push(piece);
                    }
                }
            }
        }
        seen
    }
}

impl Piece {
    fn within(&self, from: u64, end: u64) -> Option<Self> {
        let (start, end) = (self.start.max(from), self.end.min(end));
        (start < end).then(|| Self {
            start,
            end,
            source: self.source.part(start - self.start, end - start),
        })
    }
}

fn nonzero(start: u64, bytes: &Bytes) -> Vec<Piece> {
    let byte = |(at, byte): (usize, &u8)| Piece {
        start: start + at as u64,
        end: start + at as u64 + 1,
        source: Source::Inline(Bytes::copy_from_slice(&[*byte])),
    };
    bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte != 0)
        .map(byte)
        .collect()
}

/// Adds a page of a plan of a file of `size` bytes to what was planned before.
pub(super) fn add_page(content: &mut Content, plan: &Plan) {
    if !plan.inline.is_empty() {
        *content = Content {
            size: content.size,
            ..Content::inline(&plan.inline)
        };
        return;
    }
    let size = content.size;
    content.write(&plan.extents);
    content.size = size;
}
