//! What every part of Cairn agrees on: identifiers, units, limits, the cluster map and its planner, erasure coding,
//! checksums, and the shapes of messages.
//!
//! Invariant: this crate is pure. It reads no clock, draws no randomness, and touches no disk, socket or runtime.

pub mod acl;
pub mod aligned;
pub mod checksum;
pub mod cluster_map;
pub mod envelope;
pub mod erasure;
pub mod ids;
pub mod limits;
pub mod name;
pub mod planner;
pub mod redundancy;
pub mod wire;
