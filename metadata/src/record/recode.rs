//! Buckets that may hold chunks of another redundancy than they want.
//!
//! ```text
//! family system   key "recode" | bucket u64 → RecodeMark
//! ```

use cairn_common::{ids::BucketId, wire::recode::RecodeMark};

use super::{
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

/// The first bytes of all keys.
pub(crate) const PREFIX: &[u8] = b"recode";

pub(crate) fn key(bucket: BucketId) -> Vec<u8> {
    let mut key = PREFIX.to_vec();
    key.extend_from_slice(&KeyWriter::new().u64(bucket.value()).finish());
    key
}

/// A mark for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let rest = key
        .strip_prefix(PREFIX)
        .ok_or_else(|| Unreadable("no key of a mark".to_owned()))?;
    KeyReader::new(rest).u64("bucket")?.with::<RecodeMark>(value)
}
