//! One operation of a history: who asked for what, when, and what came of it.
//!
//! *Invariant*: the times of one history come from one monotonic clock, and an operation was under way at least from its
//! invocation and at most to its return.

/// An operation as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<Call, Reply> {
    /// The client that asked. The check does not need it; whoever reads a violation does.
    pub process: usize,
    pub call: Call,
    /// When it was sent, or earlier: nanoseconds since the history began.
    pub invoked_ns: u64,
    pub outcome: Outcome<Reply>,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<Reply> {
    /// It took effect, once, between its invocation and its return.
    Answered {
        reply: Reply,
        /// When the reply was received, or later.
        returned_ns: u64,
    },
    /// It took no effect and never will.
    Failed { returned_ns: u64 },
    /// It takes effect once at any time after its invocation, or never.
    Unknown,
}

impl<Call, Reply> Operation<Call, Reply> {
    /// The reply and when it came.
    pub fn answer(&self) -> Option<(&Reply, u64)> {
        match &self.outcome {
            Outcome::Answered { reply, returned_ns } => Some((reply, *returned_ns)),
            Outcome::Failed { .. } | Outcome::Unknown => None,
        }
    }
}
