//! Change feeds of buckets.
//!
//! ```text
//! family feed   key 00 | bucket u64 | log index u64 | number u32 → FeedRecord
//!               key 01 | bucket u64                              → FeedState, where the bucket keeps or kept a feed
//! ```

use cairn_common::{
    envelope::Record,
    ids::BucketId,
    wire::feed::{Change, FeedPosition},
};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::{KeyWriter, u64_at},
};

/// A change.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FeedRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) time_ms: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) change: Option<Change>,
}

impl Record for FeedRecord {
    const VERSION: u8 = 1;
}

/// How much of a feed there is.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FeedState {
    /// Changes to keep; 0 for a feed that was turned off.
    #[prost(uint64, tag = "1")]
    pub(crate) entries_max: u64,
    /// Changes kept.
    #[prost(uint64, tag = "2")]
    pub(crate) entries: u64,
    /// Changes up to this position are gone, or were never noted.
    #[prost(message, optional, tag = "3")]
    pub(crate) trimmed_to: Option<FeedPosition>,
}

impl Record for FeedState {
    const VERSION: u8 = 1;
}

pub(crate) fn prefix(bucket: BucketId) -> Vec<u8> {
    KeyWriter::new().u8(0).u64(bucket.value()).finish()
}

pub(crate) fn key(bucket: BucketId, position: FeedPosition) -> Vec<u8> {
    KeyWriter::new()
        .u8(0)
        .u64(bucket.value())
        .u64(position.log_index)
        .u32(position.number)
        .finish()
}

pub(crate) fn state_key(bucket: BucketId) -> Vec<u8> {
    KeyWriter::new().u8(1).u64(bucket.value()).finish()
}

/// The position in a change's key.
pub(crate) fn position_of(key: &[u8]) -> Option<FeedPosition> {
    Some(FeedPosition {
        log_index: u64_at(key, 9)?,
        number: u32::from_be_bytes(key.get(17..)?.try_into().ok()?),
    })
}

/// A change, or the state of a feed, for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let mut key = KeyReader::new(key);
    match key.tag()? {
        0 => key
            .u64("bucket")?
            .u64("log index")?
            .u32("number")?
            .with::<FeedRecord>(value),
        1 => key.u64("bucket")?.with::<FeedState>(value),
        tag => Err(Unreadable(format!("a key of unknown kind {tag}"))),
    }
}
