//! Deletes what a run has written: in batches, or one by one where the server knows no batches. Runs after an
//! interrupt too, so a stop does not end it; a further signal ends the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::content::Dataset;
use crate::failure::OpError;
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
        let page = session.list(prefix, &after, DELETE_BATCH_KEYS as u32)?;
        let Some(last) = page.keys.last().cloned() else {
            return Ok((deleted, aborted));
        };
        ensure!(last > after, "the listing does not go on after {after}");
        let own: Vec<String> = page.keys.into_iter().filter(|key| is_own(key)).collect();
        if !own.is_empty() {
            delete_keys(session.as_mut(), &own)?;
            deleted += own.len() as u64;
        }
        after = last;
    }
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

    /// Deletes objects `0..count`, whether or not each exists.
    ///
    /// # Errors
    /// The first error; the others' objects are still deleted as far as possible.
    pub(crate) fn delete_objects(&self, count: u64) -> Result<()> {
        let batches = count.div_ceil(DELETE_BATCH_KEYS);
        let slots = self.concurrency.min(DELETE_SLOTS);
        let (next, halt) = (AtomicU64::new(0), AtomicBool::new(false));
        let results = thread::scope(|scope| {
            let slots: Vec<_> = (0..slots)
                .map(|slot| {
                    let session = self.store.session(slot, &halt);
                    let next = &next;
                    scope.spawn(move || self.delete_batches(session, count, batches, next))
                })
                .collect();
            slots
                .into_iter()
                .map(|slot| slot.join().map_err(|_| anyhow!("a deleting thread panicked")))
                .collect::<Vec<_>>()
        });
        let mut failed = 0;
        let mut first = None;
        for result in results {
            let (failures, error) = result?;
            failed += failures;
            first = first.or(error);
        }
        match first {
            None => Ok(()),
            Some(error) => {
                let place = self.dataset.folder();
                let Self { bucket, .. } = self;
                Err(error).with_context(|| {
                    format!(
                        "{failed} of {batches} batches of objects under {place} in {bucket} were not deleted; \
                         --cleanup does it later"
                    )
                })
            }
        }
    }

    /// Takes batches until none is left; returns how many failed, and the first error.
    fn delete_batches(
        &self,
        mut session: Box<dyn ObjectSession + '_>,
        count: u64,
        batches: u64,
        next: &AtomicU64,
    ) -> (u64, Option<anyhow::Error>) {
        let (mut failed, mut first) = (0, None);
        loop {
            // Only noticed: from now on a further signal ends the process.
            let _ = self.stop.is_requested();
            let batch = next.fetch_add(1, Ordering::Relaxed);
            if batch >= batches {
                return (failed, first);
            }
            let indices = batch * DELETE_BATCH_KEYS..count.min((batch + 1) * DELETE_BATCH_KEYS);
            let keys: Vec<String> = indices.map(|index| self.dataset.key(index)).collect();
            if let Err(error) = delete_keys(session.as_mut(), &keys) {
                // Nothing listens any more, so that the batches left would each wait in vain.
                let is_away = error
                    .downcast_ref()
                    .is_some_and(|error| matches!(error, OpError::Refused(_) | OpError::Connect(..)));
                if is_away {
                    next.store(batches, Ordering::Relaxed);
                }
                failed += 1;
                first.get_or_insert(error);
            }
        }
    }
}

fn delete_keys(session: &mut dyn ObjectSession, keys: &[String]) -> Result<()> {
    match session.delete_many(keys) {
        Ok(()) => return Ok(()),
        Err(error @ (OpError::Refused(_) | OpError::Connect(..) | OpError::Tls { .. })) => bail!(error),
        // A server without DeleteObjects says so in various ways; deleting one by one finds the real error, if any.
        Err(_) => {}
    }
    for key in keys {
        session.delete(key)?;
    }
    Ok(())
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
