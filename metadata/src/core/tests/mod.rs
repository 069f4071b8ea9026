//! Tests of the state machine over the in-memory view.

mod accounts;
mod buckets;
mod copies;
mod feed;
mod harness;
mod locks;
mod model;
mod namespace;
mod release;
mod repair;
mod sessions;
mod uploads;
