//! The server over a real store, with chunkservers that are recorded.

mod bounds;
mod housekeeping;
mod requests;
mod support;
