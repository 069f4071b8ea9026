//! Histories of lists: each acknowledged value exactly once, in an order that real time allows.

use std::sync::Arc;

use super::super::{AppendCall, AppendList, AppendReply, Operation};
use super::{answered, judge, unknown};

type Recorded = Operation<AppendCall, AppendReply>;

fn call(value: u64) -> AppendCall {
    let list = Arc::from("list");
    AppendCall::Append { list, value }
}

fn append(from: u64, to: u64, value: u64) -> Recorded {
    answered(from, to, call(value), AppendReply::Appended)
}

fn read(from: u64, to: u64, values: &[u64]) -> Recorded {
    let list = Arc::from("list");
    answered(from, to, AppendCall::Read { list }, AppendReply::Values(values.into()))
}

#[test]
fn appends() {
    let one_then_two = |rest: Recorded| vec![append(0, 1, 1), append(2, 3, 2), rest];
    let with_unknown = |rest: Vec<Recorded>| [vec![append(0, 1, 1), unknown(0, call(9))], rest].concat();
    let cases = vec![
        ("one after the other", true, one_then_two(read(4, 5, &[1, 2]))),
        ("an acknowledged one is missing", false, one_then_two(read(4, 5, &[2]))),
        ("the last one is missing", false, one_then_two(read(4, 5, &[1]))),
        ("one is there twice", false, one_then_two(read(4, 5, &[1, 1, 2]))),
        ("an order against real time", false, one_then_two(read(4, 5, &[2, 1]))),
        ("a value of nobody", false, one_then_two(read(4, 5, &[1, 2, 3]))),
        (
            "at once, in either order",
            true,
            vec![append(0, 3, 1), append(2, 3, 2), read(4, 5, &[2, 1])],
        ),
        (
            "readers disagree on the order",
            false,
            vec![
                append(0, 9, 1),
                append(0, 9, 2),
                read(1, 8, &[1, 2]),
                read(1, 8, &[2, 1]),
            ],
        ),
        (
            "what was read is lost later",
            false,
            with_unknown(vec![read(2, 3, &[1, 9]), append(4, 5, 2), read(6, 7, &[1, 2])]),
        ),
        (
            "one of unknown outcome is there",
            true,
            with_unknown(vec![append(2, 3, 2), read(4, 5, &[1, 9, 2])]),
        ),
        (
            "one of unknown outcome is not there",
            true,
            with_unknown(vec![append(2, 3, 2), read(4, 5, &[1, 2])]),
        ),
        (
            "it is there twice",
            false,
            with_unknown(vec![append(2, 3, 2), read(4, 5, &[1, 9, 2, 9])]),
        ),
        (
            "it comes late",
            true,
            with_unknown(vec![append(2, 3, 2), read(4, 5, &[1, 2]), read(6, 7, &[1, 2, 9])]),
        ),
        (
            "of two unknown ones the later was first",
            true,
            vec![
                unknown(0, call(8)),
                unknown(1, call(9)),
                append(2, 3, 2),
                read(4, 5, &[9, 8, 2]),
            ],
        ),
    ];
    judge(&AppendList, cases);
}
