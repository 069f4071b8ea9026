//! The replicated namespace: a pure state machine, its store, Raft around it, and the server that answers for it.

pub mod core;
pub mod maintenance;
mod raft;
mod record;
mod server;
mod store;

pub use raft::{RaftTiming, Start};
pub use server::{
    CLIENT_KINDS, Clock, GROUP_KINDS, InventorySchedule, LEASE_KINDS, MetadataConfig, MetadataServer, Metrics,
    StartError, Surroundings, SystemClock,
};
pub use store::{FetchError, Progress, StoreError};
