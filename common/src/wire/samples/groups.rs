//! Values of the messages of [`crate::wire::group`].

use bytes::Bytes;

use super::{Sample, sample};
use crate::wire::group::{
    AddLearner, BucketGroup, GroupChange, GroupChangeReply, GroupMembers, GroupStatus, GroupStatusRequest, GroupTable,
    GroupTableQuery, MemberChange, MemberReport, MemberRole, MemberStatus, PromoteLearner, RemoveMember, ReplaceMember,
    StateVerdict, TransferLeadership,
};

pub(super) fn samples() -> Vec<Sample> {
    let ask = GroupStatusRequest {
        group: 1,
        cluster: Bytes::from_static(&[3; 16]),
        to: 2,
        verdict: Some(verdict()),
    };
    let reply = GroupChangeReply { status: Some(status()) };
    vec![
        sample("GroupStatusRequest", ask),
        sample("StateVerdict", verdict()),
        sample("GroupStatus", status()),
        sample("MemberReport", report()),
        sample("MemberStatus", member()),
        sample("AddLearner", add()),
        sample("PromoteLearner", PromoteLearner { node: 4 }),
        sample("RemoveMember", RemoveMember { node: 5 }),
        sample("ReplaceMember", replace()),
        sample("TransferLeadership", TransferLeadership { to: 6 }),
        sample("GroupChange/AddLearner", change(MemberChange::AddLearner(add()))),
        sample(
            "GroupChange/Promote",
            change(MemberChange::Promote(PromoteLearner { node: 4 })),
        ),
        sample(
            "GroupChange/Remove",
            change(MemberChange::Remove(RemoveMember { node: 5 })),
        ),
        sample("GroupChange/Replace", change(MemberChange::Replace(replace()))),
        sample(
            "GroupChange/Transfer",
            change(MemberChange::Transfer(TransferLeadership { to: 6 })),
        ),
        sample("GroupChangeReply", reply),
        sample("GroupTableQuery", GroupTableQuery {}),
        sample("GroupTable", table()),
        sample("BucketGroup", bucket_group()),
        sample("GroupMembers", group_members()),
    ]
}

pub(super) fn table() -> GroupTable {
    GroupTable {
        default_group: 1,
        buckets: vec![bucket_group()],
        groups: vec![group_members()],
    }
}

fn verdict() -> StateVerdict {
    StateVerdict {
        term: 3,
        index: 300,
        chain: Bytes::from_static(&[7; 32]),
    }
}

fn status() -> GroupStatus {
    GroupStatus {
        group: 1,
        cluster: Bytes::from_static(&[3; 16]),
        own: Some(report()),
        leader: 2,
        members: vec![member()],
        feature_level: 2,
        notes: vec!["an even number of voters".to_owned()],
    }
}

fn report() -> MemberReport {
    MemberReport {
        node: 2,
        term: 3,
        last_index: 302,
        applied_index: 301,
        purged_index: 64,
        chain: Bytes::from_static(&[7; 32]),
        clock_ms: 1_700_000_000_000,
        understands: 2,
        is_low_on_space: true,
        is_ready: true,
        failure: "why".to_owned(),
        is_new: true,
        snapshot_bytes_done: 1,
        snapshot_bytes: 2,
    }
}

fn member() -> MemberStatus {
    MemberStatus {
        node: 2,
        address: "meta-2:7300".to_owned(),
        role: MemberRole::Voter.into(),
        report: Some(report()),
        lag: 5,
        skew_ms: -12,
        silent_ms: 400,
    }
}

fn add() -> AddLearner {
    AddLearner {
        node: 4,
        address: "meta-4:7300".to_owned(),
    }
}

fn replace() -> ReplaceMember {
    ReplaceMember {
        dead: 2,
        node: 4,
        address: "meta-4:7300".to_owned(),
    }
}

fn change(change: MemberChange) -> GroupChange {
    GroupChange {
        group: 1,
        change: Some(change),
    }
}

fn bucket_group() -> BucketGroup {
    BucketGroup { bucket_id: 7, group: 1 }
}

pub(super) fn group_members() -> GroupMembers {
    GroupMembers {
        group: 1,
        leader: 2,
        members: vec![member()],
    }
}
