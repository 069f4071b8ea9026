//! Tests of the state machine over the in-memory view.

mod accounts;
mod buckets;
mod copies;
mod feed;
mod files;
mod files_extents;
mod files_names;
mod files_orphans;
mod files_reserved;
mod files_times;
mod harness;
mod locks;
mod model;
mod namespace;
mod recode;
mod release;
mod repair;
mod sessions;
mod uploads;
