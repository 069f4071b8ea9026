//! The one record of the whole store.
//!
//! ```text
//! family system   key "store" → StoreRecord   key "map" → MapMessage   key "row" … → FormerRow, see there
//!                 key "server" … → ServerInfo, see there   key "loss" … → DeviceLoss, see there
//!                 key "recode" … → RecodeMark, see there   key "authority" → AuthorityCopy, see there
//! ```

use cairn_common::{
    envelope::{Record, open},
    wire::map::MapMessage,
};
use prost::Message;

use super::{
    authority,
    description::{Description, KeyReader, Unreadable},
    loss, recode, row, server,
};

/// Key of [`StoreRecord`].
pub(crate) const STORE_KEY: &[u8] = b"store";

/// Key of the cluster map.
pub(crate) const MAP_KEY: &[u8] = b"map";

/// Counters and settings of the whole store.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoreRecord {
    /// Counter part of the session id given out last.
    #[prost(uint64, tag = "1")]
    pub(crate) last_session: u64,
    /// Number of the bucket made last.
    #[prost(uint64, tag = "2")]
    pub(crate) last_bucket: u64,
    /// Latest time that stamped a record, in milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub(crate) time_ms: u64,
    /// What all servers are known to understand.
    #[prost(uint32, tag = "4")]
    pub(crate) feature_level: u32,
    /// Grows with every restore of old metadata; the top 24 bits of new session ids.
    #[prost(uint32, tag = "5")]
    pub(crate) generation: u32,
    /// Buckets.
    #[prost(uint64, tag = "6")]
    pub(crate) buckets: u64,
    /// Sessions alive.
    #[prost(uint64, tag = "7")]
    pub(crate) sessions: u64,
    /// Entries of the release queue, and inodes that are held open.
    #[prost(uint64, tag = "8")]
    pub(crate) release_pending: u64,
    /// The release queue holds nothing that became garbage at an earlier log index: what was there is not to be passed over, key by
    /// key, each time the queue's first entry is looked for.
    #[prost(uint64, tag = "21")]
    pub(crate) release_from: u64,
    /// Sessions alive that are mounts'.
    #[prost(uint64, tag = "20")]
    pub(crate) mounts: u64,
    /// Chunks that wait for repair.
    #[prost(uint64, tag = "9")]
    pub(crate) repair_pending: u64,
    /// Whether nothing may be released or deleted.
    #[prost(bool, tag = "10")]
    pub(crate) deletion_held: bool,
    /// Users.
    #[prost(uint64, tag = "11")]
    pub(crate) users: u64,
    /// What commits need of the cluster map.
    #[prost(message, optional, tag = "12")]
    pub(crate) map: Option<MapHead>,
}

/// What commits need of the cluster map, which may be large.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MapHead {
    #[prost(uint64, tag = "1")]
    pub(crate) epoch: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) group_bits: u32,
    /// Widths that have rows.
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) widths: Vec<u32>,
    /// The first epoch since the metadata was last restored: what was written under an earlier one may lie on rows that nobody
    /// knows, and is refused.
    #[prost(uint64, tag = "4")]
    pub(crate) first_epoch: u64,
    /// The map that last knew a device in a new life: what was written under an earlier one may be lost in part.
    #[prost(uint64, tag = "5")]
    pub(crate) last_loss_epoch: u64,
}

impl Record for StoreRecord {
    const VERSION: u8 = 1;
}

/// A record of the whole store for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let reader = KeyReader::new(key).name("key");
    match key {
        STORE_KEY => reader.with::<StoreRecord>(value),
        MAP_KEY => {
            let map: MapMessage = open(value).map_err(|error| Unreadable(error.to_string()))?;
            let widths: Vec<_> = map
                .widths
                .iter()
                .map(|width| (width.width, width.slots.len()))
                .collect();
            let (epoch, bits, devices) = (map.epoch, map.group_bits, map.devices);
            // The rows themselves are thousands of numbers.
            reader.with_text(format!(
                "map of epoch {epoch}, 2^{bits} groups, (width, slots) {widths:?}, devices {devices:?}"
            ))
        }
        authority::KEY => authority::describe(value),
        _ if key.starts_with(row::PREFIX) => row::describe(key, value),
        _ if key.starts_with(loss::PREFIX) => loss::describe(key, value),
        _ if key.starts_with(recode::PREFIX) => recode::describe(key, value),
        _ if key.starts_with(server::PREFIX) => server::describe(key, value),
        _ => Err(Unreadable(
            "a record of the store that this program does not know".to_owned(),
        )),
    }
}
