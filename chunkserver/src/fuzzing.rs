//! What a fuzzer calls: one function per format that is read off a disk or out of a request.
//!
//! Each takes any bytes, decodes them and panics where a promise of the format is broken; it says whether the bytes were of
//! the format. Where a checksum or a tag stands before the rest, bits of the first byte put the right one in, as random
//! bytes would never come past it. The program itself calls nothing here. Invariant: a format is judged by what its layout
//! promises, never by how it is decoded.

mod index;
mod log;
mod request;
mod sealed;

#[cfg(test)]
mod tests;

use cairn_common::ids::{DeviceId, Incarnation};

pub use index::{index_key, index_record, location, superblock};
pub use log::{record, segment_header, segment_name, segment_walk};
pub use request::shard_request;

use crate::{
    core::{
        position::{Position, SegmentId},
        record::Salt,
    },
    superblock::DeviceIdentity,
};

/// The device that inputs are of.
const IDENTITY: DeviceIdentity = DeviceIdentity {
    cluster_id: [7; 16],
    device: DeviceId::new(3),
    incarnation: Incarnation::new(9),
};

/// The salt that records of inputs are keyed with.
const SALT: Salt = [9; 32];

/// Where the record of an input lies.
const POSITION: Position = Position {
    segment: SegmentId::new(3),
    offset: 4096,
};
