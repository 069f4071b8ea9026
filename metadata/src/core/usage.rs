//! What a bucket holds, in bytes, and what it may hold.
//!
//! Invariant: every named file counts once, whatever its names, by its size; holes count. Growth beyond the quota is refused,
//! and nothing else is.

use cairn_common::wire::command::ErrorCode;

use super::{
    bucket::Bucket,
    tx::{ApplyError, refuse},
};

/// Accounts for `bytes` more, if the quota has room for them.
pub(crate) fn grow(bucket: &mut Bucket, bytes: u64) -> Result<(), ApplyError> {
    let quota = bucket.record.quota_bytes;
    // Sparse files can be so large that a few would pass what can be counted.
    let Some(used) = bucket.record.object_bytes.checked_add(bytes) else {
        let detail = format!(
            "files of bucket {:?} would be over 2^64 bytes together",
            bucket.record.name
        );
        return Err(refuse(ErrorCode::QuotaExceeded, detail));
    };
    if quota > 0 && bytes > 0 && used > quota {
        let detail = format!(
            "bucket {:?} may hold {quota} bytes and would hold {used}",
            bucket.record.name
        );
        return Err(refuse(ErrorCode::QuotaExceeded, detail));
    }
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
