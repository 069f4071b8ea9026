//! What is done to which process, and for how long, from a seed.
//!
//! *Invariant*: at most one metadata server and at most two chunkservers are hit at a time: what a cluster of three metadata servers
//! whose objects bear the loss of two shards is built for.

use std::fmt;
use std::time::Duration;

use crate::content::Sequence;

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// `kill -9`, and later a start.
    Kill,
    /// SIGSTOP, and later SIGCONT.
    Stop,
    /// Cut off from all other processes, and later healed.
    Partition,
    /// `kill -9`, its devices emptied, and later a start.
    Wipe,
}

/// A fault of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) name: String,
    pub(super) fault: Fault,
}

/// What is done at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) hits: Vec<Hit>,
    /// From one hit to the next, and from one's end to the next one's.
    pub(super) stagger: Duration,
    /// From the last hit to the end of the first.
    pub(super) hold: Duration,
    /// From there on nothing is done.
    pub(super) calm: Duration,
}

/// What a schedule may do, and to how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) metadata: u64,
    pub(super) chunkservers: u64,
    pub(super) may_partition: bool,
    pub(super) may_wipe: bool,
}

/// The rounds of a seed, without end.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    options: Options,
    sequence: Sequence,
    rounds: u64,
}

impl Schedule {
    pub(super) fn new(seed: u64, options: Options) -> Self {
        Self {
            options,
            sequence: Sequence::new(seed),
            rounds: 0,
        }
    }

    /// Who is hit in turn: metadata, one chunkserver, two, metadata and one, metadata and two.
    fn victims(&mut self) -> Vec<(String, bool)> {
        let (metadata, chunkservers) = [(1, 0), (0, 1), (0, 2), (1, 1), (1, 2)][(self.rounds % 5) as usize];
        let mut victims = Vec::new();
        for _ in 0..metadata {
            let number = 1 + self.sequence.below(self.options.metadata);
            victims.push((format!("metadata-{number}"), false));
        }
        let first = self.sequence.below(self.options.chunkservers);
        let distance = 1 + self.sequence.below(self.options.chunkservers - 1);
        let numbers = [first, (first + distance) % self.options.chunkservers];
        for number in &numbers[..chunkservers] {
            victims.push((format!("chunkserver-{}", number + 1), true));
        }
        victims
    }

    fn fault(&mut self, is_chunkserver: bool) -> Fault {
        let mut faults = vec![Fault::Kill, Fault::Stop];
        if self.options.may_partition {
            faults.push(Fault::Partition);
        }
        if self.options.may_wipe && is_chunkserver {
            faults.push(Fault::Wipe);
        }
        *self.sequence.pick(&faults)
    }
}

impl Iterator for Schedule {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        let hits = self.victims().into_iter();
        let hits = hits.map(|(name, is_chunkserver)| {
            let fault = self.fault(is_chunkserver);
            Hit { name, fault }
        });
        let hits = hits.collect();
        self.rounds += 1;
        Some(Round {
            hits,
            stagger: Duration::from_millis(*self.sequence.pick(&[0, 0, 500, 3000])),
            hold: Duration::from_millis(500 + self.sequence.below(15_000)),
            calm: Duration::from_millis(1000 + self.sequence.below(4000)),
        })
    }
}

impl Round {
    /// Whether data is lost that has to be made again before another may be.
    pub(super) fn wipes(&self) -> bool {
        self.hits.iter().any(|hit| hit.fault == Fault::Wipe)
    }
}

impl fmt::Display for Hit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Kill => "kill",
            Fault::Stop => "stop",
            Fault::Partition => "partition",
            Fault::Wipe => "wipe",
        };
        write!(formatter, "{fault} {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OPTIONS: Options = Options {
        metadata: 3,
        chunkservers: 6,
        may_partition: true,
        may_wipe: true,
    };

    #[test]
    fn a_seed_is_one_schedule() {
        let rounds = |seed| Schedule::new(seed, OPTIONS).take(20).collect::<Vec<_>>();
        assert_eq!(rounds(1), rounds(1));
        assert_ne!(rounds(1), rounds(2));
    }

    #[test]
    fn no_more_is_hit_than_the_cluster_bears_and_everything_is_in_time() {
        let mut seen = BTreeSet::new();
        for round in Schedule::new(3, OPTIONS).take(2000) {
            let names: BTreeSet<_> = round.hits.iter().map(|hit| &hit.name).collect();
            assert_eq!(names.len(), round.hits.len(), "{round:?}");
            let metadata = names.iter().filter(|name| name.starts_with("metadata")).count();
            assert!(metadata <= 1 && names.len() - metadata <= 2, "{round:?}");
            seen.extend(round.hits.into_iter().map(|hit| (hit.name, hit.fault)));
        }
        assert_eq!(seen.len(), 3 * 3 + 6 * 4);
    }

    #[test]
    fn what_may_not_be_done_is_not() {
        let options = Options {
            may_partition: false,
            may_wipe: false,
            ..OPTIONS
        };
        let faults: BTreeSet<_> = Schedule::new(3, options)
            .take(200)
            .flat_map(|round| round.hits)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|hit| hit.fault)
            .collect();
        assert_eq!(faults, BTreeSet::from([Fault::Kill, Fault::Stop]));
    }
}
