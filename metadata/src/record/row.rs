//! Rows that placement groups had before their present ones.
//!
//! ```text
//! family system   key "row" | width u32 | group u32 | last epoch u64 → FormerRow
//! ```
//!
//! The first key at or behind an epoch holds the row that was in force at that epoch; where there is none, the row has not
//! changed since.

use bytes::Bytes;
use cairn_common::envelope::Record;
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    key::{KeyWriter, u64_at},
};

/// A row that was in force up to an epoch.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FormerRow {
    /// Its devices in order. Empty where it was forgotten: then nothing written under it can be committed.
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) devices: Vec<u32>,
    /// Key of the last chunk that the walk over the group has looked at.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) walked_to: Bytes,
    /// Whether no chunk lies on it any more but those that are committed late.
    #[prost(bool, tag = "3")]
    pub(crate) settled: bool,
}

impl FormerRow {
    /// Whether chunks may lie on it that no record says so of.
    pub(crate) fn is_unsettled(&self) -> bool {
        !self.settled && !self.devices.is_empty()
    }
}

impl Record for FormerRow {
    const VERSION: u8 = 1;
}

/// The first bytes of all keys.
pub(crate) const PREFIX: &[u8] = b"row";

/// The first bytes of the keys of a group.
pub(crate) fn group_prefix(width: u32, group: u32) -> Vec<u8> {
    let mut key = PREFIX.to_vec();
    key.extend_from_slice(&KeyWriter::new().u32(width).u32(group).finish());
    key
}

pub(crate) fn key(width: u32, group: u32, last_epoch: u64) -> Vec<u8> {
    let mut key = group_prefix(width, group);
    key.extend_from_slice(&last_epoch.to_be_bytes());
    key
}

/// Width, group and last epoch in a key.
pub(crate) fn parts_of(key: &[u8]) -> Option<(u32, u32, u64)> {
    let rest = key.strip_prefix(PREFIX)?;
    let both = u64_at(rest, 0)?;
    let (width, group) = (
        u32::try_from(both >> 32).ok()?,
        u32::try_from(both & u64::from(u32::MAX)).ok()?,
    );
    Some((width, group, u64_at(rest, 8)?))
}

/// A former row for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let rest = key
        .strip_prefix(PREFIX)
        .ok_or_else(|| Unreadable("no key of a row".to_owned()))?;
    let key = KeyReader::new(rest).u32("width")?.u32("group")?;
    key.u64("last epoch")?.with::<FormerRow>(value)
}
