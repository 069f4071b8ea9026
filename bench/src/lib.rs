//! The benchmark tool: load on a store that checks what it reads and costs little itself.
//!
//! Owns the load, the content it writes and the figures it prints. It speaks HTTP over plain blocking sockets, one
//! thread and one connection per slot, so that on a machine shared with the server the figures are the server's. It
//! must never report a read as done whose bytes it was told to check and did not.
//!
//! Way of one run: `args` → `run` (prepare, phases, cleanup) → `engine` (slots, in a closed or an open loop) → a workload
//! (`objects`: which object, and what must be found there) → a target (`s3`, `native`); or a workload on the files of a mount (`files`);
//! `measure` collects, `report` prints.
//!
//! A new operation goes into `load/operation.rs` and `objects/worker.rs`, or as a function of a number into `files/`, where `each.rs`
//! makes a load of it; a new kind of store implements `target.rs`; another kind of load altogether implements
//! `engine/workload.rs`. Their phases stand in `run/`.

mod admin;
mod args;
mod command;
mod compare;
mod content;
mod engine;
mod failure;
mod files;
mod limits;
mod load;
mod measure;
mod native;
mod objects;
mod progress;
mod reading;
mod report;
mod run;
mod s3;
mod statistics;
mod stop;
mod suite;
mod target;
mod url;

pub use args::{
    BenchArgs, BenchCommand, CompareArgs, LoadArgs, OutputArgs, RunArgs, SecretKey, SuiteArgs, TargetArgs, WorkArgs,
};
pub use command::{run, run_with};
pub use load::{ByteSize, KeyOrder, Mix, Operation, Sizes};
pub use native::{NativeConnector, NativeTarget};
pub use stop::Stop;
