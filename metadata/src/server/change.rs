//! Changes of the group's members, as an operator asks for them.
//!
//! It must never start a change that cannot be agreed on: a majority of the new voters must answer before. Invariant: each
//! change is named by what is to be, so that asked again it goes on, or is done already.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cairn_common::{
    ids::NodeId,
    limits::{MEMBERS_MAX, VOTERS_MAX},
    wire::{
        failure::{Failure, FailureCode},
        group::{GroupChange, GroupChangeReply, MemberChange, MemberRole},
    },
};
use cairn_transport::failure;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::{probe::ask_status, service::Inner};
use crate::raft::{ChangeError, GROUP, ProposeError};

/// A learner this few entries behind is voter enough: the rest comes with the change itself.
const CAUGHT_UP_ENTRIES: u64 = 256;
/// Time between looks at how far a learner is.
const CATCH_UP_LOOK: Duration = Duration::from_millis(50);
/// What is left of a request's time when waiting for a learner ends, for the change itself or the answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// How long another may take to take leadership up.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(3);
/// When to ask again while something is under way, in milliseconds.
const ASK_AGAIN_MS: u32 = 500;

impl Inner {
    /// Makes a change, and tells how the group is then.
    pub(super) async fn change_group(
        self: &Arc<Self>,
        message: GroupChange,
        deadline: Instant,
    ) -> Result<GroupChangeReply, Failure> {
        if message.group != GROUP {
            return Err(failure(FailureCode::WrongGroup, format!("this is Raft group {GROUP}")));
        }
        if self.node.leading_term().is_none() {
            return Err(self.node.failure(&ProposeError::NotLeader));
        }
        let node = NodeId::new;
        match message.change {
            Some(MemberChange::AddLearner(add)) => self.add_learner(node(add.node), &add.address).await,
            Some(MemberChange::Promote(promote)) => self.promote(node(promote.node), deadline).await,
            Some(MemberChange::Remove(remove)) => self.remove(node(remove.node)).await,
            Some(MemberChange::Replace(replace)) => {
                self.replace(node(replace.dead), node(replace.node), &replace.address, deadline)
                    .await
            }
            Some(MemberChange::Transfer(transfer)) => self.transfer(node(transfer.to)).await,
            None => Err(refused("the request holds no change that this server knows")),
        }?;
        Ok(GroupChangeReply {
            status: Some(self.status()),
        })
    }

    /// Hands leadership to the voter that is furthest, where there is another.
    pub(super) async fn hand_over(&self, within: Duration) -> Result<(), ChangeError> {
        let own = self.own();
        let voters = self.node.voters().into_iter().filter(|voter| *voter != own);
        let Some(next) = voters.min_by_key(|voter| self.node.lag(*voter).unwrap_or(u64::MAX)) else {
            return Err(ChangeError::Refused("there is no other voter".to_owned()));
        };
        self.node.hand_over(next, within).await
    }

    fn role(&self, member: NodeId) -> Option<MemberRole> {
        let members = self.node.members();
        members.iter().find(|view| view.node == member).map(|view| view.role)
    }

    async fn add_learner(&self, member: NodeId, address: &str) -> Result<(), Failure> {
        let members = self.node.members();
        if let Some(present) = members.iter().find(|view| view.node == member) {
            if present.address == address {
                return Ok(());
            }
            return self.move_member(member, &present.address, address).await;
        }
        if members.len() >= MEMBERS_MAX {
            return Err(refused(format!(
                "a group has at most {MEMBERS_MAX} members: remove one"
            )));
        }
        self.check_newcomer(member, address).await?;
        self.node
            .add_learner(member, address)
            .await
            .map_err(|error| self.change_failure(&error))
    }

    /// A member that is called elsewhere now must answer there, under its own number and with its log.
    async fn move_member(&self, member: NodeId, before: &str, address: &str) -> Result<(), Failure> {
        let links = self.node.links();
        if member != self.own() {
            links.addresses.set(member, address);
            let report = ask_status(links, member, None).await.ok().and_then(|status| status.own);
            if !report.is_some_and(|report| report.node == member.value() && !report.is_new) {
                links.addresses.set(member, before);
                let text = format!("{member} is a member, at {before}, and does not answer with its log at {address}");
                return Err(refused(text));
            }
        }
        let moved = self.node.set_address(member, address).await;
        moved.map_err(|error| self.change_failure(&error))
    }

    /// A newcomer must answer under its own number and belong to no group: a server that lost its log must never pass for
    /// what it was.
    async fn check_newcomer(&self, member: NodeId, address: &str) -> Result<(), Failure> {
        let links = self.node.links();
        links.addresses.set(member, address);
        let asked = ask_status(links, member, None).await;
        let status = asked.map_err(|error| refused(format!("{member} at {address} does not answer: {error}")))?;
        if status.cluster != links.identity.cluster.to_bytes()[..] {
            return Err(refused(format!("the server at {address} belongs to another cluster")));
        }
        let report = status
            .own
            .ok_or_else(|| refused(format!("{member} says nothing of itself")))?;
        if report.node != member.value() {
            return Err(refused(format!(
                "the server at {address} is {}, not {member}",
                report.node
            )));
        }
        if !report.is_new {
            let text =
                format!("{member} has been a member of a group before: give the server an empty store and a new id");
            return Err(refused(text));
        }
        let level = self.feature_level().unwrap_or(0);
        if report.understands < level {
            let text = format!(
                "{member} understands feature level {}, and {level} is in force: upgrade it",
                report.understands
            );
            return Err(refused(text));
        }
        Ok(())
    }

    async fn promote(&self, member: NodeId, deadline: Instant) -> Result<(), Failure> {
        match self.role(member) {
            Some(MemberRole::Voter) => return Ok(()),
            Some(MemberRole::Learner | MemberRole::Changing | MemberRole::Unspecified) => {}
            None => return Err(refused(format!("{member} is no member: add it first"))),
        }
        let mut voters = self.node.voters();
        voters.insert(member);
        if voters.len() > VOTERS_MAX {
            return Err(refused(format!("a group has at most {VOTERS_MAX} voters: remove one")));
        }
        self.wait_until_caught_up(member, deadline).await?;
        self.set_voters(&voters).await
    }

    async fn remove(&self, member: NodeId) -> Result<(), Failure> {
        match self.role(member) {
            None => return Ok(()),
            Some(MemberRole::Learner) => {
                let removed = self.node.remove_learner(member).await;
                return removed.map_err(|error| self.change_failure(&error));
            }
            Some(MemberRole::Voter | MemberRole::Changing | MemberRole::Unspecified) => {}
        }
        let mut voters = self.node.voters();
        voters.remove(&member);
        if voters.is_empty() {
            return Err(refused("the last voter cannot be removed"));
        }
        self.check_quorum(&voters).await?;
        self.leave_leading_to_others(member).await?;
        self.set_voters(&voters).await
    }

    async fn replace(&self, dead: NodeId, member: NodeId, address: &str, deadline: Instant) -> Result<(), Failure> {
        match (self.role(dead), self.role(member)) {
            (None, Some(MemberRole::Voter)) => return Ok(()),
            (None, _) => return Err(refused(format!("{dead} is no member"))),
            (Some(_), None) => {
                // Before anything is begun: what cannot be finished had better not start.
                let mut left = self.node.voters();
                left.remove(&dead);
                left.insert(member);
                self.node.links().addresses.set(member, address);
                self.check_quorum(&left).await?;
                self.add_learner(member, address).await?;
            }
            (Some(_), Some(_)) => {}
        }
        self.leave_leading_to_others(dead).await?;
        self.wait_until_caught_up(member, deadline).await?;
        let is_learner = self.role(dead) == Some(MemberRole::Learner);
        let mut voters = self.node.voters();
        voters.remove(&dead);
        voters.insert(member);
        self.check_quorum(&voters).await?;
        self.set_voters(&voters).await?;
        if is_learner {
            let removed = self.node.remove_learner(dead).await;
            removed.map_err(|error| self.change_failure(&error))?;
        }
        Ok(())
    }

    async fn transfer(&self, to: NodeId) -> Result<(), Failure> {
        let handed = if to.value() == 0 {
            self.hand_over(HAND_OVER_DEADLINE).await
        } else if to == self.own() {
            return Ok(());
        } else if self.role(to) == Some(MemberRole::Voter) {
            self.node.hand_over(to, HAND_OVER_DEADLINE).await
        } else {
            return Err(refused(format!("{to} is no voter")));
        };
        handed.map_err(|error| self.change_failure(&error))
    }

    /// Where the leader itself is to go, another must lead first, and is who to ask then.
    async fn leave_leading_to_others(&self, member: NodeId) -> Result<(), Failure> {
        if member != self.own() {
            return Ok(());
        }
        let handed = self.hand_over(HAND_OVER_DEADLINE).await;
        handed.map_err(|error| self.change_failure(&error))?;
        Err(self.node.failure(&ProposeError::NotLeader))
    }

    async fn wait_until_caught_up(&self, member: NodeId, deadline: Instant) -> Result<(), Failure> {
        loop {
            if self.node.leading_term().is_none() {
                return Err(self.node.failure(&ProposeError::NotLeader));
            }
            let lag = self.node.lag(member).unwrap_or(u64::MAX);
            if lag <= CAUGHT_UP_ENTRIES {
                return Ok(());
            }
            if Instant::now() + ANSWER_TIME >= deadline {
                let text = format!("{member} is still catching up ({lag} entries behind): give the same command again");
                return Err(ask_again(text));
            }
            sleep(CATCH_UP_LOOK).await;
        }
    }

    async fn set_voters(&self, voters: &BTreeSet<NodeId>) -> Result<(), Failure> {
        let set = self.node.set_voters(voters).await;
        set.map_err(|error| self.change_failure(&error))
    }

    /// Refuses a set of voters of which no majority answers: the change to it could never be agreed on, and nothing could be
    /// after it.
    async fn check_quorum(&self, voters: &BTreeSet<NodeId>) -> Result<(), Failure> {
        let own = self.own();
        let asked = voters
            .iter()
            .map(|voter| async move { *voter == own || ask_status(self.node.links(), *voter, None).await.is_ok() });
        let answering = join_all(asked).await.into_iter().filter(|answers| *answers).count();
        if answering * 2 > voters.len() {
            return Ok(());
        }
        Err(refused(format!(
            "only {answering} of the {} voters that would be left answer: that is no majority, so the change could never be \
             agreed on; start the others first",
            voters.len()
        )))
    }

    fn change_failure(&self, error: &ChangeError) -> Failure {
        match error {
            ChangeError::Propose(error) => self.node.failure(error),
            ChangeError::InProgress(_) => ask_again(error.to_string()),
            ChangeError::Refused(reason) => refused(reason.clone()),
        }
    }
}

fn refused(reason: impl Into<String>) -> Failure {
    failure(FailureCode::Malformed, reason)
}

fn ask_again(reason: impl Into<String>) -> Failure {
    Failure {
        retry_after_ms: ASK_AGAIN_MS,
        ..failure(FailureCode::Busy, reason)
    }
}
