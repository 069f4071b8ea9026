//! The release queue and the garbage chunks: what they say of inodes, uploads and chunks is gathered for later passes.

use super::{
    super::error::MaintenanceError,
    check::{Check, Claim, Gathered, Link, Reference},
};
use crate::{
    core::view::Family,
    record::garbage::{self, Release, ReleaseRecord},
};

const FAMILY: Family = Family::Garbage;

pub(super) fn pass(check: &mut Check<'_>, gathered: &mut Gathered) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(FAMILY)?;
    while let Some((key, value)) = cursor.take(check) {
        if let Some(id) = garbage::chunk_of(&key) {
            gathered.refer(&id.to_bytes(), Reference::Garbage, 0)?;
            continue;
        }
        if garbage::queued_at(&key).is_none() {
            check.damaged(FAMILY, &key, "the key is of no known kind");
            continue;
        }
        gathered.queued += 1;
        let Some(record) = check.open::<ReleaseRecord>(FAMILY, &key, &value) else {
            continue;
        };
        release(check, gathered, &key, record)?;
    }
    Ok(())
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
        // What these release is not looked for elsewhere.
        Some(Release::Cut(_) | Release::Locks(_) | Release::Feed(_)) => {}
        None => check.wrong(FAMILY, key, "it releases nothing that this program knows"),
    }
    Ok(())
}
