//! One chunk's way: encode, hash, fan out to devices; ask, verify, decode on the way back.
//!
//! Used by the client and by repair. It knows chunks, shards and devices, and nothing of files or objects. Invariants: a
//! chunk is handed back for commit only after every shard of it is durable; no byte is returned that was not verified
//! against the committed chunk hash; chunk data is never cached here, and never copied where no decoding is needed.

mod budget;
mod buffer;
mod compute;
mod datapath;
mod encode;
mod fetch;
mod gather;
mod hedges;
mod metrics;
mod placement;
mod read;
mod read_memory;
mod read_plan;
mod rebuild;
mod recode;
mod suspects;
mod verify;
mod write;

pub use budget::ChunkBudget;
pub use buffer::{ChunkBuffer, SlowDown};
pub use datapath::{Datapath, Finding, MapSource};
pub use gather::ReadError;
pub use metrics::Metrics;
pub use placement::ChunkIds;
pub use read_memory::ReadShare;
pub use rebuild::WholeShard;
pub use recode::{RecodeError, Target};
pub use write::WriteError;
