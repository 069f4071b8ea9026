//! The server over a real store, with chunkservers that are recorded.

mod bounds;
mod cluster;
mod group;
mod housekeeping;
mod requests;
mod support;
mod watch;
