//! A list that clients append to: every acknowledged append is in it exactly once, in an order that real time allows.
//!
//! *Invariant*: nothing leaves a list, so whoever reads it later has read all that was there before.

use std::sync::Arc;

use super::specification::Specification;

/// An operation on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendCall {
    /// Puts a value that nobody has put before at the end.
    Append { list: Arc<str>, value: u64 },
    /// Reads the list.
    Read { list: Arc<str> },
}

/// What a list's client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendReply {
    Appended,
    Values(Arc<[u64]>),
}

/// Lists by name.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendList;

impl Specification for AppendList {
    type Partition = Arc<str>;
    type Call = AppendCall;
    type Reply = AppendReply;
    type State = Arc<[u64]>;

    // Without a look at the reads to come the order of appends that overlap would be guessed until the next read.
    const LOOK_AHEAD: usize = 64;

    fn partition(&self, call: &AppendCall) -> Arc<str> {
        match call {
            AppendCall::Append { list, .. } | AppendCall::Read { list } => Arc::clone(list),
        }
    }

    fn initial(&self) -> Arc<[u64]> {
        Arc::default()
    }

    fn step(&self, state: &Arc<[u64]>, call: &AppendCall, reply: Option<&AppendReply>) -> Option<Arc<[u64]>> {
        match (call, reply) {
            (AppendCall::Append { value, .. }, None | Some(AppendReply::Appended)) => {
                Some(state.iter().copied().chain([*value]).collect())
            }
            (AppendCall::Read { .. }, Some(AppendReply::Values(values))) => {
                (values == state).then(|| Arc::clone(state))
            }
            (AppendCall::Read { .. }, None) => Some(Arc::clone(state)),
            (AppendCall::Append { .. }, Some(AppendReply::Values(_)))
            | (AppendCall::Read { .. }, Some(AppendReply::Appended)) => None,
        }
    }

    fn is_look(&self, call: &AppendCall, _: &AppendReply) -> bool {
        matches!(call, AppendCall::Read { .. })
    }

    fn is_out_of_reach(&self, state: &Arc<[u64]>, call: &AppendCall, reply: &AppendReply) -> bool {
        match (call, reply) {
            (AppendCall::Append { value, .. }, _) => state.contains(value),
            (AppendCall::Read { .. }, AppendReply::Values(values)) => !values.starts_with(state),
            (AppendCall::Read { .. }, AppendReply::Appended) => true,
        }
    }
}
