//! The change feed of a bucket: noted beside each change, read page by page, trimmed as it grows.
//!
//! Invariant: every change of a name or an inode is noted while the bucket keeps a feed, in order; what was trimmed is
//! never skipped in silence. A note removes two changes at most, so that a bound that was lowered is reached in small steps.

use cairn_common::{
    ids::{BucketId, InodeId},
    limits,
    wire::{
        command::ErrorCode,
        feed::{Change, ChangeKind, FeedChange, FeedPage, FeedPosition, FeedQuery},
    },
};

use super::{
    path::Place,
    release,
    tx::{ApplyError, Tx, missing, open_record, read_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    dentry,
    feed::{self, FeedRecord, FeedState},
    garbage::Release,
    inode::{InodeKind, InodeRecord},
};

/// Changes that a note removes at most: more than it adds.
const TRIMMED_AT_ONCE: u64 = 2;

/// A name was entered, or stands for another inode than `replaced` now.
pub(crate) fn entered(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    place: &Place<'_>,
    inode: InodeId,
    replaced: Option<InodeId>,
) -> Result<(), ViewError> {
    note(tx, bucket, |tx| Change {
        replaced: replaced.map_or(0, InodeId::value),
        ..of_name(tx, ChangeKind::Entered, place, inode)
    })
}

/// A name was removed.
pub(crate) fn removed(tx: &mut Tx<'_>, bucket: BucketId, place: &Place<'_>, inode: InodeId) -> Result<(), ViewError> {
    note(tx, bucket, |tx| of_name(tx, ChangeKind::Removed, place, inode))
}

/// A record of an inode is about to be stored: notes what changes, but for what the names in a directory say.
pub(crate) fn changing(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    inode: InodeId,
    before: &InodeRecord,
    after: &InodeRecord,
) -> Result<(), ViewError> {
    // That it lost its last name was noted; what becomes of it then is nobody's to follow.
    if after.unlinked_at > 0 {
        return Ok(());
    }
    let data = |record: &InodeRecord| {
        (
            record.size,
            record.inline.clone(),
            record.extents.clone(),
            record.upload,
            record.data_version(),
        )
    };
    if before.unlinked_at != after.unlinked_at {
        // Noted with the name that it lost.
        return Ok(());
    }
    let kind = if data(before) != data(after) {
        ChangeKind::Data
    } else if before.kind() == InodeKind::Directory && before.children != after.children || before == after {
        return Ok(());
    } else {
        ChangeKind::Attributes
    };
    note(tx, bucket, |_| Change {
        kind: kind.into(),
        inode: inode.value(),
        ..Change::default()
    })
}

fn of_name(tx: &Tx<'_>, kind: ChangeKind, place: &Place<'_>, inode: InodeId) -> Change {
    // The key at hand is that of the name at its end, never of a directory on the way.
    let is_key = !dentry::is_directory(place.component) && tx.key.ends_with(place.component);
    Change {
        kind: kind.into(),
        inode: inode.value(),
        parent: place.parent.value(),
        component: place.component.to_vec().into(),
        key: if is_key { tx.key.clone() } else { bytes::Bytes::new() },
        ..Change::default()
    }
}

/// Whether changes of the bucket are noted.
pub(crate) fn is_on(view: &dyn View, bucket: BucketId) -> Result<bool, ViewError> {
    Ok(state(view, bucket)?.is_some_and(|state| state.entries_max > 0))
}

/// Notes a change, where the bucket keeps a feed.
pub(crate) fn note(tx: &mut Tx<'_>, bucket: BucketId, change: impl FnOnce(&Tx<'_>) -> Change) -> Result<(), ViewError> {
    let Some(mut state) = state(tx, bucket)?.filter(|state| state.entries_max > 0) else {
        return Ok(());
    };
    let position = FeedPosition {
        log_index: tx.log_index,
        number: tx.noted,
    };
    tx.noted += 1;
    let record = FeedRecord {
        time_ms: tx.time_ms,
        change: Some(change(tx)),
    };
    tx.put(Family::Feed, feed::key(bucket, position), &record);
    state.entries += 1;
    let beyond = state.entries.saturating_sub(state.entries_max).min(TRIMMED_AT_ONCE);
    trim(tx, bucket, &mut state, beyond, None)?;
    tx.put(Family::Feed, feed::state_key(bucket), &state);
    Ok(())
}

/// Removes up to `limit` of the oldest changes, none behind `up_to`. Gives how many.
fn trim(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    state: &mut FeedState,
    limit: u64,
    up_to: Option<FeedPosition>,
) -> Result<u64, ViewError> {
    if limit == 0 {
        return Ok(0);
    }
    let mut oldest = Vec::new();
    // What was trimmed to is gone: starting behind it passes over the marks that the store keeps of removed records.
    let from = match up_to {
        None => feed::key(bucket, state.trimmed_to.unwrap_or_default()),
        Some(_) => Vec::new(),
    };
    scan_prefix(tx, Family::Feed, &feed::prefix(bucket), &from, &mut |key, _| {
        let position = feed::position_of(key).ok_or_else(|| missing(Family::Feed, "a whole key"))?;
        if up_to.is_some_and(|up_to| position > up_to) {
            return Ok(false);
        }
        oldest.push(position);
        Ok((oldest.len() as u64) < limit)
    })?;
    for position in &oldest {
        tx.delete(Family::Feed, feed::key(bucket, *position));
        state.trimmed_to = state.trimmed_to.max(Some(*position));
    }
    state.entries = state.entries.saturating_sub(oldest.len() as u64);
    Ok(oldest.len() as u64)
}

/// Sets how many changes the bucket keeps; 0 ends the feed, and what it held is released step by step.
pub(crate) fn set_bound(tx: &mut Tx<'_>, bucket: BucketId, entries_max: u64) -> Result<(), ViewError> {
    let Some(mut state) = state(tx, bucket)? else {
        if entries_max == 0 {
            return Ok(());
        }
        let state = FeedState {
            entries_max,
            entries: 0,
            trimmed_to: Some(now(tx)),
        };
        tx.put(Family::Feed, feed::state_key(bucket), &state);
        return Ok(());
    };
    if state.entries_max > 0 && entries_max == 0 {
        state.trimmed_to = Some(now(tx));
        release::queue(tx, bucket, Release::Feed(true))?;
    } else if state.entries_max == 0 && entries_max > 0 {
        state.trimmed_to = Some(now(tx));
    }
    state.entries_max = entries_max;
    tx.put(Family::Feed, feed::state_key(bucket), &state);
    Ok(())
}

/// A position of its own behind every change so far: those that were made while no feed was kept lie before it too.
fn now(tx: &mut Tx<'_>) -> FeedPosition {
    let number = tx.noted;
    tx.noted += 1;
    FeedPosition {
        log_index: tx.log_index,
        number,
    }
}

/// Removes changes of a feed that was ended, a step each; those that were noted since it was started again stay. `true`
/// once all are gone.
pub(crate) fn release(tx: &mut Tx<'_>, bucket: BucketId, left: &mut usize) -> Result<bool, ViewError> {
    let Some(mut state) = state(tx, bucket)? else {
        return Ok(true);
    };
    let wanted = *left as u64;
    let up_to = state.trimmed_to.unwrap_or_default();
    let gone = trim(tx, bucket, &mut state, wanted, Some(up_to))?;
    *left -= usize::try_from(gone).unwrap_or(usize::MAX).min(*left);
    let finished = gone < wanted;
    if finished && state.entries_max == 0 {
        tx.delete(Family::Feed, feed::state_key(bucket));
    } else {
        tx.put(Family::Feed, feed::state_key(bucket), &state);
    }
    Ok(finished)
}

fn state(view: &dyn View, bucket: BucketId) -> Result<Option<FeedState>, ViewError> {
    read_record(view, Family::Feed, &feed::state_key(bucket))
}

/// A page of a bucket's changes.
pub(crate) fn answer(view: &dyn View, query: &FeedQuery) -> Result<FeedPage, ApplyError> {
    let bucket = BucketId::new(query.bucket_id);
    let state = state(view, bucket)?.filter(|state| state.entries_max > 0);
    let Some(state) = state else {
        return Err(refuse(
            ErrorCode::FeedTrimmed,
            "the bucket keeps no feed: turn it on in its settings, read the state, and go on from there",
        ));
    };
    let after = query.after.unwrap_or_default();
    if after < state.trimmed_to.unwrap_or_default() {
        return Err(refuse(
            ErrorCode::FeedTrimmed,
            "changes behind the position are gone: read the state anew, and go on from there",
        ));
    }
    let limit = (query.limit as usize).min(limits::LIST_PAGE_MAX);
    let mut page = FeedPage {
        next: Some(after),
        ..FeedPage::default()
    };
    let mut from = feed::key(bucket, after);
    from.push(0);
    scan_prefix(view, Family::Feed, &feed::prefix(bucket), &from, &mut |key, value| {
        if page.changes.len() == limit {
            page.more = true;
            return Ok(false);
        }
        let record: FeedRecord = open_record(Family::Feed, value)?;
        let position = feed::position_of(key).ok_or_else(|| missing(Family::Feed, "a whole key"))?;
        page.next = Some(position);
        page.changes.push(FeedChange {
            position: Some(position),
            time_ms: record.time_ms,
            change: record.change,
        });
        Ok(true)
    })?;
    Ok(page)
}
