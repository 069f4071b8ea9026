//! The types that openraft is instantiated with, and how they become records.
//!
//! Invariant: a conversion to a record and back gives the same value; openraft's own serialisation is never stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use openraft::{EntryPayload, Membership, StoredMembership};

use super::observer::HeldReply;
use crate::store::{
    BlankRecord, EntryKind, EntryRecord, LogPosition, MemberRecord, MembershipRecord, StoreError, VoteRecord, VoterSet,
};

openraft::declare_raft_types!(
    /// Server numbers as node ids, sealed batches of commands as entries, one reply for each command.
    pub(crate) TypeConfig:
        D = BatchBytes,
        R = Vec<HeldReply>,
        NodeId = u64,
        Node = Member,
);

/// The leader of a term, in log ids and votes.
pub(crate) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
/// The place of an entry.
pub(crate) type LogId = openraft::LogId<LeaderId>;
/// A vote.
pub(crate) type Vote = openraft::Vote<LeaderId>;
/// An entry.
pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// The members at some entry.
pub(crate) type Members = StoredMembership<LeaderId, u64, Member>;

/// A member, as the group knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// Where it is called: host and port.
    pub(crate) address: String,
}

/// A sealed batch of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchBytes(pub(crate) Bytes);

impl fmt::Display for BatchBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a batch of {} bytes", self.0.len())
    }
}

/// The record of a log id.
pub(crate) fn position_of(log_id: LogId) -> LogPosition {
    LogPosition {
        term: log_id.leader_id.term,
        node: log_id.leader_id.node_id,
        index: log_id.index,
    }
}

/// The log id of a record.
pub(crate) fn log_id_of(position: LogPosition) -> LogId {
    LogId {
        leader_id: LeaderId {
            term: position.term,
            node_id: position.node,
        },
        index: position.index,
    }
}

/// The record of a vote.
pub(crate) fn vote_record(vote: &Vote) -> VoteRecord {
    let leader = vote.leader_id();
    VoteRecord {
        term: leader.term,
        node: leader.node_id,
        committed: vote.is_committed(),
    }
}

/// The vote of a record.
pub(crate) fn vote_of(record: &VoteRecord) -> Vote {
    if record.committed {
        Vote::new_committed(record.term, record.node)
    } else {
        Vote::new(record.term, record.node)
    }
}

/// The record of an entry.
pub(crate) fn entry_record(entry: Entry) -> EntryRecord {
    let kind = match entry.payload {
        EntryPayload::Blank => EntryKind::Blank(BlankRecord {}),
        EntryPayload::Normal(batch) => EntryKind::Batch(batch.0),
        EntryPayload::Membership(members) => EntryKind::Membership(membership_record(None, &members)),
    };
    EntryRecord {
        position: position_of(entry.log_id),
        kind: Some(kind),
    }
}

/// The entry of a record.
pub(crate) fn entry_of(record: EntryRecord) -> Result<Entry, StoreError> {
    let payload = match record.kind {
        Some(EntryKind::Blank(_)) => EntryPayload::Blank,
        Some(EntryKind::Batch(bytes)) => EntryPayload::Normal(BatchBytes(bytes)),
        Some(EntryKind::Membership(members)) => EntryPayload::Membership(membership_of(&members)?),
        None => {
            let detail = format!("entry {} holds nothing this program knows", record.position.index);
            return Err(StoreError::Corrupt {
                what: "an entry of the Raft log",
                detail,
            });
        }
    };
    Ok(Entry {
        log_id: log_id_of(record.position),
        payload,
    })
}

/// The record of a membership that came with the entry at `log_id`.
pub(crate) fn membership_record(log_id: Option<LogId>, members: &Membership<u64, Member>) -> MembershipRecord {
    let voter_set = |voters: &BTreeSet<u64>| VoterSet {
        voters: voters.iter().copied().collect(),
    };
    MembershipRecord {
        position: log_id.map(position_of),
        voter_sets: members.get_joint_config().iter().map(voter_set).collect(),
        members: members.nodes().map(member_record).collect(),
    }
}

/// The members of a record, with the entry that brought them.
pub(crate) fn members_of(record: &MembershipRecord) -> Result<Members, StoreError> {
    Ok(Members::new(record.position.map(log_id_of), membership_of(record)?))
}

fn member_record((id, member): (&u64, &Member)) -> MemberRecord {
    MemberRecord {
        node: *id,
        address: member.address.clone(),
    }
}

/// The membership of a record.
pub(super) fn membership_of(record: &MembershipRecord) -> Result<Membership<u64, Member>, StoreError> {
    if record.voter_sets.is_empty() {
        return Ok(Membership::default());
    }
    let voter_sets = record
        .voter_sets
        .iter()
        .map(|set| set.voters.iter().copied().collect())
        .collect();
    let member = |record: &MemberRecord| {
        let address = record.address.clone();
        (record.node, Member { address })
    };
    let members: BTreeMap<u64, Member> = record.members.iter().map(member).collect();
    Membership::new(voter_sets, members).map_err(|error| StoreError::Corrupt {
        what: "the Raft group's membership",
        detail: error.to_string(),
    })
}
