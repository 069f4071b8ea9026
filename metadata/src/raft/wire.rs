//! How openraft's values become messages between members, and back.
//!
//! Invariant: a value sent and received is the same value; a message that lacks what it must hold is an error, never a
//! default.

use bytes::Bytes;
use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::raft::{RaftBallot, RaftMember, RaftMembership, RaftPosition, RaftSender, RaftVoters},
};

use super::types::{LogId, Members, Vote, log_id_of, members_of, membership_record, position_of, vote_of, vote_record};
use crate::store::{LogPosition, MemberRecord, MembershipRecord, StoreError, VoteRecord, VoterSet};

/// The only Raft group of a cluster today; it holds the map, the users, and every bucket.
pub(crate) const GROUP: u32 = 0;

/// Which member of which group of which cluster this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// The member.
    pub(crate) server: NodeId,
}

impl Identity {
    /// What stands in a message to `to`.
    pub(crate) fn sender(self, to: u64) -> RaftSender {
        RaftSender {
            cluster: Bytes::copy_from_slice(&self.cluster.to_bytes()),
            group: GROUP,
            from: self.server.value(),
            to,
        }
    }

    /// Whether a message that `from` sent is meant for this member, and by one that may mean it. An error says why not.
    pub(crate) fn check(self, from: NodeId, sender: Option<&RaftSender>) -> Result<(), String> {
        let Some(sender) = sender else {
            return Err("the message does not say whose it is".to_owned());
        };
        if sender.cluster != self.cluster.to_bytes()[..] {
            return Err("the message is of another cluster".to_owned());
        }
        if sender.group != GROUP {
            return Err(format!(
                "the message is of Raft group {}, this is group {GROUP}",
                sender.group
            ));
        }
        if sender.to != self.server.value() {
            return Err(format!(
                "the message is for metadata server {}, this is {}: an address is wrong",
                sender.to, self.server
            ));
        }
        if sender.from != from.value() {
            return Err(format!("node {from} speaks for node {}", sender.from));
        }
        Ok(())
    }
}

/// A message lacks what it must hold.
pub(crate) fn missing(what: &str) -> String {
    format!("the message holds no {what}")
}

pub(crate) fn position_message(log_id: LogId) -> RaftPosition {
    let position = position_of(log_id);
    RaftPosition {
        term: position.term,
        node: position.node,
        index: position.index,
    }
}

pub(crate) fn log_id(message: RaftPosition) -> LogId {
    log_id_of(LogPosition {
        term: message.term,
        node: message.node,
        index: message.index,
    })
}

pub(crate) fn ballot(vote: &Vote) -> RaftBallot {
    let record = vote_record(vote);
    RaftBallot {
        term: record.term,
        node: record.node,
        committed: record.committed,
    }
}

pub(crate) fn vote(message: RaftBallot) -> Vote {
    vote_of(&VoteRecord {
        term: message.term,
        node: message.node,
        committed: message.committed,
    })
}

pub(crate) fn membership_message(record: MembershipRecord) -> RaftMembership {
    let voters = |set: VoterSet| RaftVoters { voters: set.voters };
    let member = |member: MemberRecord| RaftMember {
        node: member.node,
        address: member.address,
    };
    RaftMembership {
        position: record.position.map(|position| position_message(log_id_of(position))),
        voter_sets: record.voter_sets.into_iter().map(voters).collect(),
        members: record.members.into_iter().map(member).collect(),
    }
}

pub(crate) fn membership_of_message(message: RaftMembership) -> MembershipRecord {
    let voters = |set: RaftVoters| VoterSet { voters: set.voters };
    let member = |member: RaftMember| MemberRecord {
        node: member.node,
        address: member.address,
    };
    MembershipRecord {
        position: message.position.map(|position| position_of(log_id(position))),
        voter_sets: message.voter_sets.into_iter().map(voters).collect(),
        members: message.members.into_iter().map(member).collect(),
    }
}

pub(crate) fn members_message(members: &Members) -> RaftMembership {
    membership_message(membership_record(*members.log_id(), members.membership()))
}

pub(crate) fn members(message: RaftMembership) -> Result<Members, StoreError> {
    members_of(&membership_of_message(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_for_another_is_refused() {
        let own = |cluster: u8, server| Identity {
            cluster: ClusterId::new([cluster; 16]),
            server: NodeId::new(server),
        };
        let (one, two) = (own(1, 1), own(1, 2));
        assert_eq!(two.check(NodeId::new(1), Some(&one.sender(2))), Ok(()));
        let wrong = [
            (NodeId::new(1), Some(own(2, 1).sender(2)), "another cluster"),
            (NodeId::new(1), Some(one.sender(3)), "address is wrong"),
            (NodeId::new(3), Some(one.sender(2)), "speaks for"),
            (NodeId::new(1), None, "whose"),
            (
                NodeId::new(1),
                Some(RaftSender {
                    group: 7,
                    ..one.sender(2)
                }),
                "group 7",
            ),
        ];
        for (from, sender, reason) in wrong {
            let refused = two.check(from, sender.as_ref());
            assert!(refused.as_ref().is_err_and(|text| text.contains(reason)), "{refused:?}");
        }
    }
}
