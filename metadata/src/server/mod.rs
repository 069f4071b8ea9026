//! The metadata server: answers commands and queries, and does the group's housekeeping.
//!
//! ```text
//! write → proposer (queue, batches) → raft → store → reply
//! read  → barrier (shared)          → state at one snapshot → answer
//! beside them: sessions (leases), garbage, inventory, snapshots
//! ```
//!
//! It must never answer once its member has stopped, and never delete on age or on a guess. Invariant: every queue is
//! bounded and every wait has a deadline.

mod barrier;
mod checkpoints;
mod config;
mod deletion;
mod garbage;
mod health;
mod inventory;
mod leases;
mod metrics;
mod proposer;
mod service;
mod sessions;
mod space;

pub use config::{InventorySchedule, MetadataConfig};
pub use metrics::Metrics;
pub use service::{MetadataServer, StartError};

#[cfg(test)]
mod tests;
