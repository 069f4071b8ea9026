//! The server over a real store, with chunkservers that are recorded.

mod backups;
mod bounds;
mod damage;
mod housekeeping;
mod requests;
mod support;
