//! Deletes what a run has written: in batches, or one by one where the server knows no batches. Runs after an
//! interrupt too, so a stop does not end it; a further signal ends the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::client::Client;
use crate::error::RequestError;
use crate::limits::{DELETE_BATCH_KEYS, DELETE_SLOTS};
use crate::phase::Setup;

/// Deletes objects `0..count`, whether or not each exists.
///
/// # Errors
/// The first error; the others' objects are still deleted as far as possible.
pub(crate) fn delete_objects(setup: &Setup<'_>, count: u64) -> Result<()> {
    let batches = count.div_ceil(DELETE_BATCH_KEYS);
    let slots = setup.args.concurrency.min(DELETE_SLOTS);
    let (next, halt) = (AtomicU64::new(0), AtomicBool::new(false));
    let results = thread::scope(|scope| {
        let work = || delete_batches(setup, count, batches, &next, &halt);
        let slots: Vec<_> = (0..slots).map(|_| scope.spawn(work)).collect();
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
            let place = setup.dataset.key(0);
            let prefix = place.rsplit_once('/').map_or(place.as_str(), |(prefix, _)| prefix);
            Err(error).with_context(|| {
                format!(
                    "{failed} of {batches} batches of objects under {prefix}/ in {} were not deleted",
                    setup.args.bucket
                )
            })
        }
    }
}

/// Takes batches until none is left; returns how many failed, and the first error.
fn delete_batches(
    setup: &Setup<'_>,
    count: u64,
    batches: u64,
    next: &AtomicU64,
    halt: &AtomicBool,
) -> (u64, Option<anyhow::Error>) {
    let mut client = Client::new(setup.args, setup.endpoint, halt);
    let (mut failed, mut first) = (0, None);
    loop {
        // Only noticed: from now on a further signal ends the process.
        let _ = setup.stop.is_requested();
        let batch = next.fetch_add(1, Ordering::Relaxed);
        if batch >= batches {
            return (failed, first);
        }
        let indices = batch * DELETE_BATCH_KEYS..count.min((batch + 1) * DELETE_BATCH_KEYS);
        if let Err(error) = delete_range(setup, &mut client, indices) {
            // Nothing listens any more, so that the batches left would each wait in vain.
            let is_away = error
                .downcast_ref()
                .is_some_and(|error| matches!(error, RequestError::Refused(_)));
            if is_away {
                next.store(batches, Ordering::Relaxed);
            }
            failed += 1;
            first.get_or_insert(error);
        }
    }
}

fn delete_range(setup: &Setup<'_>, client: &mut Client<'_>, indices: std::ops::Range<u64>) -> Result<()> {
    match client.delete_many(indices.clone().map(|index| setup.dataset.key(index))) {
        Ok(()) => return Ok(()),
        Err(error @ (RequestError::Refused(_) | RequestError::Connect(..))) => bail!(error),
        // A server without DeleteObjects says so in various ways; deleting one by one finds the real error, if any.
        Err(_) => {}
    }
    for index in indices {
        client.delete(&setup.dataset.key(index))?;
    }
    Ok(())
}
