//! Histories of real size are judged within seconds, and bounds are kept where they are not.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Action, AppendList, KeyCall, KeyReply, ObjectKeys, Operation, Outcome, Tag};
use super::machine::{Machine, Shape, execution};
use super::{Bounds, Recorded, Verdict, answered, check};
use crate::content::Sequence;

const LARGE: Shape = Shape {
    operations: 10_000,
    clients: 16,
    partitions: 64,
    unknown_percent: 2,
};

const CONTENDED: Shape = Shape {
    operations: 3_000,
    clients: 8,
    partitions: 1,
    unknown_percent: 2,
};

/// Bounds far below the default: a search that grows beyond its need is a defect.
const BOUNDS: Bounds = Bounds {
    memory_bytes: 64 << 20,
    time: Duration::from_secs(20),
};

fn judge<M: Machine>(shape: Shape, seed: u64) {
    let history = execution::<M>(&mut Sequence::new(seed), shape);
    assert_eq!(
        check(&M::default(), &history, BOUNDS),
        Verdict::Linearizable,
        "seed {seed}"
    );
}

#[test]
fn many_keys() {
    judge::<ObjectKeys>(LARGE, 1);
    judge::<AppendList>(LARGE, 2);
}

#[test]
fn one_contended_key() {
    for seed in 0..2 {
        judge::<ObjectKeys>(CONTENDED, seed);
    }
    let half_lost = Shape {
        operations: 1_000,
        unknown_percent: 50,
        ..CONTENDED
    };
    judge::<ObjectKeys>(half_lost, 9);
}

/// Some read of the second half is told a value from long ago.
fn make_stale(history: &mut [Recorded<ObjectKeys>]) {
    let is_read =
        |operation: &Recorded<ObjectKeys>| operation.call.action == Action::Get && operation.answer().is_some();
    let half = history.len() / 2;
    let at = (half..history.len())
        .find(|index| is_read(&history[*index]))
        .expect("a read");
    let key = Arc::clone(&history[at].call.key);
    let old = history.iter().find_map(|operation| match operation.call.action {
        Action::Put(tag) if operation.call.key == key && operation.answer().is_some() => Some(tag),
        _ => None,
    });
    assert!(old.is_some(), "an early write of {key}");
    if let Outcome::Answered { reply, .. } = &mut history[at].outcome {
        *reply = KeyReply::Found(old);
    }
}

#[test]
fn one_stale_read_among_thousands_is_found() {
    for shape in [LARGE, CONTENDED] {
        let mut history = execution::<ObjectKeys>(&mut Sequence::new(3), shape);
        make_stale(&mut history);
        let verdict = check(&ObjectKeys, &history, BOUNDS);
        assert!(matches!(verdict, Verdict::Violated(_)), "{shape:?}: {verdict:?}");
    }
}

/// Writes that all overlap, and a read of what none has written: every subset of them is a configuration.
fn hopeless(writes: u64) -> Vec<Operation<KeyCall, KeyReply>> {
    let call = |action| KeyCall {
        key: Arc::from("k"),
        action,
    };
    let put = |number: u64| answered(0, 100, call(Action::Put(Tag(number.into()))), KeyReply::Done);
    let mut history: Vec<_> = (0..writes).map(put).collect();
    history.push(answered(
        0,
        100,
        call(Action::Get),
        KeyReply::Found(Some(Tag(u128::MAX))),
    ));
    history
}

#[test]
fn what_the_bounds_do_not_allow_is_undecided() {
    let history = hopeless(30);
    let undecided = |memory_bytes, time, word: &str| {
        let verdict = check(&ObjectKeys, &history, Bounds { memory_bytes, time });
        let Verdict::Undecided(bound) = &verdict else {
            panic!("{verdict:?}");
        };
        assert!(bound.contains(word) && bound.contains("\"k\""), "{bound}");
    };
    undecided(1 << 20, Duration::from_secs(60), "memory");
    undecided(usize::MAX, Duration::ZERO, "time");
}

#[test]
fn a_violation_counts_more_than_what_is_undecided() {
    let mut history = hopeless(30);
    let other = KeyCall {
        key: Arc::from("z"),
        action: Action::Get,
    };
    history.push(answered(0, 1, other, KeyReply::Found(Some(Tag(1)))));
    let verdict = check(
        &ObjectKeys,
        &history,
        Bounds {
            memory_bytes: 1 << 20,
            ..BOUNDS
        },
    );
    let Verdict::Violated(violation) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(violation.partition, "\"z\"");
}
