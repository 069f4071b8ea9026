//! What devices hold, and what they should hold: questions of an operator's tools, and devices that lost everything.

use bytes::Bytes;
use prost::Message;

use super::shard::ShardName;
use crate::envelope::Record;

/// Asks what is to become of shards on a device.
#[derive(Clone, PartialEq, Message)]
pub struct JudgeQuery {
    /// The device.
    #[prost(uint32, tag = "1")]
    pub device: u32,
    /// Shards that it lists.
    #[prost(message, repeated, tag = "2")]
    pub shards: Vec<ShardName>,
}

/// What is to become of a shard. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum ShardVerdict {
    /// It is needed there, or may yet be.
    Kept = 0,
    /// Nothing refers to its chunk and nothing ever can: it is deleted.
    Orphan = 1,
    /// Its chunk lies elsewhere: it is deleted once that is certain.
    Stray = 2,
}

/// The answer to a [`JudgeQuery`].
#[derive(Clone, PartialEq, Message)]
pub struct Verdicts {
    /// One for each shard, in order.
    #[prost(enumeration = "ShardVerdict", repeated, tag = "1")]
    pub verdicts: Vec<i32>,
}

/// Asks which shards a device should have, chunks in the order of its inventory: those of groups in whose row it stands.
#[derive(Clone, PartialEq, Message)]
pub struct ExpectedQuery {
    /// The device.
    #[prost(uint32, tag = "1")]
    pub device: u32,
    /// Of chunks behind this one, 16 bytes; empty for the start.
    #[prost(bytes = "bytes", tag = "2")]
    pub after: Bytes,
    /// Of chunks up to and with this one, 16 bytes; empty for the end.
    #[prost(bytes = "bytes", tag = "3")]
    pub through: Bytes,
    /// Chunk records that are looked at, at most.
    #[prost(uint32, tag = "4")]
    pub limit: u32,
}

/// The answer to an [`ExpectedQuery`].
#[derive(Clone, PartialEq, Message)]
pub struct ExpectedPage {
    /// The shards, but for those that are noted as missing.
    #[prost(message, repeated, tag = "1")]
    pub shards: Vec<ShardName>,
    /// Behind which chunk to go on; empty at the end.
    #[prost(bytes = "bytes", tag = "2")]
    pub next_after: Bytes,
}

/// The life that a device began when it came into the map, or when it had lost all it held. It is stored as it is sent.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct DeviceLoss {
    /// The device.
    #[prost(uint32, tag = "1")]
    pub device: u32,
    /// Its life.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// The first map that knew it. What was written under an earlier one is not on the device any more.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// Whether all that was lost is noted as missing.
    #[prost(bool, tag = "4")]
    pub surveyed: bool,
}

impl Record for DeviceLoss {
    const VERSION: u8 = 1;
}

/// Asks which devices lost what they held and were not looked through since.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct LossesQuery {}

/// The answer to a [`LossesQuery`].
#[derive(Clone, PartialEq, Message)]
pub struct Losses {
    /// Those devices.
    #[prost(message, repeated, tag = "1")]
    pub losses: Vec<DeviceLoss>,
}

/// Says that whatever a device lost is noted as missing. It changes nothing where the device is in another life by now.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct SurveyDone {
    /// The device.
    #[prost(uint32, tag = "1")]
    pub device: u32,
    /// The life that was looked through.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
}
