//! The harness of the integration suites: servers as real processes, real S3 clients, and a raw client that can
//! misbehave. The suites are in `tests/tests/`, one file each.
//!
//! Invariants: every test has its own server, folder and ports; nothing waits without a bound; what a test started is
//! ended with it.

pub mod access_keys;
pub mod chaos;
pub mod chunked;
pub mod chunkserver;
pub mod clients;
pub mod content;
pub mod daemon;
pub mod dev_cluster;
pub mod history;
pub mod http;
pub mod isolation;
pub mod load;
pub mod machines;
pub mod metadata_group;
pub mod mount;
pub mod place;
pub mod process;
pub mod s3;
pub mod server;
pub mod shards;
pub mod sigv4;
pub mod wait;
