//! Payload bytes on their way to the disk, so laid out that direct I/O takes them.
//!
//! Pieces that lie on whole pages are passed on as they are; others are copied once, into pages. Invariant: what comes out
//! are the same bytes in the same order, and every stage but the last is whole pages.

use bytes::Bytes;
use cairn_common::aligned::{ALIGNMENT, TransferBytes, is_aligned};

/// Bytes that are written at a time: large enough for a disk's full speed, small enough for many writers at once.
pub(crate) const STAGE_LEN: usize = 1 << 20;

/// Collects pieces into stages.
#[derive(Default)]
pub(crate) struct Stage {
    pieces: Vec<Bytes>,
    len: usize,
    copy: Copy,
}

/// Pages that are being filled.
#[derive(Default)]
struct Copy {
    pages: Option<TransferBytes>,
    len: usize,
}

impl Stage {
    /// Bytes collected.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether it is time to write.
    pub(crate) fn is_full(&self) -> bool {
        self.len >= STAGE_LEN
    }

    /// Adds a piece, or as much of it as this stage takes; gives the rest.
    pub(crate) fn add(&mut self, piece: Bytes) -> Bytes {
        if self.copy.len.is_multiple_of(ALIGNMENT) && is_aligned(&piece) {
            self.close_copy();
            self.len += piece.len();
            self.pieces.push(piece);
            return Bytes::new();
        }
        let taken = piece.len().min(STAGE_LEN.saturating_sub(self.len));
        let pages = self.copy.pages.get_or_insert_with(|| TransferBytes::take(STAGE_LEN));
        pages[self.copy.len..self.copy.len + taken].copy_from_slice(&piece[..taken]);
        self.copy.len += taken;
        self.len += taken;
        piece.slice(taken..)
    }

    /// What was collected, filled up with zeros to whole pages.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        self.close_copy();
        self.len = 0;
        std::mem::take(&mut self.pieces)
    }

    fn close_copy(&mut self) {
        let Copy { pages, len } = std::mem::take(&mut self.copy);
        if let Some(pages) = pages {
            self.pieces.push(filled_up(pages, len));
        }
    }
}

/// Bytes copied into pages, filled up with zeros.
pub(crate) fn in_pages(bytes: &[u8]) -> Bytes {
    let mut pages = TransferBytes::take(bytes.len());
    pages[..bytes.len()].copy_from_slice(bytes);
    filled_up(pages, bytes.len())
}

/// The first `len` bytes, and zeros up to the end of their last page.
fn filled_up(mut pages: TransferBytes, len: usize) -> Bytes {
    let end = len.next_multiple_of(ALIGNMENT);
    pages[len..end].fill(0);
    Bytes::from_owner(pages).slice(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(pieces: Vec<Bytes>) -> Vec<Vec<Bytes>> {
        let mut stage = Stage::default();
        let mut stages = Vec::new();
        for mut piece in pieces {
            while !piece.is_empty() {
                piece = stage.add(piece);
                if stage.is_full() {
                    stages.push(stage.take());
                }
            }
        }
        if stage.len() > 0 {
            stages.push(stage.take());
        }
        stages
    }

    #[test]
    fn bytes_come_out_in_order_and_on_pages_however_they_were_cut() {
        let whole: Vec<u8> = (0..3 * STAGE_LEN + 777).map(|index| (index / 7) as u8).collect();
        for cut in [1000, 4096, 65_536, 70_000, STAGE_LEN, 2 * STAGE_LEN] {
            let pieces = whole.chunks(cut).map(Bytes::copy_from_slice).collect();
            let stages = staged(pieces);
            assert!(
                stages.iter().flatten().all(|piece| is_aligned(piece)),
                "pieces of {cut}"
            );
            let mut out = stages.concat().concat();
            out.truncate(whole.len());
            assert!(out == whole, "pieces of {cut}");
        }
    }

    #[test]
    fn pieces_on_whole_pages_are_not_copied() {
        let piece = in_pages(&vec![3; 2 * STAGE_LEN]);
        let stages = staged(vec![piece.clone(), Bytes::from_static(b"tail")]);
        assert_eq!(stages[0][0].as_ptr(), piece.as_ptr());
        assert_eq!(stages.len(), 2);
    }
}
