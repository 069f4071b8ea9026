//! A reader of change feeds: it knows the names of a bucket at some time, follows the changes, and must come to know the
//! names of now.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_common::wire::{
    command::ErrorCode,
    feed::{Change, ChangeKind, FeedPage, FeedPosition, FeedQuery},
    query::{Answer, Query},
};

use super::{Questions, same};
use crate::core::tests::model::world::{Bucket, FEED_UNBOUNDED};

/// Names by directory and component.
type Names = BTreeMap<(u64, Bytes), u64>;

/// What a reader knows of a bucket.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Follower {
    position: FeedPosition,
    names: Names,
    versions: BTreeMap<u64, u64>,
}

impl Follower {
    fn new(bucket: &Bucket, log_index: u64) -> Self {
        Self {
            position: FeedPosition {
                log_index,
                number: u32::MAX,
            },
            names: names(bucket),
            versions: versions(bucket),
        }
    }

    fn follow(&mut self, change: &Change) {
        let from = (change.parent, change.component.clone());
        match change.kind() {
            ChangeKind::Entered => {
                self.names.insert(from, change.inode);
            }
            ChangeKind::Removed => {
                self.names.remove(&from);
            }
            ChangeKind::Renamed => {
                self.names.remove(&from);
                self.names
                    .insert((change.to_parent, change.to_component.clone()), change.inode);
            }
            ChangeKind::Unspecified | ChangeKind::Attributes | ChangeKind::Data => {}
        }
        // The key of a directory that is there on purpose names the directory itself.
        self.names
            .retain(|(parent, component), inode| !component.is_empty() || parent != inode);
    }
}

/// All names of a bucket but those that directories give themselves.
fn names(bucket: &Bucket) -> Names {
    let mut names = Names::new();
    for (parent, directory) in bucket.inodes.iter().filter(|(_, inode)| inode.unlinked_at.is_none()) {
        let entries = directory.entries.iter().filter(|(_, inode)| *inode != parent);
        names.extend(entries.map(|(component, inode)| ((*parent, Bytes::copy_from_slice(component)), *inode)));
    }
    names
}

/// The data versions of everything that has a name.
fn versions(bucket: &Bucket) -> BTreeMap<u64, u64> {
    let named = bucket.inodes.iter().filter(|(_, inode)| inode.unlinked_at.is_none());
    named.map(|(number, inode)| (*number, inode.data_version)).collect()
}

impl Questions<'_> {
    /// Lets the followers of all buckets follow.
    pub(in super::super) fn feeds(&mut self, followers: &mut BTreeMap<u64, Follower>) -> Result<(), String> {
        followers.retain(|id, _| self.world.buckets.values().any(|bucket| bucket.id == *id));
        for bucket in self.world.buckets.values() {
            let Some(mut follower) = followers.remove(&bucket.id) else {
                followers.insert(bucket.id, Follower::new(bucket, self.log_index));
                continue;
            };
            let began_at = follower.position.log_index;
            match self.feed(bucket, &mut follower)? {
                Ok(changed) => {
                    let now = names(bucket);
                    same(
                        follower.names == now,
                        &("names by feed", began_at),
                        &now,
                        &follower.names,
                    )?;
                    let data = versions(bucket);
                    let silent = data.iter().find(|(inode, version)| {
                        let known = follower.versions.get(*inode);
                        known.is_some_and(|known| known != *version) && !changed.contains(*inode)
                    });
                    same(silent.is_none(), &("data by feed", began_at), &"a change", &silent)?;
                    follower.versions = data;
                    followers.insert(bucket.id, follower);
                }
                Err(code) => {
                    let may_be_trimmed = code == ErrorCode::FeedTrimmed
                        && (bucket.settings.feed_entries_max < FEED_UNBOUNDED || began_at <= bucket.feed_bounded_at);
                    same(may_be_trimmed, &("feed", bucket.id, began_at), &"changes", &code)?;
                    followers.insert(bucket.id, Follower::new(bucket, self.log_index));
                }
            }
        }
        Ok(())
    }

    /// Reads what changed since; gives the inodes whose data did.
    fn feed(&mut self, bucket: &Bucket, follower: &mut Follower) -> Result<Result<BTreeSet<u64>, ErrorCode>, String> {
        let mut changed = BTreeSet::new();
        loop {
            let limit = *self.rng.pick(&[1, 3, 1000]);
            let query = Query::Feed(FeedQuery {
                bucket_id: bucket.id,
                after: Some(follower.position),
                limit,
            });
            let FeedPage { changes, next, more } = match self.ask(&query)? {
                Ok(Answer::Feed(page)) => page,
                Ok(other) => return Err(format!("{query:?} is answered by {other:?}")),
                Err(code) => return Ok(Err(code)),
            };
            if changes.len() > limit as usize || (more && changes.is_empty()) {
                return Err(format!("{query:?} is answered by {} changes", changes.len()));
            }
            let mut last = follower.position;
            for change in &changes {
                let position = change.position.unwrap_or_default();
                if position <= last || position.log_index > self.log_index {
                    return Err(format!("{query:?}: a change at {position:?} behind one at {last:?}"));
                }
                last = position;
                let change = change.change.clone().unwrap_or_default();
                if change.kind() == ChangeKind::Data {
                    changed.insert(change.inode);
                }
                follower.follow(&change);
            }
            let expected = if changes.is_empty() { follower.position } else { last };
            same(next == Some(expected), &query, &Some(expected), &next)?;
            follower.position = expected;
            if !more {
                return Ok(Ok(changed));
            }
        }
    }
}
