//! What a device's store decides: the bytes of its records, which record of a shard holds, how much of a segment is
//! garbage and which one is compacted next, how long a group waits and how fast background work goes.
//!
//! Pure: no files, clocks, threads or randomness. The shell is `engine/`.

pub(crate) mod changes;
pub(crate) mod group_window;
pub(crate) mod holdings;
pub(crate) mod index_record;
pub(crate) mod location;
pub(crate) mod pace;
pub(crate) mod position;
pub(crate) mod record;
pub(crate) mod scrub;
pub(crate) mod segment_header;
pub(crate) mod segment_name;
pub(crate) mod tail;
pub(crate) mod usage;
pub(crate) mod walk;
