//! The checker on histories known to be good or bad, against a check that tries everything, and at size.

mod brute;
mod lists;
mod machine;
mod property;
mod recording;
mod registers;
mod size;
mod trees;

use super::{Bounds, Operation, Outcome, Recorded, Specification, Verdict, check};

/// An answered operation of process 0.
fn answered<C, R>(from: u64, to: u64, call: C, reply: R) -> Operation<C, R> {
    let outcome = Outcome::Answered { reply, returned_ns: to };
    Operation {
        process: 0,
        call,
        invoked_ns: from,
        outcome,
    }
}

fn unknown<C, R>(from: u64, call: C) -> Operation<C, R> {
    Operation {
        process: 0,
        call,
        invoked_ns: from,
        outcome: Outcome::Unknown,
    }
}

fn failed<C, R>(from: u64, to: u64, call: C) -> Operation<C, R> {
    Operation {
        process: 0,
        call,
        invoked_ns: from,
        outcome: Outcome::Failed { returned_ns: to },
    }
}

/// Whether the checker finds an order. Small histories are never undecided.
fn is_linearizable<S: Specification>(specification: &S, history: &[Recorded<S>]) -> bool {
    match check(specification, history, Bounds::default()) {
        Verdict::Linearizable => true,
        Verdict::Violated(_) => false,
        Verdict::Undecided(bound) => panic!("undecided: {bound}"),
    }
}

/// Judges a table of histories.
fn judge<S: Specification>(specification: &S, cases: Vec<(&str, bool, Vec<Recorded<S>>)>) {
    for (name, expected, history) in cases {
        assert_eq!(
            is_linearizable(specification, &history),
            expected,
            "{name}: {history:?}"
        );
        let brute = brute::is_linearizable(specification, &history);
        assert_eq!(brute, expected, "{name}, by trying all orders: {history:?}");
    }
}
