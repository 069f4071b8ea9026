//! One phase: slots that do operations, in a closed or an open loop, until time, count or the user ends it. Owns the threads;
//! prints only progress. Knows nothing of what the operations are: a [`Workload`] does.

mod patience;
mod phase;
mod slot;
mod supervise;
mod workload;

pub(crate) use phase::{PhasePlan, PhaseResult, Watch, run_phase};
pub(crate) use supervise::ServerCost;
pub(crate) use workload::{Worker, Workload};

#[cfg(test)]
mod tests;
