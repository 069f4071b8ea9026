//! Raft around the store: openraft's traits over [`crate::store`], and the group's life.
//!
//! It must never decide what a command means ([`Machine`] does) nor touch files itself (the store does). Invariant: an entry
//! is acknowledged to Raft only after the log was synced, and applied in the order of the log, once.

mod applier;
mod core_machine;
mod frames;
mod group;
mod log_storage;
mod machine;
mod network;
mod node;
mod observer;
mod serve;
mod types;
mod wire;

pub(crate) use core_machine::CoreMachine;
pub(crate) use group::{ChangeError, MemberView};
pub(crate) use machine::Machine;
pub(crate) use network::Links;
pub(crate) use node::{Pending, ProposeError, RaftNode, RaftSettings, SnapshotPolicy};
pub use node::{RaftTiming, Start, StartError};
pub(crate) use observer::{AppliedEntry, Doing, HeldReply, Hold, Observer};
pub(crate) use wire::{GROUP, Identity};

#[cfg(test)]
pub(crate) mod tests;
