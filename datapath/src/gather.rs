//! Gathering enough shards: the same blocks from any `needed` of the candidates, the likeliest first, more when some fail or
//! are late.
//!
//! Invariant: it ends with enough verified shards or after every candidate was asked, so an error means that the chunk
//! cannot be read now, never that one device was slow.

use std::collections::{BTreeMap, VecDeque};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::sleep;

use crate::{
    datapath::Datapath,
    fetch::Fault,
    read_plan::{Blocks, ChunkView, PlanError},
    verify::Verified,
};

/// Why a range of a chunk could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Too few shards can be had: the data is unreadable now, and may come back with its devices.
    #[error("{present} shards are present, {needed} are needed: the data cannot be read now")]
    TooFewShards {
        /// Shards that can be had, damaged ones included.
        present: usize,
        /// Shards needed.
        needed: usize,
    },
    /// Enough shards are present, but too few that are undamaged. A person should look.
    #[error("only {good} of {present} present shards are undamaged, {needed} are needed")]
    Corrupt {
        /// Shards that can be had and are what was committed.
        good: usize,
        /// Shards that can be had.
        present: usize,
        /// Shards needed.
        needed: usize,
    },
    /// The map does not say where the chunk lies: fetch the map again.
    #[error("the cluster map has no row for the chunk")]
    NoRow,
    /// The chunk's record or the range is not a possible one: a bug. Give up.
    #[error("the chunk cannot be read as asked: {0}")]
    Malformed(&'static str),
}

/// What failed so far, by shard.
pub(crate) type Faults = BTreeMap<usize, Fault>;

/// What a gathering starts from.
pub(crate) struct Gathering {
    /// The blocks wanted, the same of every shard.
    pub(crate) blocks: Blocks,
    /// Shards needed.
    pub(crate) needed: usize,
    /// Shards at hand.
    pub(crate) good: Vec<(usize, Verified)>,
    /// Shards to ask for, in this order.
    pub(crate) candidates: VecDeque<usize>,
    /// Shards that failed already.
    pub(crate) faults: Faults,
}

impl Datapath {
    /// Completes `gathering`.
    pub(crate) async fn gather(
        &self,
        view: &ChunkView,
        gathering: Gathering,
    ) -> Result<(Vec<(usize, Verified)>, Faults), ReadError> {
        let Gathering {
            blocks,
            needed,
            mut good,
            mut candidates,
            mut faults,
        } = gathering;
        let ask = async |index| (index, self.fetch(view, index, blocks).await);
        let (mut running, mut asked) = (FuturesUnordered::new(), Vec::new());
        loop {
            while good.len() + running.len() < needed
                && let Some(index) = candidates.pop_front()
            {
                asked.push(index);
                running.push(ask(index));
            }
            if good.len() >= needed {
                return Ok((good, faults));
            }
            tokio::select! {
                next = running.next() => match next {
                    Some((index, Ok(verified))) => good.push((index, verified)),
                    Some((index, Err(fault))) => _ = faults.insert(index, fault),
                    None => return Err(unreadable(view, needed, &faults)),
                },
                () = sleep(self.late_after()), if !candidates.is_empty() => {
                    let more = (needed - good.len()).min(candidates.len());
                    let is_late = |index: &usize| {
                        !faults.contains_key(index) && !good.iter().any(|(answered, _)| answered == index)
                    };
                    let late: Vec<usize> = asked.iter().copied().filter(is_late).collect();
                    if self.may_hedge(view, &late, more) {
                        for index in candidates.drain(..more) {
                            asked.push(index);
                            running.push(ask(index));
                        }
                    }
                }
            }
        }
    }
}

/// The error after all candidates were asked.
fn unreadable(view: &ChunkView, needed: usize, faults: &Faults) -> ReadError {
    let good = view.redundancy.width() - faults.len();
    let damaged = faults.values().filter(|fault| **fault == Fault::Damaged).count();
    let present = good + damaged;
    if present >= needed {
        return ReadError::Corrupt { good, present, needed };
    }
    ReadError::TooFewShards { present, needed }
}

impl From<PlanError> for ReadError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Malformed(reason) => Self::Malformed(reason),
            PlanError::NoRow => Self::NoRow,
        }
    }
}
