//! What files hold: inline bytes, extents in order, manifests.

use super::{
    super::error::MaintenanceError,
    check::{Check, Claim, Cursor, Gathered, pair_of},
};
use crate::{
    core::{live_extent, view::Family},
    record::{
        extent::{self, ExtentRecord, ManifestRecord},
        inode::InodeRecord,
        key::u64_at,
    },
};
use cairn_common::ids::{BucketId, InodeId};

const FAMILY: Family = Family::Extent;

/// Reports extents of inodes before `at`, which are not there; all that are left, without `at`.
pub(super) fn without_inode(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    extents: &mut Cursor<'_>,
    at: Option<(u64, u64)>,
) -> Result<(), MaintenanceError> {
    while let Some(next) = extents.key() {
        let of = pair_of(next);
        if at.is_some_and(|at| of.is_some_and(|of| of >= at)) {
            break;
        }
        let Some((key, value)) = extents.take(check) else { break };
        check.wrong(FAMILY, &key, "the file that it is of is not there");
        // Its reference is counted all the same: else its chunk would be reported too.
        if !key.ends_with(&[0xff; 8])
            && let Some(record) = check.open::<ExtentRecord>(FAMILY, &key, &value)
        {
            gathered.refer_extent(&record)?;
        }
    }
    Ok(())
}

/// Passes over the extents of an inode whose record cannot be read.
pub(super) fn skip(check: &mut Check<'_>, extents: &mut Cursor<'_>, at: (u64, u64)) {
    while extents.key().and_then(pair_of) == Some(at) {
        extents.take(check);
    }
}

/// Checks what the file `at` holds.
pub(super) fn of_file(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    extents: &mut Cursor<'_>,
    at: (u64, u64),
    record: &InodeRecord,
) -> Result<(), MaintenanceError> {
    let inode_key = crate::record::inode::key(BucketId::new(at.0), InodeId::new(at.1));
    let mut order = Order::new(record.size);
    for extent in &record.extents {
        if let Some(what) = order.next(extent, record) {
            check.wrong(Family::Inode, &inode_key, what);
        }
        if !gathered.refer_extent(extent)? {
            check.wrong(
                Family::Inode,
                &inode_key,
                "an extent names a chunk whose id has not 16 bytes",
            );
        }
    }
    let (mut further, mut manifest) = (0_u64, None);
    while extents.key().and_then(pair_of) == Some(at) {
        let Some((key, value)) = extents.take(check) else { break };
        if key == extent::manifest_key(BucketId::new(at.0), InodeId::new(at.1)) {
            manifest = check.open::<ManifestRecord>(FAMILY, &key, &value);
            continue;
        }
        further += 1;
        let Some(extent) = check.open::<ExtentRecord>(FAMILY, &key, &value) else {
            continue;
        };
        if u64_at(&key, 16) != extent.file_offset.checked_add(extent.length) {
            check.wrong(FAMILY, &key, "the extent does not end where its key says");
        }
        if let Some(what) = order.next(&extent, record) {
            check.wrong(FAMILY, &key, what);
        }
        if !gathered.refer_extent(&extent)? {
            check.wrong(FAMILY, &key, "it names a chunk whose id has not 16 bytes");
        }
    }
    shape(check, &inode_key, record, further);
    of_object(check, gathered, at, record, manifest)
}

/// How the parts of a body go together.
fn shape(check: &mut Check<'_>, key: &[u8], record: &InodeRecord, further: u64) {
    let inline = record.inline.len() as u64;
    if inline > 0 && (inline != record.size || !record.extents.is_empty() || record.upload != 0) {
        let what = format!(
            "{inline} bytes are in its record, and it says to have {} or more",
            record.size
        );
        check.wrong(Family::Inode, key, what);
    }
    // A body that is being released loses its further extents first, and a truncation may take them all.
    let may_have_none = record.unlinked_at > 0 || record.changes.is_some();
    if (further > 0 && !record.more_extents) || (further == 0 && record.more_extents && !may_have_none) {
        let what = format!("{further} extents have records of their own, which its record does not say");
        check.wrong(Family::Inode, key, what);
    }
}

/// The manifest of a multipart object, and whose its parts are.
fn of_object(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    at: (u64, u64),
    record: &InodeRecord,
    manifest: Option<ManifestRecord>,
) -> Result<(), MaintenanceError> {
    let key = crate::record::inode::key(BucketId::new(at.0), InodeId::new(at.1));
    match (record.upload, manifest) {
        (0, None) => return Ok(()),
        (0, Some(_)) => check.wrong(Family::Inode, &key, "it has a list of parts, and is not made of any"),
        (upload, None) => {
            let what = format!("it is made of the parts of upload {upload}, and the list of them is not there");
            check.wrong(Family::Inode, &key, what);
        }
        (_, Some(manifest)) => {
            let ascending = manifest.numbers.windows(2).all(|pair| pair[0] < pair[1]);
            let sum: u64 = manifest.sizes.iter().sum();
            // A mount may cut parts off, and write behind them.
            let is_whole = sum == record.size || record.changes.is_some();
            if !ascending || manifest.numbers.len() != manifest.sizes.len() || !is_whole {
                let what = format!(
                    "its list of parts, {sum} bytes together, does not make {} bytes",
                    record.size
                );
                check.wrong(Family::Inode, &key, what);
            }
        }
    }
    let how = if record.unlinked_at > 0 {
        Claim::Released
    } else {
        Claim::Object
    };
    gathered.claim(at.0, record.upload, how, at.1)
}

/// Extents as they should follow each other.
pub(super) struct Order {
    size: u64,
    end: u64,
}

impl Order {
    /// Of a body of `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        Self { size, end: 0 }
    }

    /// What is wrong with the next extent of a file. What a truncation cut off may lie behind the end until it is released.
    pub(super) fn next(&mut self, extent: &ExtentRecord, record: &InodeRecord) -> Option<String> {
        let (start, end) = (extent.file_offset, extent.file_offset.checked_add(extent.length));
        let Some(end) = end.filter(|end| *end > start) else {
            return Some("an extent is empty, or ends behind all numbers".to_owned());
        };
        let overlaps = start < self.end;
        self.end = self.end.max(end);
        if overlaps {
            return Some(format!("the extent from {start} to {end} lies over the one before it"));
        }
        if !extent.inline.is_empty() && (extent.inline.len() as u64 != extent.length || !extent.chunk_id.is_empty()) {
            return Some(format!(
                "the extent from {start} to {end} has other bytes inline than it says"
            ));
        }
        let end = live_extent(record, extent).map_or(0, |live| live.end());
        (end > self.size).then(|| format!("an extent ends at {end}, behind the end at {}", self.size))
    }
}
