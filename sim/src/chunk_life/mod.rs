//! A chunk's life: written, committed, read, moved, repaired, released, deleted, forgotten, and restored from a backup.
//!
//! The model of cluster map, commit, garbage and moves, small enough that all of its states can be visited. Everything
//! happens one step at a time and in any order: clients stop half-way, leases run out at any moment, messages come late,
//! twice or never. What a step does is written where the code does it: `metadata` is the state machine, `client`, `device`
//! and `workers` are those who talk to it, `properties` is what must hold. A [`Weakening`] switches one rule off; the
//! checker must then find a run that goes wrong, which shows that the rule is needed and that the model would see it missing.
//!
//! What is left out, and why nothing is lost by it: Raft (the metadata service is one linearizable state; leaders change
//! between any two steps, and what workers remember may always be thrown away and gathered again), hashes and codes (a
//! shard is there or not), the log index of commands that free nothing (no rule asks for it), replies (a client that got
//! none goes on as it likes, which the model always allows), explicit placements (they lie outside of rows and so of moves).
//! Devices lose nothing here, and a client writes by the map of the present generation.
//!
//! Invariant: the model takes what the network and the clients may do too wide rather than too narrow.

mod client;
mod device;
mod metadata;
mod model;
mod network;
mod places;
mod properties;
pub mod scenario;
mod state;
mod workers;

pub use self::{
    model::{Action, ChunkLife},
    scenario::{Scenario, Weakening},
    state::State,
};
