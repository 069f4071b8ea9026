//! Bytes on their way out: what is stored, and over it what was written here and is not stored yet.
//!
//! Invariant: what is not stored is looked at before it is asked where the rest lies, so that bytes which become stored in
//! between are found in one place at least.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_client::{FileError, Piece, PlannedFile};
use tokio::time::{Instant, timeout_at};

use crate::{
    convert::{Outcome, errno},
    opened::Opened,
    volume::Volume,
};

/// Times that a read begins anew where the file changes under it.
const CHANGES_MAX: usize = 16;

/// First and longest pause before a read is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// What is not stored of a range.
struct Unstored {
    pieces: Vec<Piece>,
    /// Where all that is not stored of the file ends.
    end: u64,
    plan: Option<Arc<PlannedFile>>,
    generation: u64,
}

impl Volume {
    /// Up to `size` bytes from `offset` on: fewer only at the end of the file.
    pub(crate) async fn read(&self, opened: &Opened, offset: u64, size: usize) -> Outcome<Bytes> {
        self.settle_file(opened).await?;
        let deadline = Instant::now() + self.files.patience();
        let mut pause = PAUSE.0;
        let mut changes = 0;
        loop {
            let error = match timeout_at(deadline, self.read_once(opened, offset, size)).await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(error)) => error,
                Err(_) => FileError::Unavailable("its bytes did not come in time".to_owned()),
            };
            // Bytes may have been moved or given up since it was told where they lie.
            opened.state.lock().forget_plan();
            match error {
                // A plan of several pages met a change.
                FileError::DataChanged if changes < CHANGES_MAX => changes += 1,
                error if error.may_pass() && Instant::now() < deadline => {
                    tracing::debug!(%error, "a read is tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
                error => return Err(errno(error)),
            }
        }
    }

    async fn read_once(&self, opened: &Opened, offset: u64, size: usize) -> Result<Bytes, FileError> {
        let unstored = unstored(opened, offset, size);
        let mut plan = match unstored.plan {
            Some(plan) => plan,
            None => {
                if let Some(bytes) = self.kept(opened, &unstored, offset, size) {
                    return Ok(bytes);
                }
                let plan = Arc::new(self.files.plan(opened.inode, offset, None).await?);
                opened.state.lock().keep_plan(unstored.generation, &plan);
                plan
            }
        };
        let stored_end = plan.attributes.size;
        let end = stored_end.max(unstored.end).min(offset + size as u64);
        if end <= offset {
            return Ok(Bytes::new());
        }
        let mut bytes = Vec::new();
        let mut at = offset;
        while at < end.min(stored_end) {
            if !plan.covers(at) {
                let version = plan.attributes.data_version;
                plan = Arc::new(self.files.plan(opened.inode, at, Some(version)).await?);
            }
            let stop = end.min(stored_end).min(plan.end());
            if stop <= at {
                return Err(FileError::Failed(format!("no plan reaches byte {at}")));
            }
            let mut parts = self.files.read(&plan, at..stop).await?;
            if let [part] = &mut parts[..]
                && part.len() as u64 == end - offset
                && unstored.pieces.is_empty()
            {
                return Ok(std::mem::take(part));
            }
            bytes.reserve_exact(index(end - offset) - bytes.len());
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            at = stop;
            if bytes.len() as u64 != at - offset {
                return Err(FileError::Failed(format!("bytes before {at} are missing")));
            }
        }
        bytes.resize(index(end - offset), 0);
        for piece in &unstored.pieces {
            let from = index(piece.offset - offset);
            bytes[from..from + piece.data.len()].copy_from_slice(&piece.data);
        }
        Ok(Bytes::from(bytes))
    }
}

impl Volume {
    /// The same of a small file that this mount wrote a moment ago, where nothing else lies over it.
    fn kept(&self, opened: &Opened, unstored: &Unstored, offset: u64, size: usize) -> Option<Bytes> {
        if unstored.end > 0 {
            return None;
        }
        let known = self.files.known_attributes(opened.inode)?;
        let data = self.kept_files.at(opened.inode, known.data_version)?;
        let from = index(offset).min(data.len());
        Some(data.slice(from..data.len().min(from.saturating_add(size))))
    }
}

/// What is not stored of a range, in the order in which it lies over what is.
fn unstored(opened: &Opened, offset: u64, size: usize) -> Unstored {
    let end = offset + size as u64;
    let state = opened.state.lock();
    let mut pieces = Vec::new();
    let mut last = 0;
    for piece in &state.in_flight {
        let piece_end = piece.offset + piece.data.len() as u64;
        last = last.max(piece_end);
        let (from, to) = (piece.offset.max(offset), piece_end.min(end));
        if from < to {
            pieces.push(Piece {
                offset: from,
                data: piece.data.slice(index(from - piece.offset)..index(to - piece.offset)),
            });
        }
    }
    state.dirty.visit(offset, end, |offset, data| {
        pieces.push(Piece {
            offset,
            data: Bytes::copy_from_slice(data),
        });
    });
    Unstored {
        pieces,
        end: last.max(state.dirty.end().unwrap_or(0)),
        plan: state.plan(offset),
        generation: state.plan_generation,
    }
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a read fits in memory")
}
