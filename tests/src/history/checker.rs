//! The check of a whole history: partition by partition, within bounds of time and memory.
//!
//! *Invariant*: a violation of one partition is one of the whole, whatever the others say; a history is linearizable only if every
//! partition was proven to be.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::operation::Outcome;
use super::search::{Ending, Search};
use super::specification::{Recorded, Specification};

/// How much a check may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Memory for what the search of one partition remembers. What states keep on the heap is not counted.
    pub memory_bytes: usize,
    /// Time for the whole history.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            time: Duration::from_secs(60),
        }
    }
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order of the operations that explains every reply.
    Linearizable,
    /// There is none.
    Violated(Violation),
    /// The bounds were reached first. Names the partition and the bound.
    Undecided(String),
}

/// Where the longest attempt to order the operations of a partition ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub partition: String,
    /// Operations that found their place in that attempt.
    pub placed: usize,
    /// Those that need one.
    pub needed: usize,
    /// The last operations that found their place, in the attempt's order.
    pub before: Vec<String>,
    /// What the partition held after them.
    pub state: String,
    /// The operations one of which had to be next, and none of which could be answered like this.
    pub stuck: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { placed, needed, .. } = self;
        writeln!(
            formatter,
            "no order explains the replies of partition {}",
            self.partition
        )?;
        writeln!(
            formatter,
            "the longest attempt placed {placed} of {needed} operations, at last:"
        )?;
        for operation in &self.before {
            writeln!(formatter, "    {operation}")?;
        }
        writeln!(
            formatter,
            "the state was then {}, and none of these could be next:",
            self.state
        )?;
        for operation in &self.stuck {
            writeln!(formatter, "    {operation}")?;
        }
        Ok(())
    }
}

/// Judges a history.
///
/// # Panics
/// An operation returned before its invocation: such a history was not recorded by one monotonic clock.
pub fn check<S: Specification>(specification: &S, history: &[Recorded<S>], bounds: Bounds) -> Verdict {
    let mut partitions: BTreeMap<S::Partition, Vec<&Recorded<S>>> = BTreeMap::new();
    for operation in history {
        if matches!(operation.outcome, Outcome::Failed { .. }) {
            continue;
        }
        let partition = specification.partition(&operation.call);
        partitions.entry(partition).or_default().push(operation);
    }
    let deadline = Instant::now() + bounds.time;
    let mut undecided = None;
    for (partition, operations) in partitions {
        let search = Search::new(specification, operations, bounds.memory_bytes, deadline);
        match search.run() {
            Ending::Ordered => {}
            Ending::Stuck(violation) => {
                let partition = format!("{partition:?}");
                return Verdict::Violated(Violation { partition, ..violation });
            }
            Ending::Bounded(bound) => {
                undecided.get_or_insert_with(|| format!("partition {partition:?}: {bound}"));
            }
        }
    }
    undecided.map_or(Verdict::Linearizable, Verdict::Undecided)
}
