//! The benchmark tool: closed-loop load on an S3 endpoint that checks what it reads and costs little itself.
//!
//! Owns the load, the content it writes and the figures it prints. It speaks HTTP over plain blocking sockets, one
//! thread and one connection per slot, so that on a machine shared with the server the figures are the server's. It
//! must never report a read as done whose bytes it was told to check and did not.
//!
//! Way of one run: `args` → `run` (bucket, phases, cleanup) → `phase` (slots in a closed loop) → `client` (one S3
//! request) → `connection` (one socket with deadlines); `measure` collects, `report` prints.

mod args;
mod cleanup;
mod client;
mod connection;
mod content;
mod endpoint;
mod error;
mod limits;
mod measure;
mod phase;
mod progress;
mod report;
mod request;
mod run;
mod sigv4;
mod stop;
mod transfer;
mod usage;

pub use args::{BenchArgs, ByteSize, Operation, SecretKey};
pub use run::{run, run_with};
pub use stop::Stop;
