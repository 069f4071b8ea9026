//! Values of the messages of [`crate::wire::raft`].

use bytes::Bytes;

use super::{Sample, sample};
use crate::wire::raft::{
    AppendBlank, AppendEntry, AppendFrame, AppendMatching, AppendOutcome, AppendPayload, AppendResult, RaftBallot,
    RaftMember, RaftMembership, RaftPosition, RaftSender, RaftVoters, ReadIndex, ReadIndexReply, SnapshotAnswer,
    SnapshotOffer, VoteAnswer, VoteKind, VoteMessage,
};

pub(super) fn samples() -> Vec<Sample> {
    let vote = VoteMessage {
        sender: Some(sender()),
        ballot: Some(ballot()),
        last: Some(position()),
        kind: VoteKind::Transfer.into(),
        next_leader: 3,
    };
    let answer = VoteAnswer {
        ballot: Some(ballot()),
        granted: true,
        last: Some(position()),
    };
    let offer = SnapshotOffer {
        sender: Some(sender()),
        ballot: Some(ballot()),
        last: Some(position()),
        membership: Some(membership()),
        checkpoint: 300,
    };
    let snapshot_answer = SnapshotAnswer { ballot: Some(ballot()) };
    let read_index = ReadIndex { sender: Some(sender()) };
    let mut samples = vec![
        sample("RaftSender", sender()),
        sample("RaftPosition", position()),
        sample("RaftBallot", ballot()),
        sample("RaftMembership", membership()),
        sample("RaftVoters", RaftVoters { voters: vec![1, 300] }),
        sample("RaftMember", member()),
        sample("VoteMessage", vote),
        sample("VoteAnswer", answer),
        sample("SnapshotOffer", offer),
        sample("SnapshotAnswer", snapshot_answer),
        sample("ReadIndex", read_index),
        sample("ReadIndexReply", ReadIndexReply { index: 300 }),
    ];
    samples.extend(appends());
    samples
}

fn appends() -> Vec<Sample> {
    let entry = |payload| AppendEntry {
        position: Some(position()),
        payload: Some(payload),
    };
    let frame = AppendFrame {
        ballot: Some(ballot()),
        previous: Some(position()),
        committed: Some(position()),
        entries: vec![entry(AppendPayload::BatchBytes(400))],
    };
    let result = |outcome| AppendResult { outcome: Some(outcome) };
    let matching = AppendMatching { last: Some(position()) };
    vec![
        sample("AppendFrame", frame),
        sample("AppendEntry/Blank", entry(AppendPayload::Blank(AppendBlank {}))),
        sample("AppendEntry/Batch", entry(AppendPayload::BatchBytes(400))),
        sample("AppendEntry/Membership", entry(AppendPayload::Membership(membership()))),
        sample("AppendBlank", AppendBlank {}),
        sample("AppendMatching", matching),
        sample("AppendResult/Matching", result(AppendOutcome::Matching(matching))),
        sample("AppendResult/Conflict", result(AppendOutcome::Conflict(position()))),
        sample("AppendResult/HigherVote", result(AppendOutcome::HigherVote(ballot()))),
    ]
}

fn sender() -> RaftSender {
    RaftSender {
        cluster: Bytes::from_static(&[3; 16]),
        group: 1,
        from: 2,
        to: 3,
    }
}

fn position() -> RaftPosition {
    RaftPosition {
        term: 3,
        node: 2,
        index: 300,
    }
}

fn ballot() -> RaftBallot {
    RaftBallot {
        term: 3,
        node: 2,
        committed: true,
    }
}

fn member() -> RaftMember {
    RaftMember {
        node: 2,
        address: "meta-2:7300".to_owned(),
    }
}

fn membership() -> RaftMembership {
    RaftMembership {
        position: Some(position()),
        voter_sets: vec![RaftVoters { voters: vec![1, 2] }],
        members: vec![member()],
    }
}
