//! How this member and its group are, for operators, routers and the leader's probes.
//!
//! Invariant: it answers from what is at hand, with or without a leader, and whether or not the member may still answer
//! commands and queries.

use std::sync::Arc;

use bytes::Bytes;
use cairn_common::{
    ids::NodeId,
    limits::FEATURE_LEVEL,
    wire::{
        failure::{Failure, FailureCode},
        group::{GroupMembers, GroupStatus, GroupStatusRequest, GroupTable, MemberReport, MemberRole, MemberStatus},
        query::{Answer, ReadReply},
        role::Role,
    },
};
use cairn_transport::{Peer, failure};

use super::service::{Inner, check_group};
use crate::raft::{GROUP, MemberView};

impl Inner {
    /// How this member and its group are.
    pub(super) fn status(&self) -> GroupStatus {
        let own = self.report();
        let leads = self.node.leading_term().is_some();
        let views = self.node.members();
        let members: Vec<_> = views.iter().map(|view| self.member(view, &own, leads)).collect();
        let feature_level = self.feature_level().unwrap_or(0);
        GroupStatus {
            group: GROUP,
            cluster: Bytes::copy_from_slice(&self.node.links().identity.cluster.to_bytes()),
            leader: self.node.leader().map_or(0, |(leader, _)| leader.value()),
            notes: self.notes(&members, leads),
            own: Some(own),
            members,
            feature_level,
        }
    }

    /// The members as the group table lists them.
    pub(super) fn group_members(&self) -> GroupMembers {
        let member = |view: MemberView| MemberStatus {
            node: view.node.value(),
            address: view.address,
            role: view.role.into(),
            ..MemberStatus::default()
        };
        GroupMembers {
            group: GROUP,
            leader: self.node.leader().map_or(0, |(leader, _)| leader.value()),
            members: self.node.members().into_iter().map(member).collect(),
        }
    }

    /// The group table, as this member knows it: whoever looks for the leader must not need one.
    pub(super) fn group_table(&self) -> ReadReply {
        let table = GroupTable {
            default_group: GROUP,
            buckets: Vec::new(),
            groups: vec![self.group_members()],
        };
        ReadReply {
            log_index: self.node.state().applied().index(),
            answer: Some(Answer::Groups(table)),
            ..ReadReply::default()
        }
    }

    /// Answers whoever asks how this member is, and hears the leader's verdict.
    pub(super) fn answer_status(
        self: &Arc<Self>,
        from: Peer,
        request: &GroupStatusRequest,
    ) -> Result<GroupStatus, Failure> {
        check_group(request.group)?;
        let identity = self.node.links().identity;
        let is_meant = request.to == 0 || request.to == identity.server.value();
        if !is_meant || !(request.cluster.is_empty() || request.cluster == identity.cluster.to_bytes()[..]) {
            let text = format!(
                "this is metadata server {} of cluster {}",
                identity.server, identity.cluster
            );
            return Err(failure(FailureCode::Malformed, text));
        }
        if let Some(verdict) = &request.verdict
            && from.roles.has(Role::Metadata)
        {
            self.take_verdict(from.node, verdict);
        }
        Ok(self.status())
    }

    /// What this member says of itself.
    pub(super) fn report(&self) -> MemberReport {
        let applied = self.node.state().applied();
        let (snapshot_bytes_done, snapshot_bytes) = self.node.fetching();
        MemberReport {
            node: self.node.links().identity.server.value(),
            term: self.node.term(),
            last_index: self.node.last_index(),
            applied_index: applied.index(),
            purged_index: self.node.purged_index().unwrap_or(0),
            // Before the first entry there is nothing to compare, and no index that says so.
            chain: applied.position.map_or_else(Bytes::new, |_| Bytes::from(applied.chain)),
            clock_ms: self.clock.now_ms(),
            understands: FEATURE_LEVEL,
            is_low_on_space: self.space.is_low(),
            is_ready: *self.ready.borrow(),
            failure: self.health.failed().unwrap_or_default().to_owned(),
            is_new: self.node.is_new(),
            snapshot_bytes_done,
            snapshot_bytes,
        }
    }

    fn member(&self, view: &MemberView, own: &MemberReport, leads: bool) -> MemberStatus {
        let mut status = MemberStatus {
            node: view.node.value(),
            address: view.address.clone(),
            role: view.role.into(),
            ..MemberStatus::default()
        };
        if view.node.value() == own.node {
            status.report = Some(own.clone());
        } else if leads {
            status.lag = self.node.lag(view.node).unwrap_or(0);
            status.silent_ms = u64::MAX;
            if let Some(seen) = self.members.seen(view.node) {
                status.silent_ms = u64::try_from(seen.at.elapsed().as_millis()).unwrap_or(u64::MAX);
                status.skew_ms = seen.skew_ms;
                status.report = Some(seen.report);
            }
        }
        status
    }

    fn notes(&self, members: &[MemberStatus], leads: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if self.node.leader().is_none() && !self.node.is_new() {
            notes.push("no leader is known: a majority of the voters must be running and reach each other".to_owned());
        }
        let count = |role| members.iter().filter(|member| member.role() == role).count();
        let voters = count(MemberRole::Voter);
        if count(MemberRole::Changing) > 0 {
            notes.push("a change of voters is under way".to_owned());
        } else if voters > 0 && voters.is_multiple_of(2) {
            notes.push(format!(
                "{voters} voters tolerate no more failures than {}: add one or remove one",
                voters - 1
            ));
        }
        let silent = |member: &&MemberStatus| leads && member.silent_ms == u64::MAX;
        for member in members.iter().filter(silent) {
            notes.push(format!("member {} does not answer", member.node));
        }
        notes.extend(self.members.clock_trouble());
        notes
    }

    /// The feature level in force, by the local state.
    pub(super) fn feature_level(&self) -> Option<u32> {
        let read = self.node.state().read(|view, _| self.machine.feature_level(view));
        read.inspect_err(|error| tracing::debug!(%error, "the feature level cannot be read"))
            .ok()
    }

    /// This member's number.
    pub(super) fn own(&self) -> NodeId {
        self.node.links().identity.server
    }
}
