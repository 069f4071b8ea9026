//! The group's members: who they are, who leads, how far they are, and changes of them.
//!
//! It must never decide whether a change is wise: the server does. Invariant: voters change by joint consensus, so at every
//! moment of a change a majority of the old voters and one of the new must agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cairn_common::{ids::NodeId, wire::group::MemberRole};
use openraft::{
    ChangeMembers, RaftMetrics, ServerState,
    async_runtime::watch::WatchReceiver,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
    metrics::RaftServerMetrics,
};
use tokio::time::timeout;

use super::{
    node::{ProposeError, RaftNode},
    types::{Member, TypeConfig},
};

/// How long a change may take to be agreed on.
const CHANGE_DEADLINE: Duration = Duration::from_secs(20);

/// Why members were not changed, by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// See the reason.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Another change is under way, or the leader is new: ask again.
    #[error("another change of members is under way: {0}")]
    InProgress(String),
    /// It cannot be done.
    #[error("{0}")]
    Refused(String),
}

/// A member as the group knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberView {
    pub(crate) node: NodeId,
    pub(crate) address: String,
    pub(crate) role: MemberRole,
}

impl RaftNode {
    /// The leader and its address, as this member knows it.
    pub(crate) fn leader(&self) -> Option<(NodeId, String)> {
        let watched = self.raft().metrics();
        let metrics = watched.borrow_watched();
        let leader = metrics.current_leader?;
        let member = metrics.membership_config.get_node(&leader);
        Some((
            NodeId::new(leader),
            member.map(|member| member.address.clone()).unwrap_or_default(),
        ))
    }

    /// The term in which this member leads, as far as it knows, where it does. Of a member that has stopped openraft goes on telling
    /// what it was last.
    pub(crate) fn leading_term(&self) -> Option<u64> {
        let term = leading_term(&self.raft().server_metrics().borrow_watched());
        term.filter(|_| !self.has_stopped())
    }

    /// The newest term that this member knows.
    pub(crate) fn term(&self) -> u64 {
        self.raft().metrics().borrow_watched().current_term
    }

    /// Waits until this member leads, and gives the term, or until it leads in that term no longer.
    pub(crate) async fn until_leading(&self) -> Option<u64> {
        let mut watched = self.raft().server_metrics();
        loop {
            let term = leading_term(&watched.borrow_watched());
            if self.has_stopped() || term.is_some() {
                return term.filter(|_| !self.has_stopped());
            }
            self.unless_stopped(watched.changed()).await.ok()?.ok()?;
        }
    }

    /// Waits until this member no longer leads in `term`.
    pub(crate) async fn until_deposed(&self, term: u64) {
        let mut watched = self.raft().server_metrics();
        while leading_term(&watched.borrow_watched()) == Some(term) {
            // Ends early only with the member itself.
            match self.unless_stopped(watched.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// All members, in order of their numbers.
    pub(crate) fn members(&self) -> Vec<MemberView> {
        let watched = self.raft().metrics();
        let metrics = watched.borrow_watched();
        let membership = metrics.membership_config.membership();
        let sets = membership.get_joint_config();
        let role_of = |id: &u64| {
            let among = sets.iter().filter(|set| set.contains(id)).count();
            match among {
                0 => MemberRole::Learner,
                among if among == sets.len() => MemberRole::Voter,
                _ => MemberRole::Changing,
            }
        };
        let view = |(id, member): (&u64, &Member)| MemberView {
            node: NodeId::new(*id),
            address: member.address.clone(),
            role: role_of(id),
        };
        membership.nodes().map(view).collect()
    }

    /// The voters; of both sets while they change.
    pub(crate) fn voters(&self) -> BTreeSet<NodeId> {
        let watched = self.raft().metrics();
        let metrics = watched.borrow_watched();
        metrics.membership_config.voter_ids().map(NodeId::new).collect()
    }

    /// Index of the newest entry of this member's log.
    pub(crate) fn last_index(&self) -> u64 {
        self.raft().metrics().borrow_watched().last_log_index.unwrap_or(0)
    }

    /// Index of the newest entry that the log no longer holds.
    pub(crate) fn purged_index(&self) -> Option<u64> {
        self.log().bounds().purged.map(|purged| purged.index)
    }

    /// Whether this member was never part of a group.
    pub(crate) fn is_new(&self) -> bool {
        let bounds = self.log().bounds();
        bounds.last.is_none() && bounds.purged.is_none() && self.state().applied().position.is_none()
    }

    /// Entries that the log of `member` is behind, as the leader knows it.
    pub(crate) fn lag(&self, member: NodeId) -> Option<u64> {
        let watched = self.raft().metrics();
        let metrics = watched.borrow_watched();
        if member == self.links().identity.server {
            return Some(0);
        }
        let matched = metrics
            .replication
            .as_ref()?
            .get(&member.value())?
            .map_or(0, |log_id| log_id.index);
        Some(metrics.last_log_index.unwrap_or(0).saturating_sub(matched))
    }

    /// Adds a member without a vote; it begins to catch up.
    pub(crate) async fn add_learner(&self, member: NodeId, address: &str) -> Result<(), ChangeError> {
        let own = Member {
            address: address.to_owned(),
        };
        let nodes = BTreeMap::from([(member.value(), own)]);
        self.change(ChangeMembers::AddNodes(nodes), true).await
    }

    /// Notes that a member is called elsewhere from now on.
    pub(crate) async fn set_address(&self, member: NodeId, address: &str) -> Result<(), ChangeError> {
        let own = Member {
            address: address.to_owned(),
        };
        let nodes = BTreeMap::from([(member.value(), own)]);
        self.change(ChangeMembers::SetNodes(nodes), true).await
    }

    /// Makes `voters` the voters. Those that were voters and are none now are no members any more.
    pub(crate) async fn set_voters(&self, voters: &BTreeSet<NodeId>) -> Result<(), ChangeError> {
        let voters = voters.iter().map(|voter| voter.value()).collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters), false).await
    }

    /// Removes a learner.
    pub(crate) async fn remove_learner(&self, member: NodeId) -> Result<(), ChangeError> {
        let nodes = BTreeSet::from([member.value()]);
        self.change(ChangeMembers::RemoveNodes(nodes), false).await
    }

    /// Hands leadership to `next`, and waits until this member no longer leads.
    pub(crate) async fn hand_over(&self, next: NodeId, within: Duration) -> Result<(), ChangeError> {
        let handed = self
            .unless_stopped(self.raft().trigger().transfer_leader(next.value()))
            .await?;
        handed.map_err(|error| ProposeError::Stopped(error.to_string()))?;
        let taken = |metrics: &RaftMetrics<TypeConfig>| metrics.current_leader == Some(next.value());
        let waited = self.raft().wait(Some(within)).metrics(taken, "handed over").await;
        waited.map(|_| ()).map_err(|error| {
            ChangeError::InProgress(format!("metadata server {next} has not taken leadership up: {error}"))
        })
    }

    /// Tells the carrier where all members are.
    pub(crate) fn announce_addresses(&self) {
        let links = self.links();
        for member in self.members() {
            if member.node != links.identity.server && !member.address.is_empty() {
                links.addresses.set(member.node, &member.address);
            }
        }
    }

    async fn change(&self, change: ChangeMembers<u64, Member>, retain: bool) -> Result<(), ChangeError> {
        let changing = self.unless_stopped(self.raft().change_membership(change, retain));
        let changed = timeout(CHANGE_DEADLINE, changing).await;
        let changed = changed.map_err(|_| ChangeError::InProgress("it was not agreed on in time".to_owned()))?;
        changed?.map(|_| ()).map_err(change_error)
    }
}

/// The term of a leader. What is watched here changes seldom, unlike the rest of openraft's metrics: each entry changes
/// those several times.
fn leading_term(metrics: &RaftServerMetrics<TypeConfig>) -> Option<u64> {
    (metrics.state == ServerState::Leader).then(|| metrics.vote.leader_id().term)
}

fn change_error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ChangeError {
    let refused = match error {
        RaftError::Fatal(error) => return ProposeError::Stopped(error.to_string()).into(),
        RaftError::APIError(refused) => refused,
    };
    match refused {
        ClientWriteError::ForwardToLeader(_) => ProposeError::NotLeader.into(),
        ClientWriteError::LogEntryDiscarded(_) => ProposeError::Unknown.into(),
        ClientWriteError::PreconditionFailed(error) => ChangeError::InProgress(error.to_string()),
        ClientWriteError::ChangeMembershipError(error) => match error {
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => {
                ChangeError::InProgress(error.to_string())
            }
            ChangeMembershipError::EmptyMembership(_)
            | ChangeMembershipError::LearnerNotFound(_)
            | ChangeMembershipError::UnsupportedMembershipTransition(_)
            | ChangeMembershipError::NodeMetadataChanged(_) => ChangeError::Refused(error.to_string()),
        },
    }
}
