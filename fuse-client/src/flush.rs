//! Storing what was written: at fsync and close, when there is much of it, and when it has waited long enough.
//!
//! Invariant: bytes leave memory once they are durable, or once their loss is kept as an error for all who have the file open.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use cairn_client::{FileError, NewFile, Piece};
use cairn_common::wire::file::{FileAttributes, SetAttributes};

use crate::{
    convert::{Outcome, errno},
    dirty::joined,
    handles::Handle,
    opened::{Opened, State},
    volume::Volume,
};

/// How long bytes wait before they are stored without being asked for.
const WRITTEN_AFTER: Duration = Duration::from_secs(1);

/// Time between two looks at what waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Pieces of one commit: far fewer than a command may carry.
const BATCH_PIECES_MAX: usize = 512;

/// Bytes of one commit.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Bytes that a new file is made with: whoever wants something of its directory may wait for it.
const NEW_BYTES_MAX: usize = 1 << 20;

/// Bytes that are appended in one step.
const APPENDED_BYTES_MAX: usize = 8 << 20;

/// Shorter pieces are not cut in two.
const HALVED_BYTES_MIN: usize = 128 << 10;

impl Volume {
    /// Stores what is dirty. When this returns, what was written before is durable, or an error is kept.
    pub(crate) async fn flush(&self, opened: &Opened) {
        self.flush_where(opened, |state| !state.has_nothing_waiting()).await;
    }

    /// The same where something holds once nobody else stores any of it.
    pub(crate) async fn flush_where(&self, opened: &Opened, is_wanted: impl FnOnce(&State) -> bool + Send) {
        let _one = opened.flushing.lock().await;
        let (plain, slots, clear_suid, new) = {
            let mut state = opened.state.lock();
            state.flush_is_due = false;
            if !is_wanted(&state) {
                return;
            }
            state.dirty_since = None;
            // Nobody else appends to a file that the service does not know.
            let appended_from = state.appended_from.take().filter(|_| state.new.is_none());
            let (plain, appended) = parted(state.dirty.take(), appended_from);
            let appended = joined(appended, APPENDED_BYTES_MAX);
            state.flying_appended_from = appended.first().map(|piece| piece.offset);
            state.in_flight = plain.iter().cloned().chain(appended).collect();
            let slots = plain.len()..state.in_flight.len();
            let clear_suid = std::mem::take(&mut state.clear_suid);
            (plain, slots, clear_suid, state.to_be_made(clear_suid))
        };
        let bytes = opened.state.lock().in_flight.iter().map(|piece| piece.data.len()).sum();
        let stored = self.store(opened, new.as_ref(), plain, slots, clear_suid).await;
        let refused = {
            let mut state = opened.state.lock();
            // Before the bytes are let go: who does not find them here any more asks where they lie.
            state.forget_plan();
            state.in_flight.clear();
            state.flying_appended_from = None;
            if let Err(error) = stored {
                state.fail(error);
            }
            state.new.take()
        };
        if let Some(new) = &refused {
            self.new_files.remove(new);
        }
        self.budget.give_back(bytes);
        if let Err(error) = stored {
            self.metrics.failed_stores.inc();
            tracing::error!(
                inode = opened.inode,
                bytes,
                ?error,
                "written bytes are lost: they could not be stored"
            );
            self.kernel.forget_pages(self.number(opened.inode), 0);
        }
    }

    /// The same, for who goes on only where all of it was stored.
    pub(crate) async fn flushed(&self, opened: &Opened) -> Outcome<()> {
        let before = opened.state.lock().error_count();
        self.flush(opened).await;
        opened.state.lock().error_behind(before).map_or(Ok(()), Err)
    }

    /// Stores what is dirty of an open file, and gives the error that its owner was not told of yet.
    pub(crate) async fn sync(&self, handle: &Handle) -> Outcome<()> {
        self.flush(&handle.opened).await;
        handle.error()
    }

    /// The same where a descriptor is closed, of which there may be others: the error stays theirs.
    pub(crate) async fn close(&self, handle: &Handle) -> Outcome<()> {
        self.flush(&handle.opened).await;
        handle.error_at_close()
    }

    /// Stores what is dirty of an inode, if it is open.
    pub(crate) async fn flush_inode(&self, inode: u64) {
        if let Some(opened) = self.opened_files.get(inode) {
            self.flush(&opened).await;
        }
    }

    /// Stores all that is dirty.
    pub(crate) async fn flush_all(&self) {
        futures::future::join_all(self.opened_files.all().iter().map(|opened| self.flush(opened))).await;
    }

    /// Lets all that is dirty be stored soon.
    pub(crate) fn flush_soon(self: &Arc<Self>, is_wanted: impl Fn(&Opened) -> bool) {
        for opened in self.opened_files.all() {
            if !is_wanted(&opened) {
                continue;
            }
            {
                let mut state = opened.state.lock();
                if state.has_nothing_waiting() || std::mem::replace(&mut state.flush_is_due, true) {
                    continue;
                }
            }
            let volume = Arc::clone(self);
            tokio::spawn(async move { volume.flush(&opened).await });
        }
    }

    /// Stores what has waited long enough, for as long as the task lives.
    pub(crate) async fn keep_flushing(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.flush_soon(|opened| {
                let mut state = opened.state.lock();
                state.drop_old_plan();
                state.dirty_since.is_some_and(|since| since.elapsed() >= WRITTEN_AFTER)
            });
            self.locks.notice_session(self.files.session());
        }
    }

    /// Stores what was written at a place, with the first of it the file itself where that is `new`, and what was appended: the pieces in
    /// flight of these `slots`.
    async fn store(
        &self,
        opened: &Opened,
        mut new: Option<&NewFile>,
        plain: Vec<Piece>,
        slots: Range<usize>,
        clear_suid: bool,
    ) -> Outcome<()> {
        let bytes: usize = plain.iter().map(|piece| piece.data.len()).sum();
        let mut batches: VecDeque<Vec<Piece>> = batches(cut(plain, BATCH_BYTES_MAX)).into();
        if new.is_some() && (bytes == 0 || bytes > NEW_BYTES_MAX) {
            batches.push_front(Vec::new());
        }
        let mut later = Vec::new();
        while let Some(batch) = batches.pop_front() {
            let stored = match new {
                Some(new) if batches.is_empty() => self.files.make(new, &batch).await,
                Some(new) => {
                    // What is written after it would undo some of what was set.
                    later.clone_from(&new.then);
                    let bare = NewFile {
                        then: Vec::new(),
                        ..new.clone()
                    };
                    self.files.make(&bare, &batch).await
                }
                None => self.files.write(opened.inode, &batch, clear_suid).await,
            };
            if let Some(made) = new.take_if(|_| stored.is_ok()) {
                opened.state.lock().new = None;
                self.new_files.remove(made);
                if let (Ok(attributes), [whole]) = (&stored, &batch[..])
                    && attributes.size == whole.data.len() as u64
                {
                    self.kept_files.keep(opened.inode, attributes.data_version, &whole.data);
                }
            }
            match stored {
                Ok(attributes) => self.learn_own(opened, &attributes, 1),
                Err(FileError::TooMuch(detail)) => {
                    let (first, second) = halved(batch).ok_or_else(|| errno(FileError::Failed(detail)))?;
                    batches.push_front(second);
                    batches.push_front(first);
                }
                Err(error) => return Err(errno(error)),
            }
        }
        for slot in slots {
            self.append(opened, slot, clear_suid).await?;
        }
        for set in later {
            let set = SetAttributes {
                inode: opened.inode,
                ..set
            };
            let attributes = self.files.set_attributes(set).await.map_err(errno)?;
            self.learn_own(opened, &attributes, 0);
        }
        Ok(())
    }

    /// Stores a piece in flight behind the end of the file, wherever that is by then.
    async fn append(&self, opened: &Opened, slot: usize, clear_suid: bool) -> Outcome<()> {
        let (data, known) = {
            let state = opened.state.lock();
            (state.in_flight[slot].data.clone(), state.known.clone())
        };
        self.place_appended(opened, slot, known.size);
        let moved = |found: &FileAttributes| {
            self.learn_own(opened, found, 0);
            self.place_appended(opened, slot, found.size);
        };
        let appended = self.files.append(opened.inode, data, known, clear_suid, moved).await;
        self.learn_own(opened, &appended.map_err(errno)?, 1);
        Ok(())
    }

    /// Takes over the answer to a change of this mount's own, which moved the data by `steps` versions at most.
    pub(crate) fn learn_own(&self, opened: &Opened, attributes: &FileAttributes, steps: u64) {
        if opened.state.lock().learn_own(attributes, steps) {
            self.kernel.forget_pages(self.number(opened.inode), 0);
        }
    }

    /// Appended bytes come to lie at `end`, and so does what was appended after them.
    fn place_appended(&self, opened: &Opened, slot: usize, end: u64) {
        if let Some(from) = opened.state.lock().place_appended(slot, end) {
            self.kernel.forget_pages(self.number(opened.inode), from);
        }
    }
}

/// What was written at a place, and what was appended from `appended_from` on.
fn parted(pieces: Vec<Piece>, appended_from: Option<u64>) -> (Vec<Piece>, Vec<Piece>) {
    let Some(from) = appended_from else {
        return (pieces, Vec::new());
    };
    let (mut plain, mut appended) = (Vec::new(), Vec::new());
    for mut piece in pieces {
        if piece.offset >= from {
            appended.push(piece);
            continue;
        }
        let within = usize::try_from(from - piece.offset).unwrap_or(usize::MAX);
        if within < piece.data.len() {
            let data = piece.data.split_off(within);
            appended.push(Piece { offset: from, data });
        }
        plain.push(piece);
    }
    (plain, appended)
}

/// The same bytes in pieces that are no longer than `longest`.
fn cut(pieces: Vec<Piece>, longest: usize) -> Vec<Piece> {
    let mut shorter = Vec::with_capacity(pieces.len());
    for mut piece in pieces {
        while piece.data.len() > longest {
            let data = piece.data.split_to(longest);
            let offset = piece.offset;
            piece.offset += data.len() as u64;
            shorter.push(Piece { offset, data });
        }
        shorter.push(piece);
    }
    shorter
}

/// Pieces in groups, each for one commit.
fn batches(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut batches: Vec<Vec<Piece>> = Vec::new();
    let mut bytes = 0;
    for piece in pieces {
        bytes += piece.data.len();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_PIECES_MAX && bytes <= BATCH_BYTES_MAX => batch.push(piece),
            Some(_) | None => {
                bytes = piece.data.len();
                batches.push(vec![piece]);
            }
        }
    }
    batches
}

/// The two halves of what is too much for one commit.
fn halved(mut batch: Vec<Piece>) -> Option<(Vec<Piece>, Vec<Piece>)> {
    if batch.len() > 1 {
        let second = batch.split_off(batch.len() / 2);
        return Some((batch, second));
    }
    let piece = batch.pop()?;
    if piece.data.len() < HALVED_BYTES_MIN {
        return None;
    }
    let mut data = piece.data;
    let second = Piece {
        offset: piece.offset + (data.len() / 2) as u64,
        data: data.split_off(data.len() / 2),
    };
    let first = Piece {
        offset: piece.offset,
        data,
    };
    Some((vec![first], vec![second]))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn piece(offset: u64, data: &'static [u8]) -> Piece {
        Piece {
            offset,
            data: Bytes::from_static(data),
        }
    }

    #[test]
    fn a_long_piece_is_cut_and_keeps_its_place() {
        let shorter = cut(vec![piece(3, b"abcdefgh"), piece(20, b"xyz")], 3);
        let expected = [piece(3, b"abc"), piece(6, b"def"), piece(9, b"gh"), piece(20, b"xyz")];
        assert_eq!(shorter, expected);
    }

    #[test]
    fn what_was_appended_is_parted_from_what_was_written_at_a_place() {
        let (plain, appended) = parted(vec![piece(0, b"abcdef"), piece(9, b"xy")], Some(4));
        assert_eq!(plain, [piece(0, b"abcd")]);
        assert_eq!(appended, [piece(4, b"ef"), piece(9, b"xy")]);
    }
}
