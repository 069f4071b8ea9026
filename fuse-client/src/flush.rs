//! Storing what was written: at fsync and close, when there is much of it, and when it has waited long enough.
//!
//! Invariant: bytes leave memory once they are durable, or once their loss is kept as an error for all who have the file open.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use cairn_client::{FileError, Piece};

use crate::{
    convert::{Outcome, errno},
    handles::Handle,
    opened::Opened,
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

/// Shorter pieces are not cut in two.
const HALVED_BYTES_MIN: usize = 128 << 10;

impl Volume {
    /// Stores what is dirty. When this returns, what was written before is durable, or an error is kept.
    pub(crate) async fn flush(&self, opened: &Opened) {
        let _one = opened.flushing.lock().await;
        let (pieces, appended_from, clear_suid) = {
            let mut state = opened.state.lock();
            state.flush_is_due = false;
            if state.dirty.is_empty() {
                return;
            }
            state.dirty_since = None;
            state.in_flight = state.dirty.take();
            let clear_suid = std::mem::take(&mut state.clear_suid);
            (state.in_flight.clone(), state.appended_from.take(), clear_suid)
        };
        let bytes = pieces.iter().map(|piece| piece.data.len()).sum();
        let stored = self.store(opened, pieces, appended_from, clear_suid).await;
        {
            let mut state = opened.state.lock();
            // Before the bytes are let go: who does not find them here any more asks where they lie.
            state.forget_plan();
            state.in_flight.clear();
            if let Err(error) = stored {
                state.fail(error);
            }
        }
        self.budget.give_back(bytes);
        if let Err(error) = stored {
            tracing::error!(
                inode = opened.inode,
                bytes,
                ?error,
                "written bytes are lost: they could not be stored"
            );
            self.kernel.forget_pages(self.number(opened.inode), 0);
        }
    }

    /// Stores what is dirty of an open file, and gives the error that its owner was not told of yet.
    pub(crate) async fn sync(&self, handle: &Handle) -> Outcome<()> {
        self.flush(&handle.opened).await;
        handle.error()
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
                if state.dirty.is_empty() || std::mem::replace(&mut state.flush_is_due, true) {
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

    async fn store(
        &self,
        opened: &Opened,
        pieces: Vec<Piece>,
        appended_from: Option<u64>,
        clear_suid: bool,
    ) -> Outcome<()> {
        let (plain, appended) = parted(pieces, appended_from);
        let mut batches: VecDeque<Vec<Piece>> = batches(plain).into();
        while let Some(batch) = batches.pop_front() {
            match self.files.write(opened.inode, &batch, None, clear_suid).await {
                Ok(attributes) => opened.state.lock().learn(&attributes),
                Err(FileError::TooMuch(detail)) => {
                    let (first, second) = halved(batch).ok_or_else(|| errno(FileError::Failed(detail)))?;
                    batches.push_front(second);
                    batches.push_front(first);
                }
                Err(error) => return Err(errno(error)),
            }
        }
        for piece in appended {
            self.append(opened, piece, clear_suid).await?;
        }
        Ok(())
    }

    /// Stores bytes behind the end of the file, wherever that is by then.
    async fn append(&self, opened: &Opened, mut piece: Piece, clear_suid: bool) -> Outcome<()> {
        loop {
            let (end, version) = {
                let state = opened.state.lock();
                (state.known.size, state.known.data_version)
            };
            if piece.offset != end {
                self.move_appended(opened, &mut piece, end);
            }
            let written = self
                .files
                .write(opened.inode, std::slice::from_ref(&piece), Some(version), clear_suid)
                .await;
            match written {
                Ok(attributes) => {
                    opened.state.lock().learn(&attributes);
                    return Ok(());
                }
                // Somebody else wrote meanwhile.
                Err(FileError::DataChanged) => {
                    let attributes = self.files.attributes(opened.inode).await.map_err(errno)?;
                    opened.state.lock().learn(&attributes);
                }
                Err(error) => return Err(errno(error)),
            }
        }
    }

    /// Appended bytes come to lie at `end`, and so does what was appended after them.
    fn move_appended(&self, opened: &Opened, piece: &mut Piece, end: u64) {
        let from = piece.offset.min(end);
        {
            let mut state = opened.state.lock();
            let before = piece.offset + piece.data.len() as u64;
            piece.offset = end;
            if let Some(flying) = state.in_flight.last_mut() {
                *flying = piece.clone();
            }
            if state.appended_from == Some(before) {
                let moved = end + piece.data.len() as u64;
                state.dirty.shift(before, moved);
                state.appended_from = Some(moved);
            }
        }
        self.kernel.forget_pages(self.number(opened.inode), from);
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
