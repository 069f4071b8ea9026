//! A chunk's life: written, committed, read, moved, lost, repaired, released, deleted, forgotten, and restored from a backup.
//!
//! The model of cluster map, commit, garbage, moves and lost devices, small enough that all of its states can be visited.
//! Everything happens one step at a time and in any order: clients stop half-way, leases run out at any moment, messages come
//! late, twice or never. What a step does is written where the code does it: `metadata` and `losses` are the state machine,
//! `client`, `device`, `workers` and `survey` those who talk to it, `properties` is what must hold. A [`Weakening`] switches one
//! rule off; the checker must then find a run that goes wrong, which shows that the rule is needed and that the model would see
//! it missing.
//!
//! What is left out, and why nothing is lost by it: Raft (the metadata service is one linearizable state; leaders change
//! between any two steps, and what workers remember may always be thrown away and gathered again), hashes (a shard is
//! there or not), the log index of commands that free nothing (no rule asks for it), replies (a client that got
//! none goes on as it likes, which the model always allows), explicit placements (they lie outside of rows and so of moves).
//! A single damaged shard is left out (it is reported like one that a survey misses), and so are codes: shards are copies, any of
//! which is enough to read and to make the others from. A client writes by the map of the present generation.
//!
//! Devices lose all they hold, one at a time: another one only after the state has said that everything is made again.
//!
//! Invariant: the model takes what the network and the clients may do too wide rather than too narrow.

mod client;
mod device;
mod losses;
mod metadata;
mod model;
mod network;
mod places;
mod properties;
pub mod scenario;
mod state;
mod survey;
mod weakening;
mod workers;

pub use self::{
    model::{Action, ChunkLife},
    scenario::Scenario,
    state::State,
    weakening::Weakening,
};
