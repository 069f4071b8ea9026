//! The metadata server: answers commands and queries, and does the group's housekeeping.
//!
//! ```text
//! write → proposer (queue, batches) → raft → store → reply
//! read  → barrier (shared)          → state at one snapshot → answer
//! beside them: snapshots; and where this member leads: sessions (leases), garbage, inventory, repair, probes
//! ```
//!
//! It must never answer once its member has stopped, and never delete on age or on a guess. Invariant: every queue is
//! bounded and every wait has a deadline.

mod barrier;
mod change;
mod checkpoints;
mod clock;
mod compare;
mod config;
mod deletion;
mod file_leases;
mod garbage;
mod health;
mod inventory;
mod keeper;
mod leader;
mod leases;
mod levels;
mod local;
mod members;
mod metrics;
mod places;
mod probe;
mod proposer;
mod quarantine;
mod recode_pass;
mod recodes;
mod repairs;
mod retries;
mod servers;
mod service;
mod sessions;
mod sources;
mod space;
mod status;
mod strays;
mod uploads;

pub use clock::{Clock, SystemClock};
pub use config::{InventorySchedule, MetadataConfig, Surroundings};
pub use metrics::Metrics;
pub use service::{CLIENT_KINDS, GROUP_KINDS, LEASE_KINDS, MetadataServer, StartError};

#[cfg(test)]
mod tests;
