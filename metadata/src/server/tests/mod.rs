//! The server over a real store, with chunkservers that are recorded.

mod backups;
mod bounds;
mod breakages;
mod cluster;
mod damage;
mod file_leases;
mod group;
mod housekeeping;
mod life;
mod requests;
mod support;
mod watch;
