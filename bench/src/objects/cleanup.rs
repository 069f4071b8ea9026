//! Deletes what a run has written: in batches, or one by one where the server knows no batches. Runs after an
//! interrupt too, so a stop does not end it; a further signal ends the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::content::Dataset;
use crate::failure::{ErrorKind, OpError};
use crate::limits::{DELETE_BATCH_KEYS, DELETE_SLOTS};
use crate::stop::Stop;
use crate::target::{ObjectSession, ObjectStore};

/// What deletes the objects of a run.
pub(crate) struct Cleanup<'a> {
    pub(crate) store: &'a dyn ObjectStore,
    pub(crate) dataset: &'a Dataset,
    pub(crate) bucket: &'a str,
    pub(crate) concurrency: u32,
    pub(crate) stop: &'a Stop,
}

/// Deletes what runs have written under `prefix`, all or the one of a seed, and their unfinished uploads; returns how many of
/// each. Keys that this tool does not write are left alone.
///
/// # Errors
/// The first error.
pub(crate) fn delete_earlier(
    store: &dyn ObjectStore,
    prefix: &str,
    seed: Option<u64>,
    stop: &Stop,
) -> Result<(u64, u64)> {
    let halt = AtomicBool::new(false);
    let mut session = store.session(0, &halt);
    let is_own = |key: &str| is_own_key(prefix, seed, key);
    let aborted = session.abort_uploads(prefix, &is_own)?;
    let (mut deleted, mut after) = (0, String::new());
    loop {
        if stop.is_requested() {
            bail!("interrupted; {deleted} objects were deleted");
        }
        let page = delete_page(session.as_mut(), prefix, &mut after, &is_own);
        match page.with_context(|| format!("{deleted} objects were deleted before"))? {
            None => return Ok((deleted, aborted)),
            Some(count) => deleted += count,
        }
    }
}

/// Deletes what is own of the page after `after`, and how much that was; `None` where there is no page any more.
fn delete_page(
    session: &mut dyn ObjectSession,
    prefix: &str,
    after: &mut String,
    is_own: &dyn Fn(&str) -> bool,
) -> Result<Option<u64>> {
    let page = session.list(prefix, after, DELETE_BATCH_KEYS as u32)?;
    let Some(last) = page.keys.last().cloned() else {
        ensure!(!page.is_truncated, "the listing does not go on after {after}");
        return Ok(None);
    };
    ensure!(last > *after, "the listing does not go on after {after}");
    let own: Vec<String> = page.keys.into_iter().filter(|key| is_own(key)).collect();
    if !own.is_empty() {
        delete_keys(session, &own)?;
    }
    *after = last;
    Ok(Some(own.len() as u64))
}

/// Whether a run wrote that key: prefix, sixteen digits of a seed, ten or more of an index.
fn is_own_key(prefix: &str, seed: Option<u64>, key: &str) -> bool {
    let Some((run, index)) = key.strip_prefix(prefix).and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let is_run = match seed {
        Some(seed) => run == format!("{seed:016x}"),
        None => run.len() == 16 && run.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
    };
    is_run && index.len() >= 10 && index.bytes().all(|byte| byte.is_ascii_digit())
}

impl Cleanup<'_> {
    /// Gives up this run's unfinished uploads.
    ///
    /// # Errors
    /// The first error.
    pub(crate) fn abort_uploads(&self) -> Result<()> {
        let halt = AtomicBool::new(false);
        let folder = self.dataset.folder();
        let is_own = |key: &str| key.starts_with(&folder);
        let aborted = self.store.session(0, &halt).abort_uploads(&folder, &is_own);
        aborted
            .map(drop)
            .with_context(|| format!("unfinished uploads under {folder} may be left"))
    }

    /// Deletes objects `0..count`, whether or not each exists. A server that is away, or silent for as long as a request may
    /// take, ends it.
    ///
    /// # Errors
    /// The first error, and what may be left; the others' objects are still deleted as far as possible.
    pub(crate) fn delete_objects(&self, count: u64) -> Result<()> {
        let slots = self.concurrency.min(DELETE_SLOTS);
        let (progress, halt) = (Progress::default(), AtomicBool::new(false));
        let results = thread::scope(|scope| {
            let slots: Vec<_> = (0..slots)
                .map(|slot| {
                    let session = self.store.session(slot, &halt);
                    let (progress, halt) = (&progress, &halt);
                    scope.spawn(move || self.delete_batches(session, count, progress, halt))
                })
                .collect();
            slots
                .into_iter()
                .map(|slot| slot.join().map_err(|_| anyhow!("a deleting thread panicked")))
                .collect::<Vec<_>>()
        });
        let mut first = None;
        for result in results {
            first = first.or(result?);
        }
        let Some(error) = first else { return Ok(()) };
        let left = count - progress.deleted.load(Ordering::Relaxed);
        let (place, bucket) = (self.dataset.folder(), self.bucket);
        Err(error).with_context(|| {
            format!("up to {left} objects under {place} in {bucket} were not deleted; --cleanup does it later")
        })
    }

    /// Takes batches until none is left; returns the first error.
    fn delete_batches(
        &self,
        mut session: Box<dyn ObjectSession + '_>,
        count: u64,
        progress: &Progress,
        halt: &AtomicBool,
    ) -> Option<anyhow::Error> {
        let mut first = None;
        while !halt.load(Ordering::Relaxed) {
            // Only noticed: from now on a further signal ends the process.
            let _ = self.stop.is_requested();
            let start = progress.next.fetch_add(DELETE_BATCH_KEYS, Ordering::Relaxed);
            if start >= count {
                break;
            }
            let indices = start..count.min(start + DELETE_BATCH_KEYS);
            let keys: Vec<String> = indices.map(|index| self.dataset.key(index)).collect();
            match delete_keys(session.as_mut(), &keys) {
                Ok(()) => {
                    progress.deleted.fetch_add(keys.len() as u64, Ordering::Relaxed);
                }
                // Another slot has found that the server is away.
                Err(OpError::Interrupted) => break,
                Err(error) => {
                    if is_away(&error) {
                        // The others, and the batches left, would each wait in vain.
                        halt.store(true, Ordering::Relaxed);
                    }
                    first.get_or_insert(error);
                }
            }
        }
        first.map(anyhow::Error::new)
    }
}

/// How far the slots have come.
#[derive(Default)]
struct Progress {
    /// The first object that no slot has taken.
    next: AtomicU64,
    deleted: AtomicU64,
}

/// Whether nothing that is asked of the server will be answered.
fn is_away(error: &OpError) -> bool {
    match error.kind() {
        ErrorKind::Refused | ErrorKind::Connect | ErrorKind::Tls | ErrorKind::Deadline => true,
        ErrorKind::Corrupt
        | ErrorKind::Length
        | ErrorKind::Listing
        | ErrorKind::Attribute
        | ErrorKind::NotFound
        | ErrorKind::Denied
        | ErrorKind::NoSpace
        | ErrorKind::SlowDown
        | ErrorKind::Status
        | ErrorKind::Closed
        | ErrorKind::Protocol
        | ErrorKind::File => false,
    }
}

fn delete_keys(session: &mut dyn ObjectSession, keys: &[String]) -> Result<(), OpError> {
    match session.delete_many(keys) {
        Ok(()) => return Ok(()),
        Err(error) if is_away(&error) || matches!(error, OpError::Interrupted) => return Err(error),
        // A server without DeleteObjects says so in various ways; deleting one by one finds the real error, if any.
        Err(_) => {}
    }
    keys.iter().try_for_each(|key| session.delete(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_runs_write_are_their_own() {
        let dataset = Dataset::new("b/", 255, &"1".parse().unwrap());
        let own = dataset.key(7);
        assert!(is_own_key("b/", None, &own) && is_own_key("b/", Some(255), &own));
        assert!(!is_own_key("b/", Some(254), &own) && !is_own_key("c/", None, &own));
        for foreign in [
            "b/x",
            "b/00000000000000ff",
            "b/00000000000000ff/1",
            "b/00000000000000ff/000000000x",
            "b/00000000000000FF/0000000007",
            "b/0ff/0000000007",
            "b/00000000000000ff/0000000007/x",
        ] {
            assert!(!is_own_key("b/", None, foreign), "{foreign}");
        }
    }
}
