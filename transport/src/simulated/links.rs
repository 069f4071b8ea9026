//! What a simulated network is made of at a moment: nodes, links, what is severed, and the seeded chance of delays.
//!
//! It decides when bytes arrive and neither waits nor carries. Invariant: the same calls in the same order with the same
//! seed give the same times.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cairn_common::{ids::NodeId, wire::role::Roles};
use tokio::time::Instant;

use crate::Services;

/// What every link of a simulated network is like.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedLinks {
    /// Time from one node to another, each way. Tokio's timers count milliseconds: anything finer is rounded up.
    pub latency: Duration,
    /// Up to so much is added to it, evenly spread, for each message and each piece of a body.
    pub jitter: Duration,
    /// What a link carries in each direction, all requests and answers together; 0 for no bound.
    pub bytes_per_second: u64,
}

/// A node, and which of its lives: one that comes back after a crash is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) node: NodeId,
    number: u64,
}

pub(super) struct SimulatedNode {
    life: Life,
    pub(super) roles: Roles,
    pub(super) services: Services,
}

pub(super) struct State {
    links: SimulatedLinks,
    random: SplitMix64,
    nodes: BTreeMap<NodeId, SimulatedNode>,
    last_life: u64,
    /// Pairs, the smaller node first.
    severed: BTreeSet<(NodeId, NodeId)>,
    /// When a direction of a link has sent all that it was given.
    free_from: BTreeMap<(NodeId, NodeId), Instant>,
}

impl State {
    pub(super) fn new(seed: u64, links: SimulatedLinks) -> Self {
        Self {
            links,
            random: SplitMix64(seed),
            nodes: BTreeMap::new(),
            last_life: 0,
            severed: BTreeSet::new(),
            free_from: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, node: NodeId, roles: Roles, services: Services) {
        self.last_life += 1;
        let life = Life {
            node,
            number: self.last_life,
        };
        let node_state = SimulatedNode { life, roles, services };
        self.nodes.insert(node, node_state);
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    /// The life that a node has now.
    pub(super) fn life(&self, node: NodeId) -> Option<Life> {
        self.nodes.get(&node).map(|node| node.life)
    }

    /// The node, if it still has that life.
    pub(super) fn living(&self, life: Life) -> Option<&SimulatedNode> {
        self.nodes.get(&life.node).filter(|node| node.life == life)
    }

    pub(super) fn sever(&mut self, one: NodeId, other: NodeId) {
        self.severed.insert(pair(one, other));
    }

    pub(super) fn heal(&mut self, one: NodeId, other: NodeId) {
        self.severed.remove(&pair(one, other));
    }

    pub(super) fn is_severed(&self, one: NodeId, other: NodeId) -> bool {
        self.severed.contains(&pair(one, other))
    }

    /// When `bytes` that set out now are there: behind all that the link was given before, a latency later.
    pub(super) fn arrival(&mut self, from: NodeId, to: NodeId, bytes: usize) -> Instant {
        let now = Instant::now();
        let free_from = self.free_from.entry((from, to)).or_insert(now);
        *free_from = now.max(*free_from) + transmission(bytes, self.links.bytes_per_second);
        *free_from + self.links.latency + self.random.up_to(self.links.jitter)
    }
}

fn pair(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

fn transmission(bytes: usize, bytes_per_second: u64) -> Duration {
    const NANOS_PER_SECOND: u128 = 1_000_000_000;
    let nanos = (bytes as u128 * NANOS_PER_SECOND).checked_div(bytes_per_second.into());
    Duration::from_nanos(u64::try_from(nanos.unwrap_or(0)).unwrap_or(u64::MAX))
}

/// SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014; constants of
/// Vigna's reference code, <https://prng.di.unimi.it/splitmix64.c>.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time from nothing to `most`, both included.
    fn up_to(&mut self, most: Duration) -> Duration {
        let range = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1) + 1;
        let scaled = (u128::from(self.next()) * u128::from(range)) >> 64;
        Duration::from_nanos(u64::try_from(scaled).expect("less than the range, which has 64 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference code for the seed 1234567.
    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!([random.next(), random.next(), random.next()], expected);
    }

    #[test]
    fn times_stay_within_their_bound() {
        let mut random = SplitMix64(7);
        for most in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1)] {
            assert!((0..1000).all(|_| random.up_to(most) <= most));
        }
    }

    #[test]
    fn transmission_takes_its_time() {
        let cases = [
            (0, 1, 0),
            (1000, 1000, 1_000_000_000),
            (1, 3, 333_333_333),
            (1 << 30, 0, 0),
        ];
        for (bytes, bytes_per_second, nanos) in cases {
            assert_eq!(transmission(bytes, bytes_per_second), Duration::from_nanos(nanos));
        }
    }
}
