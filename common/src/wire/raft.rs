//! Messages between members of a Raft group: appends, votes, snapshots, read indexes.
//!
//! Invariant: each names the cluster, the group, its sender and whom it is meant for, so that a member at an address that
//! another once had is never taken for it. Entries travel raw behind the head of their frame.
//!
//! A request of kind `RaftAppend` is a stream: its message is a [`RaftSender`], its body frames of the form
//!
//! ```text
//! u32 LE length of the head ‖ AppendFrame ‖ the batches of its entries, one after the other
//! ```
//!
//! and its answer's body one frame for each, in the same order: `u32 LE length ‖ AppendResult`.

use prost::{Message, Oneof};

/// Who sends a message to whom, in which group.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RaftSender {
    /// The cluster, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub cluster: bytes::Bytes,
    /// The Raft group.
    #[prost(uint32, tag = "2")]
    pub group: u32,
    /// The member that sends it.
    #[prost(uint64, tag = "3")]
    pub from: u64,
    /// The member it is meant for.
    #[prost(uint64, tag = "4")]
    pub to: u64,
}

/// The place of an entry in the log.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RaftPosition {
    /// Term of the leader that proposed the entry.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// That leader.
    #[prost(uint64, tag = "2")]
    pub node: u64,
    /// The entry's index, from 0.
    #[prost(uint64, tag = "3")]
    pub index: u64,
}

/// A vote: for whom, in which term.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RaftBallot {
    /// The term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// For whom.
    #[prost(uint64, tag = "2")]
    pub node: u64,
    /// Whether a quorum gave it too: then this is a leader.
    #[prost(bool, tag = "3")]
    pub committed: bool,
}

/// The members of a group at some entry.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RaftMembership {
    /// The entry that brought it; none where it is that entry itself.
    #[prost(message, optional, tag = "1")]
    pub position: Option<RaftPosition>,
    /// One set of voters; two while it changes.
    #[prost(message, repeated, tag = "2")]
    pub voter_sets: Vec<RaftVoters>,
    /// All members, learners among them.
    #[prost(message, repeated, tag = "3")]
    pub members: Vec<RaftMember>,
}

/// A set of voters.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RaftVoters {
    /// Their numbers.
    #[prost(uint64, repeated, tag = "1")]
    pub voters: Vec<u64>,
}

/// A member and where it is called.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RaftMember {
    /// The member.
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// Its address: host and port.
    #[prost(string, tag = "2")]
    pub address: String,
}

/// One append, or a sign of life where it holds no entries.
#[derive(Clone, PartialEq, Message)]
pub struct AppendFrame {
    /// The leader.
    #[prost(message, optional, tag = "1")]
    pub ballot: Option<RaftBallot>,
    /// The entry before the first.
    #[prost(message, optional, tag = "2")]
    pub previous: Option<RaftPosition>,
    /// The newest entry known to be committed.
    #[prost(message, optional, tag = "3")]
    pub committed: Option<RaftPosition>,
    /// The entries.
    #[prost(message, repeated, tag = "4")]
    pub entries: Vec<AppendEntry>,
}

/// An entry of an append.
#[derive(Clone, PartialEq, Message)]
pub struct AppendEntry {
    /// Where it stands.
    #[prost(message, optional, tag = "1")]
    pub position: Option<RaftPosition>,
    /// What it holds.
    #[prost(oneof = "AppendPayload", tags = "2, 3, 4")]
    pub payload: Option<AppendPayload>,
}

/// What an entry of an append holds.
#[derive(Clone, PartialEq, Oneof)]
pub enum AppendPayload {
    /// Nothing.
    #[prost(message, tag = "2")]
    Blank(AppendBlank),
    /// A batch of commands: so many bytes behind the head.
    #[prost(uint32, tag = "3")]
    BatchBytes(u32),
    /// A new membership.
    #[prost(message, tag = "4")]
    Membership(RaftMembership),
}

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct AppendBlank {}

/// What became of one append.
#[derive(Clone, PartialEq, Message)]
pub struct AppendResult {
    /// The outcome.
    #[prost(oneof = "AppendOutcome", tags = "1, 2, 3")]
    pub outcome: Option<AppendOutcome>,
}

/// The outcome of an append.
#[derive(Clone, PartialEq, Oneof)]
pub enum AppendOutcome {
    /// The logs are the same up to here.
    #[prost(message, tag = "1")]
    Matching(AppendMatching),
    /// The member does not hold this entry.
    #[prost(message, tag = "2")]
    Conflict(RaftPosition),
    /// The member has voted for another since.
    #[prost(message, tag = "3")]
    HigherVote(RaftBallot),
}

/// Up to where two logs are the same.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct AppendMatching {
    /// The newest such entry; none before the first.
    #[prost(message, optional, tag = "1")]
    pub last: Option<RaftPosition>,
}

/// A message of kind `RaftVote`.
#[derive(Clone, PartialEq, Message)]
pub struct VoteMessage {
    /// Who to whom.
    #[prost(message, optional, tag = "1")]
    pub sender: Option<RaftSender>,
    /// The vote asked for; of a transfer, the leader's own.
    #[prost(message, optional, tag = "2")]
    pub ballot: Option<RaftBallot>,
    /// The newest entry of the sender's log.
    #[prost(message, optional, tag = "3")]
    pub last: Option<RaftPosition>,
    /// What is asked.
    #[prost(enumeration = "VoteKind", tag = "4")]
    pub kind: i32,
    /// Of a transfer: who is to lead.
    #[prost(uint64, tag = "5")]
    pub next_leader: u64,
}

/// What a [`VoteMessage`] asks. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum VoteKind {
    /// Not a kind; a message without one is malformed.
    Unspecified = 0,
    /// A vote.
    Vote = 1,
    /// A vote at the present leader's own wish: its lease does not stand against it.
    VoteByTransfer = 2,
    /// Whether a vote would be given.
    PreVote = 3,
    /// The leader hands leadership over.
    Transfer = 4,
}

/// The answer to a [`VoteMessage`].
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct VoteAnswer {
    /// The answering member's own vote.
    #[prost(message, optional, tag = "1")]
    pub ballot: Option<RaftBallot>,
    /// Whether the vote is given, or the transfer taken up.
    #[prost(bool, tag = "2")]
    pub granted: bool,
    /// The newest entry of the answering member's log.
    #[prost(message, optional, tag = "3")]
    pub last: Option<RaftPosition>,
}

/// Tells a member to fetch a checkpoint from the sender and put it in force.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotOffer {
    /// Who to whom.
    #[prost(message, optional, tag = "1")]
    pub sender: Option<RaftSender>,
    /// The leader.
    #[prost(message, optional, tag = "2")]
    pub ballot: Option<RaftBallot>,
    /// The newest entry that the checkpoint holds.
    #[prost(message, optional, tag = "3")]
    pub last: Option<RaftPosition>,
    /// The members at that entry.
    #[prost(message, optional, tag = "4")]
    pub membership: Option<RaftMembership>,
    /// The number under which the sender has the checkpoint.
    #[prost(uint64, tag = "5")]
    pub checkpoint: u64,
}

/// The answer to a [`SnapshotOffer`], once the checkpoint is in force.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SnapshotAnswer {
    /// The answering member's own vote.
    #[prost(message, optional, tag = "1")]
    pub ballot: Option<RaftBallot>,
}

/// Asks the leader up to which entry a member must have applied to answer reads that have come by now.
#[derive(Clone, PartialEq, Message)]
pub struct ReadIndex {
    /// Who to whom.
    #[prost(message, optional, tag = "1")]
    pub sender: Option<RaftSender>,
}

/// The answer to [`ReadIndex`], confirmed by a quorum after the question came.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ReadIndexReply {
    /// The entry.
    #[prost(uint64, tag = "1")]
    pub index: u64,
}
