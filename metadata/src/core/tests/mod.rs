//! Tests of the state machine over the in-memory view.

mod files;
mod files_extents;
mod files_names;
mod files_orphans;
mod files_times;
mod harness;
mod model;
mod namespace;
mod release;
mod sessions;
mod uploads;
