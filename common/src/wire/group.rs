//! Messages about a Raft group as such: who its members are, how they are, and changes of them.
//!
//! Invariant: a change is named by what is to be, so that it may be sent again until it has come about.

use bytes::Bytes;
use prost::{Message, Oneof};

/// Asks a member how it and its group are.
#[derive(Clone, PartialEq, Message)]
pub struct GroupStatusRequest {
    /// The Raft group.
    #[prost(uint32, tag = "1")]
    pub group: u32,
    /// The cluster, 16 bytes; empty where the sender does not say.
    #[prost(bytes = "bytes", tag = "2")]
    pub cluster: Bytes,
    /// The member that is meant; 0 for whoever answers.
    #[prost(uint64, tag = "3")]
    pub to: u64,
    /// From the leader alone: the member's state differs from that of the others, and it must stop answering.
    #[prost(message, optional, tag = "4")]
    pub verdict: Option<StateVerdict>,
}

/// What a member's state should have been.
#[derive(Clone, PartialEq, Message)]
pub struct StateVerdict {
    /// Term of the leader that says so.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// After this entry ...
    #[prost(uint64, tag = "2")]
    pub index: u64,
    /// ... the chained hash is this, 32 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub chain: Bytes,
}

/// How a member and its group are, as that member knows it.
#[derive(Clone, PartialEq, Message)]
pub struct GroupStatus {
    /// The Raft group.
    #[prost(uint32, tag = "1")]
    pub group: u32,
    /// The cluster, 16 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub cluster: Bytes,
    /// The member that answers.
    #[prost(message, optional, tag = "3")]
    pub own: Option<MemberReport>,
    /// The leader; 0 where none is known.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
    /// All members; from the leader with what it knows of each.
    #[prost(message, repeated, tag = "5")]
    pub members: Vec<MemberStatus>,
    /// The feature level in force.
    #[prost(uint32, tag = "6")]
    pub feature_level: u32,
    /// What a person should know: an even number of voters, a change under way, a member that cannot be reached.
    #[prost(string, repeated, tag = "7")]
    pub notes: Vec<String>,
}

/// What a member says of itself.
#[derive(Clone, PartialEq, Message)]
pub struct MemberReport {
    /// The member.
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// Its term.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// The newest entry of its log.
    #[prost(uint64, tag = "3")]
    pub last_index: u64,
    /// The newest entry that its state holds.
    #[prost(uint64, tag = "4")]
    pub applied_index: u64,
    /// The newest entry that its log no longer holds.
    #[prost(uint64, tag = "5")]
    pub purged_index: u64,
    /// The chained hash after `applied_index`, 32 bytes; empty where nothing was applied yet.
    #[prost(bytes = "bytes", tag = "6")]
    pub chain: Bytes,
    /// Its wall clock, in milliseconds since 1970.
    #[prost(uint64, tag = "7")]
    pub clock_ms: u64,
    /// The newest feature level that its program understands.
    #[prost(uint32, tag = "8")]
    pub understands: u32,
    /// Whether its disk has too little room for more data.
    #[prost(bool, tag = "9")]
    pub is_low_on_space: bool,
    /// Whether it answers reads and writes.
    #[prost(bool, tag = "10")]
    pub is_ready: bool,
    /// Why it has stopped for good; empty where it has not.
    #[prost(string, tag = "11")]
    pub failure: String,
    /// Whether it belongs to no group yet.
    #[prost(bool, tag = "12")]
    pub is_new: bool,
    /// Files of a snapshot being fetched, done and in all, in bytes; 0 of 0 where none is.
    #[prost(uint64, tag = "13")]
    pub snapshot_bytes_done: u64,
    /// See `snapshot_bytes_done`.
    #[prost(uint64, tag = "14")]
    pub snapshot_bytes: u64,
}

/// A member as the answering one knows it.
#[derive(Clone, PartialEq, Message)]
pub struct MemberStatus {
    /// The member.
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// Where it is called: host and port.
    #[prost(string, tag = "2")]
    pub address: String,
    /// What it is.
    #[prost(enumeration = "MemberRole", tag = "3")]
    pub role: i32,
    /// From the leader: what the member said of itself at the last probe; none where it did not answer.
    #[prost(message, optional, tag = "4")]
    pub report: Option<MemberReport>,
    /// From the leader: entries that the member's log is behind.
    #[prost(uint64, tag = "5")]
    pub lag: u64,
    /// From the leader: the member's wall clock less the leader's, in milliseconds.
    #[prost(int64, tag = "6")]
    pub skew_ms: i64,
    /// From the leader: milliseconds since the member last answered a probe; `u64::MAX` where it never did.
    #[prost(uint64, tag = "7")]
    pub silent_ms: u64,
}

/// What a member of a group is. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MemberRole {
    /// Not a role; a message without one is malformed.
    Unspecified = 0,
    /// Receives the log and has no vote.
    Learner = 1,
    /// Votes.
    Voter = 2,
    /// Voted until now, or will from now on: a change is under way.
    Changing = 3,
}

/// Changes a group's members. Asked of its leader.
#[derive(Clone, PartialEq, Message)]
pub struct GroupChange {
    /// The Raft group.
    #[prost(uint32, tag = "1")]
    pub group: u32,
    /// The change.
    #[prost(oneof = "MemberChange", tags = "2, 3, 4, 5, 6")]
    pub change: Option<MemberChange>,
}

/// A change of members.
#[derive(Clone, PartialEq, Oneof)]
pub enum MemberChange {
    /// Adds a member without a vote.
    #[prost(message, tag = "2")]
    AddLearner(AddLearner),
    /// Gives a learner a vote once it has caught up.
    #[prost(message, tag = "3")]
    Promote(PromoteLearner),
    /// Removes a member.
    #[prost(message, tag = "4")]
    Remove(RemoveMember),
    /// Puts a new server in the place of one that is dead.
    #[prost(message, tag = "5")]
    Replace(ReplaceMember),
    /// Hands leadership to another voter.
    #[prost(message, tag = "6")]
    Transfer(TransferLeadership),
}

/// Adds a member without a vote.
#[derive(Clone, PartialEq, Message)]
pub struct AddLearner {
    /// The member: a server that was never one before.
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// Where it is called: host and port.
    #[prost(string, tag = "2")]
    pub address: String,
}

/// Gives a learner a vote once it has caught up.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct PromoteLearner {
    /// The learner.
    #[prost(uint64, tag = "1")]
    pub node: u64,
}

/// Removes a member, dead or alive.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RemoveMember {
    /// The member.
    #[prost(uint64, tag = "1")]
    pub node: u64,
}

/// Puts a new server in the place of one that is dead.
#[derive(Clone, PartialEq, Message)]
pub struct ReplaceMember {
    /// The dead one.
    #[prost(uint64, tag = "1")]
    pub dead: u64,
    /// The new one.
    #[prost(uint64, tag = "2")]
    pub node: u64,
    /// Where the new one is called: host and port.
    #[prost(string, tag = "3")]
    pub address: String,
}

/// Hands leadership to another voter.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct TransferLeadership {
    /// The voter; 0 for whichever is furthest.
    #[prost(uint64, tag = "1")]
    pub to: u64,
}

/// The answer to a [`GroupChange`] that has come about.
#[derive(Clone, PartialEq, Message)]
pub struct GroupChangeReply {
    /// How the group is now.
    #[prost(message, optional, tag = "1")]
    pub status: Option<GroupStatus>,
}

/// Asks which group holds which bucket.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct GroupTableQuery {}

/// Which group holds which bucket, and how the groups' members are called.
#[derive(Clone, PartialEq, Message)]
pub struct GroupTable {
    /// The group that holds the map, the users and every bucket that is not listed.
    #[prost(uint32, tag = "1")]
    pub default_group: u32,
    /// Buckets that lie elsewhere.
    #[prost(message, repeated, tag = "2")]
    pub buckets: Vec<BucketGroup>,
    /// The groups.
    #[prost(message, repeated, tag = "3")]
    pub groups: Vec<GroupMembers>,
}

/// Which group holds a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct BucketGroup {
    /// The bucket.
    #[prost(uint64, tag = "1")]
    pub bucket_id: u64,
    /// Its group.
    #[prost(uint32, tag = "2")]
    pub group: u32,
}

/// The members of a group.
#[derive(Clone, PartialEq, Message)]
pub struct GroupMembers {
    /// The group.
    #[prost(uint32, tag = "1")]
    pub group: u32,
    /// The leader; 0 where none is known.
    #[prost(uint64, tag = "2")]
    pub leader: u64,
    /// The members, with ids, addresses and roles alone.
    #[prost(message, repeated, tag = "3")]
    pub members: Vec<MemberStatus>,
}
