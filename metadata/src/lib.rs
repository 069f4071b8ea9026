//! The replicated namespace: a pure state machine, its store, Raft around it, and the server that answers for it.

pub mod core;
pub mod maintenance;
mod raft;
mod record;
mod server;
mod store;

pub use server::{InventorySchedule, MetadataConfig, MetadataServer, Metrics, StartError};
pub use store::{FetchError, Progress, StoreError};
