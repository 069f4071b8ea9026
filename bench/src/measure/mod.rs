//! What is counted during a phase: per slot without sharing, then added up. Reads no clock and prints nothing.

mod series;
mod tally;
mod usage;

pub(crate) use series::Second;
pub(crate) use tally::{Errors, SlotTally, Tally};
pub(crate) use usage::{ServerUsage, Servers, process_cpu, thread_cpu};
