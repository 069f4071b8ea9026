//! Failures: why a server did not answer a request, in terms of what the caller does next.

use prost::Message;

/// A failure as it is sent.
#[derive(Clone, PartialEq, Message)]
pub struct Failure {
    /// Why.
    #[prost(enumeration = "FailureCode", tag = "1")]
    pub code: i32,
    /// For a person: what was wrong.
    #[prost(string, tag = "2")]
    pub detail: String,
    /// With [`FailureCode::NotLeader`]: who leads; 0 where that is not known.
    #[prost(uint64, tag = "3")]
    pub leader: u64,
    /// With [`FailureCode::NotLeader`]: where the leader is called, host and port; empty where that is not known.
    #[prost(string, tag = "4")]
    pub leader_address: String,
    /// How long the caller should wait before it asks again, in milliseconds; 0 where the server has no opinion.
    #[prost(uint32, tag = "5")]
    pub retry_after_ms: u32,
}

/// Why a request failed. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum FailureCode {
    /// Not a code; a message without one is malformed.
    Unspecified = 0,
    /// The server has too much to do: try again later.
    Busy = 1,
    /// What was asked for is not there: ask another holder.
    NotFound = 2,
    /// What was asked for is damaged: ask another holder, and have it repaired.
    Corrupt = 3,
    /// The device does not serve: use another.
    DeviceDown = 4,
    /// The device has no room: use another.
    DeviceFull = 5,
    /// The device is not the one, or not in the life, that the caller's map names: fetch the map again.
    WrongDevice = 6,
    /// The request breaks a rule of its kind: a bug of the sender.
    Malformed = 7,
    /// Another server leads, or none: find the leader.
    NotLeader = 8,
    /// The server cannot go on. A person should look.
    Internal = 9,
    /// The sender's certificate has no role that may ask this, or its token does not hold: a person must grant it.
    Forbidden = 10,
    /// The request's time ran out at the server; what was asked for may have happened.
    DeadlineExceeded = 11,
    /// This server does not answer such requests: the caller's map or version does not fit.
    Unsupported = 12,
    /// The bucket does not lie in the Raft group that the request names: fetch the group table again.
    WrongGroup = 13,
    /// The request was thought out for a map that is no longer in force: judge again by the present one.
    WrongEpoch = 14,
}
