//! The definition, tried out: every order of every choice of unknown operations, without memory and without shortcuts.

use super::{Outcome, Recorded, Specification};

/// Whether some order in keeping with real time explains every reply. Takes factorial time.
pub(super) fn is_linearizable<S: Specification>(specification: &S, history: &[Recorded<S>]) -> bool {
    let mut partitions: Vec<S::Partition> = history
        .iter()
        .map(|operation| specification.partition(&operation.call))
        .collect();
    partitions.sort();
    partitions.dedup();
    partitions.iter().all(|partition| {
        let in_partition = |operation: &&Recorded<S>| specification.partition(&operation.call) == *partition;
        let took_part = |operation: &&Recorded<S>| !matches!(operation.outcome, Outcome::Failed { .. });
        let open: Vec<_> = history.iter().filter(in_partition).filter(took_part).collect();
        can_order(specification, &specification.initial(), &open)
    })
}

fn can_order<S: Specification>(specification: &S, state: &S::State, open: &[&Recorded<S>]) -> bool {
    let returns = open.iter().filter_map(|operation| operation.answer());
    let Some(first_return) = returns.map(|(_, returned_ns)| returned_ns).min() else {
        return true;
    };
    (0..open.len()).any(|index| {
        let operation = open[index];
        if operation.invoked_ns > first_return {
            return false;
        }
        let reply = operation.answer().map(|(reply, _)| reply);
        let Some(next) = specification.step(state, &operation.call, reply) else {
            return false;
        };
        let mut rest = open.to_vec();
        rest.remove(index);
        can_order(specification, &next, &rest)
    })
}
