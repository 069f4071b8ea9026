//! Change feeds: each is of a bucket that asks for one, and counts what it holds.

use cairn_common::{envelope, ids::BucketId, wire::feed::FeedPosition};

use super::{
    super::error::MaintenanceError,
    check::{BucketFacts, Check, Gathered},
};
use crate::{
    core::view::Family,
    record::{
        feed::{self, FeedRecord, FeedState},
        key::u64_at,
    },
};

const FAMILY: Family = Family::Feed;
/// The first bytes of the two kinds of keys.
const CHANGE: u8 = 0;
const STATE: u8 = 1;

/// The changes of the bucket at hand.
#[derive(Default)]
struct Changes {
    bucket: u64,
    count: u64,
    /// The oldest, and its key.
    oldest: Option<(FeedPosition, Vec<u8>)>,
}

pub(super) fn pass(check: &mut Check<'_>, gathered: &Gathered) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(FAMILY)?;
    let mut changes = Changes::default();
    while let Some((key, value)) = cursor.take(check) {
        let bucket = u64_at(&key, 1).unwrap_or_default();
        match (key.first(), feed::position_of(&key)) {
            (Some(&CHANGE), Some(position)) => {
                check.open::<FeedRecord>(FAMILY, &key, &value);
                if bucket != changes.bucket {
                    of_bucket(check, gathered, &changes)?;
                    changes = Changes {
                        bucket,
                        ..Changes::default()
                    };
                }
                changes.count += 1;
                changes.oldest.get_or_insert((position, key));
            }
            (Some(&STATE), _) => {
                let Some(state) = check.open::<FeedState>(FAMILY, &key, &value) else {
                    continue;
                };
                let has_changes = state.entries > 0 && first_change(check, bucket)?.is_none();
                if has_changes {
                    check.wrong(
                        FAMILY,
                        &key,
                        format!("it counts {} changes, there are 0", state.entries),
                    );
                }
                bound(check, gathered, &key, bucket, &state);
            }
            _ => check.damaged(FAMILY, &key, "the key is of no known kind"),
        }
    }
    of_bucket(check, gathered, &changes)?;
    without_state(check, gathered)
}

fn first_change(check: &Check<'_>, bucket: u64) -> Result<Option<Vec<u8>>, MaintenanceError> {
    let prefix = feed::prefix(BucketId::new(bucket));
    let first = check.state.records(FAMILY, &prefix)?.next().transpose()?;
    Ok(first.map(|(key, _)| key).filter(|key| key.starts_with(&prefix)))
}

/// Compares the changes of a bucket with the state of its feed.
fn of_bucket(check: &mut Check<'_>, gathered: &Gathered, changes: &Changes) -> Result<(), MaintenanceError> {
    let Some((oldest, oldest_key)) = &changes.oldest else {
        return Ok(());
    };
    let key = feed::state_key(BucketId::new(changes.bucket));
    let stored = check.state.value(FAMILY, &key)?;
    let Some(state) = stored.and_then(|value| envelope::open::<FeedState>(&value).ok()) else {
        check.wrong(FAMILY, oldest_key, "the bucket keeps no feed that it could be of");
        return Ok(());
    };
    if state.entries != changes.count {
        let what = format!("it counts {} changes, there are {}", state.entries, changes.count);
        check.wrong(FAMILY, &key, what);
    }
    let is_trimmed = state.trimmed_to.is_some_and(|trimmed_to| *oldest <= trimmed_to);
    if is_trimmed && !gathered.ended_feeds.contains(&changes.bucket) {
        check.wrong(FAMILY, oldest_key, "it was trimmed, and is not queued for release");
    }
    Ok(())
}

/// A feed keeps as much as its bucket's settings say; one that was ended is queued for release.
fn bound(check: &mut Check<'_>, gathered: &Gathered, key: &[u8], bucket: u64, state: &FeedState) {
    let wanted = gathered.buckets.get(&bucket).map_or(0, entries_max);
    if state.entries_max != wanted {
        let what = format!("it keeps {} changes, the bucket asks for {wanted}", state.entries_max);
        check.wrong(FAMILY, key, what);
    }
    if state.entries_max == 0 && !gathered.ended_feeds.contains(&bucket) {
        check.wrong(FAMILY, key, "the feed was ended, and is not queued for release");
    }
}

/// Buckets that ask for a feed have one.
fn without_state(check: &mut Check<'_>, gathered: &Gathered) -> Result<(), MaintenanceError> {
    for (bucket, _) in gathered.buckets.iter().filter(|(_, facts)| entries_max(facts) > 0) {
        let key = feed::state_key(BucketId::new(*bucket));
        if check.state.value(FAMILY, &key)?.is_none() {
            check.wrong(FAMILY, &key, format!("bucket {bucket} asks for a feed, and has none"));
        }
    }
    Ok(())
}

fn entries_max(facts: &BucketFacts) -> u64 {
    facts
        .record
        .settings
        .as_ref()
        .map_or(0, |settings| settings.feed_entries_max)
}
