//! The leader's look at the members: do they answer, hold the same state, have sane clocks, room, and which level do they
//! understand?
//!
//! It must never stop a member on a guess: only where chained hashes differ at one entry, and only those that a majority of
//! what was compared stands against. Invariant: members answer for themselves; what they did not say is not assumed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::{
    checksum::Hash,
    ids::NodeId,
    wire::{
        group::{GroupStatus, GroupStatusRequest, StateVerdict},
        kind::RequestKind,
    },
};
use cairn_transport::{Body, CallError, call};
use futures::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{clock::too_far_off, members::Seen, quarantine, service::Inner};
use crate::raft::{GROUP, Links};

/// How long a member may take to answer a probe.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);
/// How long another may take to take leadership up.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(3);

/// A member whose state differs from the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Difference {
    member: NodeId,
    index: u64,
    own: Hash,
}

/// Who is to stop where states differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Judgement {
    leader: bool,
    members: bool,
}

/// Asks a member how it is.
pub(super) async fn ask_status(
    links: &Links,
    member: NodeId,
    verdict: Option<StateVerdict>,
) -> Result<GroupStatus, CallError> {
    let message = GroupStatusRequest {
        group: GROUP,
        cluster: Bytes::copy_from_slice(&links.identity.cluster.to_bytes()),
        to: member.value(),
        verdict,
    };
    let kind = RequestKind::GroupStatus;
    let asked = call(&*links.transport, member, kind, &message, Body::empty(), PROBE_DEADLINE).await;
    asked.map(|(status, _)| status)
}

/// Probes the members for as long as it is polled; of use only while this member leads.
pub(super) async fn run(inner: Arc<Inner>, every: Duration) {
    inner.members.forget();
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        inner.probe().await;
    }
}

impl Inner {
    /// One look at all members.
    pub(super) async fn probe(self: &Arc<Self>) {
        let others: Vec<NodeId> = self.others();
        let asked = others.iter().map(|member| self.probe_member(*member));
        let seen: Vec<(NodeId, Seen)> = join_all(asked).await.into_iter().flatten().collect();
        for (member, seen) in &seen {
            self.members.note(*member, seen.clone());
        }
        self.compare_states(&seen).await;
        self.judge_clock(&seen).await;
    }

    /// All members but this one.
    pub(super) fn others(&self) -> Vec<NodeId> {
        let own = self.own();
        let members = self.node.members().into_iter().map(|member| member.node);
        members.filter(|member| *member != own).collect()
    }

    async fn probe_member(&self, member: NodeId) -> Option<(NodeId, Seen)> {
        let (sent, sent_ms) = (Instant::now(), self.clock.now_ms());
        let status = match ask_status(self.node.links(), member, None).await {
            Ok(status) => status,
            Err(error) => {
                tracing::debug!(%member, %error, "a member does not answer its probe");
                return None;
            }
        };
        let report = status.own.filter(|report| report.node == member.value())?;
        let half_way = u64::try_from(sent.elapsed().as_millis() / 2).unwrap_or(0);
        let seen = Seen {
            skew_ms: report.clock_ms.wrapping_sub(sent_ms + half_way).cast_signed(),
            at: Instant::now(),
            report,
        };
        Some((member, seen))
    }

    async fn compare_states(self: &Arc<Self>, seen: &[(NodeId, Seen)]) {
        let mut differing = Vec::new();
        let (mut agreeing, mut nothing_to_compare) = (0, 0);
        for (member, seen) in seen {
            let index = seen.report.applied_index;
            if seen.report.chain.is_empty() {
                nothing_to_compare += 1;
                continue;
            }
            let Some(own) = self.node.progress().chain_at(index) else {
                continue;
            };
            self.metrics.state_comparisons.inc();
            if seen.report.chain == own.as_bytes()[..] {
                agreeing += 1;
                continue;
            }
            self.metrics.state_mismatches.inc();
            let member = *member;
            differing.push(Difference { member, index, own });
        }
        let unknown = seen.len() - agreeing - differing.len() - nothing_to_compare;
        let judgement = judge(agreeing, differing.len(), unknown);
        if judgement.members {
            for difference in &differing {
                self.pass_verdict(difference).await;
            }
        }
        if let Some(first) = differing.first().filter(|_| judgement.leader) {
            self.stop_for_difference(first.index);
        }
    }

    async fn pass_verdict(&self, difference: &Difference) {
        let (member, index) = (difference.member, difference.index);
        tracing::error!(%member, index, "a metadata server's state differs from that of the others; it is told to stop");
        let verdict = StateVerdict {
            term: self.node.term(),
            index,
            chain: Bytes::copy_from_slice(difference.own.as_bytes()),
        };
        if let Err(error) = ask_status(self.node.links(), member, Some(verdict)).await {
            tracing::warn!(%member, %error, "the member was not told; it will be at the next look");
        }
    }

    /// A verdict of the leader: where it holds, this member stops.
    pub(super) fn take_verdict(self: &Arc<Self>, from: NodeId, verdict: &StateVerdict) {
        let by_leader = self.node.leader().is_some_and(|(leader, _)| leader == from);
        if !by_leader || verdict.term < self.node.term() {
            return;
        }
        let own = self.node.progress().chain_at(verdict.index);
        if own.is_some_and(|own| verdict.chain != own.as_bytes()[..]) {
            self.stop_for_difference(verdict.index);
        }
    }

    /// Stops for good: this member's state after entry `index` is not that of the others.
    fn stop_for_difference(&self, index: u64) {
        let reason = format!(
            "the state of metadata server {} differs from that of the other members at entry {index}: nothing more is served \
             from it; put a new server with an empty store in its place (replace), and keep this store for whoever looks into \
             it",
            self.own()
        );
        quarantine::mark(&self.dir, &reason);
        self.health.fail(&reason);
        self.ready.send_replace(false);
        let node = self.node.clone();
        tokio::spawn(async move {
            if let Err(error) = node.shutdown().await {
                tracing::warn!(%error, "a store that differs from the others' was not closed in order");
            }
        });
    }

    async fn judge_clock(&self, seen: &[(NodeId, Seen)]) {
        let voters = self.node.voters();
        let of_voters = || seen.iter().filter(|(member, _)| voters.contains(member));
        let skews: Vec<i64> = of_voters().map(|(_, seen)| seen.skew_ms).collect();
        let Some(median) = too_far_off(&skews, voters.len()) else {
            self.members.note_clock_trouble(None);
            return;
        };
        let trouble = format!(
            "the clock of metadata server {} is {} s off that of the other voters: mend its clock",
            self.own(),
            median.unsigned_abs() / 1000
        );
        tracing::error!(trouble, "commands are refused, and another is asked to lead");
        self.members.note_clock_trouble(Some(trouble));
        let nearest = of_voters().min_by_key(|(_, seen)| (seen.skew_ms - median).unsigned_abs());
        if let Some((next, _)) = nearest
            && let Err(error) = self.node.hand_over(*next, HAND_OVER_DEADLINE).await
        {
            tracing::warn!(%error, "leadership stays where the clock is wrong");
        }
    }
}

/// Who stops where `differing` members differ from the leader, `agreeing` do not, and of `unknown` it cannot be told yet.
fn judge(agreeing: usize, differing: usize, unknown: usize) -> Judgement {
    // The leader stands for its own state.
    let with_leader = agreeing + 1;
    let clear = differing.abs_diff(with_leader) > unknown || unknown == 0;
    Judgement {
        leader: differing > 0 && clear && differing >= with_leader,
        members: differing > 0 && clear && differing <= with_leader,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_a_majority_stands_against_stops_and_both_where_there_is_none() {
        let told = |leader, members| Judgement { leader, members };
        let cases = [
            ((2, 0, 0), told(false, false)),
            ((1, 1, 0), told(false, true)),
            ((0, 2, 0), told(true, false)),
            ((0, 1, 0), told(true, true)),
            ((0, 1, 1), told(false, false)),
            ((3, 1, 0), told(false, true)),
            ((1, 3, 0), told(true, false)),
        ];
        for ((agreeing, differing, unknown), expected) in cases {
            assert_eq!(
                judge(agreeing, differing, unknown),
                expected,
                "{agreeing} {differing} {unknown}"
            );
        }
    }
}
