//! What a bucket holds, in bytes.
//!
//! Invariant: every named file counts once, whatever its names, by its size; holes count. What a quota refuses is decided
//! where the bucket's record is stored.

use super::bucket::Bucket;

/// Accounts for `bytes` more.
pub(crate) fn grow(bucket: &mut Bucket, bytes: u64) {
    bucket.record.object_bytes = bucket.record.object_bytes.saturating_add(bytes);
}

/// Accounts for `bytes` less.
pub(crate) fn shrink(bucket: &mut Bucket, bytes: u64) {
    bucket.record.object_bytes = bucket.record.object_bytes.saturating_sub(bytes);
}

/// Accounts for a file that goes from one size to another.
pub(crate) fn resize(bucket: &mut Bucket, old: u64, new: u64) {
    shrink(bucket, old.saturating_sub(new));
    grow(bucket, new.saturating_sub(old));
}
