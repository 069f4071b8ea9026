//! Histories of concurrent operations and the check whether they are linearizable: whether one order of all operations,
//! in keeping with real time, explains every reply.
//!
//! `recorder` writes histories down; `checker` judges them against a `Specification`; `key`, `append` and `tree` are the
//! specifications of what the metadata service serves. Nothing here knows the service.
//!
//! *Invariant*: the checker is neither lenient nor guessing: "linearizable" and "violated" are proofs, and what its bounds
//! do not let it prove is "undecided".

mod append;
mod checker;
mod key;
mod operation;
mod recorder;
mod search;
mod specification;
mod taken;
mod tree;

#[cfg(test)]
mod tests;

pub use append::{AppendCall, AppendList, AppendReply};
pub use checker::{Bounds, Verdict, Violation, check};
pub use key::{Action, KeyCall, KeyReply, ObjectKeys, Tag};
pub use operation::{Operation, Outcome};
pub use recorder::{Invocation, Recorder};
pub use specification::{Recorded, Specification};
pub use tree::{DirectoryTree, Node, Refusal, RenameMode, TreeCall, TreeReply};
