//! What an operator does with a store: look into it, verify it, back it up and restore it.
//!
//! Nothing here takes part in serving. It must never change a store that it was asked to look at. Invariant: what is made
//! (a backup, a restored store) appears under its name only when it is whole and durable.

mod authority;
mod backup;
mod describe;
mod error;
mod inspect;
mod restore;
mod source;
mod verify;

pub use authority::authority_copy;
pub use backup::{About, BackupInfo, back_up, read_info};
pub use error::MaintenanceError;
pub use inspect::{FamilySummary, Filter, LOG, Line, LogSummary, Summary, inspect, summarize};
#[cfg(test)]
pub(crate) use restore::restore_at;
pub use restore::{Restored, restore};
pub use source::Source;
pub use verify::{Finding, Verified, fetch_live, verify};
