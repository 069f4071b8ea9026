//! Executions to check: specifications that also give replies, and clients of them that overlap in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{
    Action, AppendCall, AppendList, AppendReply, DirectoryTree, KeyCall, ObjectKeys, Operation, Outcome, Recorded,
    RenameMode, Specification, Tag, TreeCall,
};
use crate::content::Sequence;

/// A specification that can be run.
pub(super) trait Machine: Specification + Default {
    fn run(state: &mut Self::State, call: &Self::Call) -> Self::Reply;

    /// The call of operation `number`.
    fn call(sequence: &mut Sequence, number: u64, partitions: u64) -> Self::Call;

    /// Another reply than `reply`, of the same form. Values are those of operations below `count`.
    fn other(sequence: &mut Sequence, reply: &Self::Reply, count: u64) -> Self::Reply;
}

/// How an execution looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) operations: u64,
    pub(super) clients: u64,
    pub(super) partitions: u64,
    /// Of a hundred operations, those of unknown outcome.
    pub(super) unknown_percent: u64,
}

/// What `Shape` describes, each operation done at one moment between its call and its return: always linearizable.
pub(super) fn execution<M: Machine>(sequence: &mut Sequence, shape: Shape) -> Vec<Recorded<M>> {
    let machine = M::default();
    // (moment, call, return) of each operation; a client begins the next once it has the last reply.
    let mut spans: Vec<(u64, u64, u64)> = Vec::new();
    let mut free = vec![0; usize::try_from(shape.clients).expect("clients fit")];
    for number in 0..shape.operations {
        let client = usize::try_from(number % shape.clients).expect("clients fit");
        let from = free[client] + 1 + sequence.below(10);
        let to = from + sequence.below(100);
        spans.push((from + sequence.below(to - from + 1), from, to));
        free[client] = to;
    }
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|index| spans[*index].0);
    let mut states: BTreeMap<M::Partition, M::State> = BTreeMap::new();
    let mut history: Vec<Option<Recorded<M>>> = vec![None; spans.len()];
    for index in order {
        let (_, invoked_ns, returned_ns) = spans[index];
        let call = M::call(sequence, index as u64, shape.partitions);
        let state = states
            .entry(machine.partition(&call))
            .or_insert_with(|| machine.initial());
        let is_unknown = sequence.below(100) < shape.unknown_percent;
        let outcome = match sequence.below(3) {
            // It never arrived: its client learned so, or did not.
            0 if is_unknown => Outcome::Unknown,
            1 if is_unknown => Outcome::Failed { returned_ns },
            _ => {
                let reply = M::run(state, &call);
                if is_unknown {
                    Outcome::Unknown
                } else {
                    Outcome::Answered { reply, returned_ns }
                }
            }
        };
        history[index] = Some(Operation {
            process: index % free.len(),
            call,
            invoked_ns,
            outcome,
        });
    }
    history.into_iter().flatten().collect()
}

/// Gives one answered operation another reply; `false` where none was answered.
pub(super) fn falsify<M: Machine>(sequence: &mut Sequence, history: &mut [Recorded<M>]) -> bool {
    let count = history.len() as u64;
    let answered: Vec<usize> = (0..history.len())
        .filter(|index| history[*index].answer().is_some())
        .collect();
    if answered.is_empty() {
        return false;
    }
    let chosen = *sequence.pick(&answered);
    if let Outcome::Answered { reply, .. } = &mut history[chosen].outcome {
        *reply = M::other(sequence, reply, count);
    }
    true
}

impl Machine for ObjectKeys {
    fn run(state: &mut Self::State, call: &Self::Call) -> Self::Reply {
        let (next, reply) = call.action.apply(*state);
        *state = next;
        reply
    }

    fn call(sequence: &mut Sequence, number: u64, partitions: u64) -> KeyCall {
        let tag = Tag(number.into());
        // Expected values are near ones, so that many conditions hold.
        let expected = Tag(number.saturating_sub(sequence.below(3 * partitions)).into());
        let action = match sequence.below(12) {
            0..4 => Action::Get,
            4..7 => Action::Put(tag),
            7 => Action::PutIfAbsent(tag),
            8..10 => Action::CompareAndSwap { expected, tag },
            10 => Action::Delete,
            _ => Action::CompareAndDelete { expected },
        };
        let key = Arc::from(sequence.below(partitions).to_string());
        KeyCall { key, action }
    }

    fn other(sequence: &mut Sequence, reply: &Self::Reply, count: u64) -> Self::Reply {
        use super::super::KeyReply::{Absent, Done, Found, Mismatch};
        match *reply {
            Found(old) => {
                let choices = (0..count).map(|number| Some(Tag(number.into()))).chain([None]);
                let choices: Vec<_> = choices.filter(|tag| *tag != old).collect();
                Found(*sequence.pick(&choices))
            }
            Done => *sequence.pick(&[Absent, Mismatch]),
            Mismatch => *sequence.pick(&[Absent, Done]),
            Absent => *sequence.pick(&[Mismatch, Done]),
        }
    }
}

impl Machine for AppendList {
    fn run(state: &mut Self::State, call: &AppendCall) -> AppendReply {
        match call {
            AppendCall::Append { value, .. } => {
                *state = state.iter().copied().chain([*value]).collect();
                AppendReply::Appended
            }
            AppendCall::Read { .. } => AppendReply::Values(Arc::clone(state)),
        }
    }

    fn call(sequence: &mut Sequence, value: u64, partitions: u64) -> AppendCall {
        let list = Arc::from(sequence.below(partitions).to_string());
        if sequence.below(3) == 0 {
            AppendCall::Read { list }
        } else {
            AppendCall::Append { list, value }
        }
    }

    fn other(sequence: &mut Sequence, reply: &AppendReply, count: u64) -> AppendReply {
        let AppendReply::Values(values) = reply else {
            return AppendReply::Values(Arc::default());
        };
        let mut values = values.to_vec();
        let place = usize::try_from(sequence.below(values.len() as u64 + 1)).expect("an index fits");
        // One value is missing, moved or too many.
        if values.is_empty() || sequence.below(2) == 0 {
            values.insert(place, sequence.below(count));
        } else {
            let taken = values.remove(place.min(values.len() - 1));
            if sequence.below(2) == 0 {
                values.insert(0, taken);
            }
        }
        AppendReply::Values(values.into())
    }
}

impl Machine for DirectoryTree {
    fn run(state: &mut Self::State, call: &TreeCall) -> Self::Reply {
        call.apply(state)
    }

    fn call(sequence: &mut Sequence, file: u64, _: u64) -> TreeCall {
        let path = |sequence: &mut Sequence| (*sequence.pick(&["a", "b", "a/c", "b/c", "a/b", "b/a/c"])).to_owned();
        let first = path(sequence);
        match sequence.below(10) {
            0 | 1 => TreeCall::Create { path: first, file },
            2 => TreeCall::MakeDirectory { path: first },
            3 => TreeCall::Unlink { path: first },
            4 => TreeCall::RemoveDirectory { path: first },
            5..8 => {
                let mode = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange];
                let (to, mode) = (path(sequence), *sequence.pick(&mode));
                TreeCall::Rename { from: first, to, mode }
            }
            8 => TreeCall::Lookup { path: first },
            _ => TreeCall::List { path: String::new() },
        }
    }

    fn other(sequence: &mut Sequence, reply: &Self::Reply, count: u64) -> Self::Reply {
        use super::super::{Node, Refusal, TreeReply};
        let mut choices = vec![
            TreeReply::Done,
            TreeReply::Found(Node::Directory),
            TreeReply::Found(Node::File(sequence.below(count))),
            TreeReply::Names(vec!["a".to_owned()]),
            TreeReply::Names(vec!["b".to_owned()]),
            TreeReply::Refused(Refusal::NotFound),
            TreeReply::Refused(Refusal::Exists),
        ];
        choices.retain(|choice| choice != reply);
        sequence.pick(&choices).clone()
    }
}
