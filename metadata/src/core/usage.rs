//! What a bucket holds, in bytes.
//!
//! Invariant: every named file counts once, whatever its names, by its size; holes count. The count is exact: what could not
//! be counted is refused. What a quota refuses is decided where the bucket's record is stored.

use cairn_common::wire::command::ErrorCode;

use super::{
    bucket::Bucket,
    tx::{ApplyError, refuse},
};

/// Accounts for `bytes` more.
pub(crate) fn grow(bucket: &mut Bucket, bytes: u64) -> Result<(), ApplyError> {
    // Sparse files can be so large that a few would pass what can be counted.
    let Some(used) = bucket.record.object_bytes.checked_add(bytes) else {
        let detail = format!(
            "files of bucket {:?} would be over 2^64 bytes together",
            bucket.record.name
        );
        return Err(refuse(ErrorCode::QuotaExceeded, detail));
    };
    bucket.record.object_bytes = used;
    Ok(())
}

/// Accounts for `bytes` less.
pub(crate) fn shrink(bucket: &mut Bucket, bytes: u64) {
    bucket.record.object_bytes = bucket.record.object_bytes.saturating_sub(bytes);
}

/// Accounts for a file that goes from one size to another.
pub(crate) fn resize(bucket: &mut Bucket, old: u64, new: u64) -> Result<(), ApplyError> {
    shrink(bucket, old.saturating_sub(new));
    grow(bucket, new.saturating_sub(old))
}
