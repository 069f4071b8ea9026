//! The release queue and the garbage chunks: what they say of inodes, uploads and chunks is gathered for later passes.

use super::{
    super::error::MaintenanceError,
    check::{Check, Claim, Gathered, Link, Reference},
};
use crate::{
    core::view::Family,
    record::{
        garbage::{self, Release, ReleaseRecord},
        hold,
    },
};
use cairn_common::ids::{BucketId, InodeId};

const FAMILY: Family = Family::Garbage;

pub(super) fn pass(check: &mut Check<'_>, gathered: &mut Gathered) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(FAMILY)?;
    while let Some((key, value)) = cursor.take(check) {
        if let Some(id) = garbage::chunk_of(&key) {
            gathered.refer(&id.to_bytes(), Reference::Garbage, 0)?;
            continue;
        }
        let is_held = garbage::is_held_key(&key);
        if !is_held && garbage::queued_at(&key).is_none() {
            check.damaged(FAMILY, &key, "the key is of no known kind");
            continue;
        }
        gathered.queued += 1;
        gathered.first_queued = gathered.first_queued.or_else(|| garbage::queued_at(&key));
        let Some(record) = check.open::<ReleaseRecord>(FAMILY, &key, &value) else {
            continue;
        };
        if is_held {
            held(check, gathered, &key, &record)?;
        } else {
            release(check, gathered, &key, record)?;
        }
    }
    Ok(())
}

/// An inode that waits for mounts to close it: one of them at least holds it.
fn held(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    key: &[u8],
    record: &ReleaseRecord,
) -> Result<(), MaintenanceError> {
    let Some(Release::Inode(inode)) = record.release else {
        check.wrong(FAMILY, key, "only inodes are held open, and it is none");
        return Ok(());
    };
    let (bucket, number) = (BucketId::new(record.bucket), InodeId::new(inode));
    if key != garbage::held_key(bucket, number) {
        check.wrong(FAMILY, key, "its key names another inode than its record");
    }
    let prefix = hold::file_prefix(bucket, number);
    let first = check.state.records(Family::Hold, &prefix)?.next().transpose()?;
    if !first.is_some_and(|(key, _)| key.starts_with(&prefix)) {
        check.wrong(FAMILY, key, "it waits to be closed, and no session holds it");
    }
    gathered.link(record.bucket, inode, Link::Held, 0)
}

fn release(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    key: &[u8],
    record: ReleaseRecord,
) -> Result<(), MaintenanceError> {
    match record.release {
        Some(Release::Inode(inode)) => gathered.link(record.bucket, inode, Link::Queued, 0)?,
        Some(Release::Upload(upload)) => gathered.claim(record.bucket, upload, Claim::Queued, 0)?,
        Some(Release::Unselected(unselected)) => {
            gathered.claim(record.bucket, unselected.upload, Claim::Unselected, unselected.inode)?;
        }
        Some(Release::Chunks(chunks)) => {
            for id in &chunks.ids {
                if !gathered.refer(id, Reference::Extent, 0)? {
                    check.wrong(FAMILY, key, "it releases a chunk whose id has not 16 bytes");
                }
            }
        }
        Some(Release::Cut(cut)) => gathered.link(record.bucket, cut.inode, Link::Cut, cut.generation)?,
        Some(Release::Locks(session)) => {
            gathered.ended_sessions.insert(session);
        }
        Some(Release::Feed(_)) => {
            gathered.ended_feeds.insert(record.bucket);
        }
        None => check.wrong(FAMILY, key, "it releases nothing that this program knows"),
    }
    Ok(())
}
