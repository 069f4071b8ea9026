//! The pure state machine: (state, command) to (writes, reply), and (state, query) to answer.
//!
//! Invariant: nothing here is async, reads a clock, draws randomness or touches a disk; every replica that applies the same
//! entries to the same state makes the same writes.

mod account;
mod apply;
mod authority;
mod bucket;
pub(crate) mod by_family;
mod chunk;
mod copy;
mod extents;
mod feature;
mod feed;
mod file;
mod former_rows;
mod hold;
mod inventory;
mod links;
mod list;
mod lock;
mod loss;
mod map;
mod object;
mod open_records;
mod path;
mod permit;
mod plan;
mod query;
mod recode;
mod release;
mod repair;
mod replies;
mod segments;
mod server;
mod session;
mod tx;
mod upload;
mod usage;
pub mod view;

#[cfg(test)]
mod tests;

pub use apply::{Applied, Touched, apply};
pub(crate) use extents::live as live_extent;
pub use feature::{feature_level, refused_at, required_level};
pub use inventory::{Expected, ShardId, Verdict, expected, judge};
pub(crate) use path::{Entry, is_shown};
pub use query::answer;
pub use release::{DeletableChunk, deletable_chunks, release_pending};
pub(crate) use repair::priority as repair_priority;
pub use server::refused_devices;
pub(crate) use session::{GENERATION_MAX, parts_of as session_parts};
pub use session::{live_sessions, mount_sessions};
pub use upload::buckets_to_expire;
