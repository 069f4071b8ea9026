//! Histories of an S3 key: each named after the fault or the excuse that it shows.

use std::sync::Arc;

use super::super::{Action, KeyCall, KeyReply, ObjectKeys, Operation, Tag};
use super::{answered, failed, judge, unknown};

type Recorded = Operation<KeyCall, KeyReply>;

const A: Tag = Tag(0xa);
const B: Tag = Tag(0xb);
const C: Tag = Tag(0xc);

fn on(key: &str, action: Action) -> KeyCall {
    let key = Arc::from(key);
    KeyCall { key, action }
}

fn done(from: u64, to: u64, action: Action) -> Recorded {
    answered(from, to, on("k", action), KeyReply::Done)
}

fn mismatch(from: u64, to: u64, action: Action) -> Recorded {
    answered(from, to, on("k", action), KeyReply::Mismatch)
}

fn absent(from: u64, to: u64, action: Action) -> Recorded {
    answered(from, to, on("k", action), KeyReply::Absent)
}

fn put(from: u64, to: u64, tag: Tag) -> Recorded {
    done(from, to, Action::Put(tag))
}

fn swap(expected: Tag, tag: Tag) -> Action {
    Action::CompareAndSwap { expected, tag }
}

fn found(from: u64, to: u64, tag: impl Into<Option<Tag>>) -> Recorded {
    answered(from, to, on("k", Action::Get), KeyReply::Found(tag.into()))
}

fn lost(from: u64, action: Action) -> Recorded {
    unknown(from, on("k", action))
}

#[test]
fn reads_and_writes() {
    let cases = vec![
        ("nothing happened", true, vec![]),
        ("an empty key reads as empty", true, vec![found(0, 1, None)]),
        ("a value out of nowhere", false, vec![found(0, 1, A)]),
        ("read your write", true, vec![put(0, 1, A), found(2, 3, A)]),
        ("stale read", false, vec![put(0, 1, A), put(2, 3, B), found(4, 5, A)]),
        (
            "stale read of the empty key",
            false,
            vec![put(0, 1, A), found(2, 3, None)],
        ),
        (
            "a read beside a write sees the old",
            true,
            vec![put(0, 1, A), put(2, 9, B), found(3, 4, A)],
        ),
        (
            "a read beside a write sees the new",
            true,
            vec![put(0, 1, A), put(2, 9, B), found(3, 4, B)],
        ),
        (
            "reads reordered: new, then old",
            false,
            vec![put(0, 1, A), put(2, 9, B), found(3, 4, B), found(5, 6, A)],
        ),
        (
            "two reads at once see new and old",
            true,
            vec![put(0, 1, A), put(2, 9, B), found(3, 6, B), found(4, 6, A)],
        ),
        (
            "lost update",
            false,
            vec![put(0, 1, A), put(2, 3, B), put(4, 5, C), found(6, 7, B)],
        ),
        (
            "two readers disagree on the order of two writes",
            false,
            vec![
                put(0, 9, A),
                put(0, 9, B),
                found(1, 2, A),
                found(3, 4, B),
                found(5, 6, A),
            ],
        ),
        (
            "read of an uncommitted value that is lost later",
            false,
            vec![put(0, 1, A), lost(2, Action::Put(B)), found(3, 4, B), found(5, 6, A)],
        ),
        (
            "a return and a call at one time overlap",
            true,
            vec![put(0, 2, A), found(2, 3, None)],
        ),
        (
            "keys do not see each other",
            false,
            vec![
                answered(0, 1, on("other", Action::Put(A)), KeyReply::Done),
                found(2, 3, A),
            ],
        ),
    ];
    judge(&ObjectKeys, cases);
}

#[test]
fn applied_twice() {
    let delete = Action::Delete;
    let cases = vec![
        (
            "a write applied again",
            false,
            vec![put(0, 1, A), put(2, 3, B), found(4, 5, B), found(6, 7, A)],
        ),
        (
            "a delete applied again",
            false,
            vec![put(0, 1, A), done(2, 3, delete), put(4, 5, B), found(6, 7, None)],
        ),
        (
            "a write of unknown outcome applied again",
            false,
            vec![lost(0, Action::Put(A)), found(1, 2, A), put(3, 4, B), found(5, 6, A)],
        ),
        (
            "a swap acknowledged to two",
            false,
            vec![put(0, 1, A), done(2, 9, swap(A, B)), done(2, 9, swap(A, C))],
        ),
        (
            "a creation acknowledged to two",
            false,
            vec![done(0, 9, Action::PutIfAbsent(A)), done(0, 9, Action::PutIfAbsent(B))],
        ),
    ];
    judge(&ObjectKeys, cases);
}

#[test]
fn conditions() {
    let create = Action::PutIfAbsent;
    let remove = |expected| Action::CompareAndDelete { expected };
    let cases = vec![
        (
            "create, then refuse",
            true,
            vec![done(0, 1, create(A)), mismatch(2, 3, create(B))],
        ),
        ("refused without reason", false, vec![mismatch(0, 1, create(B))]),
        ("created over a value", false, vec![put(0, 1, A), done(2, 3, create(B))]),
        ("swap", true, vec![put(0, 1, A), done(2, 3, swap(A, B)), found(4, 5, B)]),
        (
            "swap of another value",
            false,
            vec![put(0, 1, A), done(2, 3, swap(B, C))],
        ),
        (
            "swap refused though the value is there",
            false,
            vec![put(0, 1, A), mismatch(2, 3, swap(A, B))],
        ),
        ("swap of nothing", true, vec![absent(0, 1, swap(A, B))]),
        (
            "absent though it is there",
            false,
            vec![put(0, 1, B), absent(2, 3, swap(A, C))],
        ),
        (
            "conditional delete",
            true,
            vec![put(0, 1, A), done(2, 3, remove(A)), found(4, 5, None)],
        ),
        (
            "conditional delete of another",
            true,
            vec![put(0, 1, A), mismatch(2, 3, remove(B)), found(4, 5, A)],
        ),
        (
            "conditional delete that deleted nothing",
            false,
            vec![put(0, 1, A), done(2, 3, remove(A)), found(4, 5, A)],
        ),
    ];
    judge(&ObjectKeys, cases);
}

#[test]
fn conditions_at_once() {
    let create = Action::PutIfAbsent;
    let cases = vec![
        (
            "of two swaps one is refused",
            true,
            vec![
                put(0, 1, A),
                done(2, 9, swap(A, B)),
                mismatch(2, 9, swap(A, C)),
                found(10, 11, B),
            ],
        ),
        (
            "a refused swap took effect",
            false,
            vec![put(0, 1, A), mismatch(2, 3, swap(B, C)), found(4, 5, C)],
        ),
        (
            "a chain of swaps, told in no order",
            true,
            vec![
                done(0, 9, swap(B, C)),
                done(0, 9, swap(A, B)),
                done(0, 9, create(A)),
                found(10, 11, C),
            ],
        ),
    ];
    judge(&ObjectKeys, cases);
}

#[test]
fn unknown_outcomes() {
    let lost_put = |from, tag| lost(from, Action::Put(tag));
    let cases = vec![
        ("it took effect", true, vec![lost_put(0, A), found(5, 6, A)]),
        ("it never did", true, vec![lost_put(0, A), found(5, 6, None)]),
        (
            "it took effect late",
            true,
            vec![lost_put(0, A), found(1, 2, None), found(3, 4, A)],
        ),
        (
            "it cannot be undone",
            false,
            vec![lost_put(0, A), found(1, 2, A), found(3, 4, None)],
        ),
        ("not before it was sent", false, vec![found(0, 1, A), lost_put(2, A)]),
        (
            "late, over an acknowledged write",
            true,
            vec![lost_put(0, A), put(1, 2, B), found(3, 4, B), found(5, 6, A)],
        ),
        (
            "two of them, in either order",
            true,
            vec![lost_put(0, A), lost_put(0, B), found(1, 2, B), found(3, 4, A)],
        ),
        (
            "but each only once",
            false,
            vec![
                lost_put(0, A),
                lost_put(0, B),
                found(1, 2, B),
                found(3, 4, A),
                found(5, 6, B),
            ],
        ),
    ];
    judge(&ObjectKeys, cases);
}

#[test]
fn unknown_outcomes_and_conditions() {
    let lost_put = |from, tag| lost(from, Action::Put(tag));
    let cases = vec![
        (
            "a lost delete explains an empty key",
            true,
            vec![put(0, 1, A), lost(2, Action::Delete), found(3, 4, A), found(5, 6, None)],
        ),
        (
            "a lost swap explains a refusal",
            true,
            vec![
                put(0, 1, A),
                lost(2, swap(A, B)),
                mismatch(3, 4, swap(A, C)),
                found(5, 6, B),
            ],
        ),
        (
            "the lost swap did not happen, so nothing explains the refusal",
            false,
            vec![
                put(0, 1, A),
                lost(2, swap(A, B)),
                mismatch(3, 4, swap(A, C)),
                found(5, 6, A),
            ],
        ),
        (
            "a chain through lost swaps",
            true,
            vec![put(0, 1, A), lost(2, swap(B, C)), lost(3, swap(A, B)), found(4, 5, C)],
        ),
        (
            "two lost writes between two refusals",
            true,
            vec![
                lost_put(0, A),
                lost(0, Action::Delete),
                mismatch(1, 2, Action::PutIfAbsent(B)),
                absent(3, 4, swap(A, B)),
            ],
        ),
        (
            "what failed for certain",
            true,
            vec![failed(0, 1, on("k", Action::Put(A))), found(2, 3, None)],
        ),
        (
            "and happened all the same",
            false,
            vec![failed(0, 1, on("k", Action::Put(A))), found(2, 3, A)],
        ),
        (
            "a read without an answer",
            true,
            vec![lost(0, Action::Get), put(1, 2, A)],
        ),
    ];
    judge(&ObjectKeys, cases);
}

#[test]
fn unknown_outcomes_happen_once() {
    let lost_put = |from, tag| lost(from, Action::Put(tag));
    let cases = vec![
        (
            "one lost write explains the refusal, so the other can explain the read of A",
            true,
            vec![
                lost_put(0, A),
                lost_put(0, B),
                mismatch(1, 2, Action::PutIfAbsent(C)),
                done(3, 4, Action::Delete),
                found(5, 6, A),
            ],
        ),
        (
            "one lost write explains the refusal, so the other can explain the read of B",
            true,
            vec![
                lost_put(0, A),
                lost_put(0, B),
                mismatch(1, 2, Action::PutIfAbsent(C)),
                done(3, 4, Action::Delete),
                found(5, 6, B),
            ],
        ),
        (
            "there are too few lost writes to explain both",
            false,
            vec![
                lost_put(0, A),
                mismatch(1, 2, Action::PutIfAbsent(C)),
                done(3, 4, Action::Delete),
                found(5, 6, A),
            ],
        ),
        (
            "a lost delete empties the key once",
            false,
            vec![
                put(0, 1, A),
                lost(0, Action::Delete),
                found(2, 3, None),
                put(4, 5, B),
                absent(6, 7, swap(C, A)),
            ],
        ),
        (
            "two of them empty it twice",
            true,
            vec![
                put(0, 1, A),
                lost(0, Action::Delete),
                lost(0, Action::Delete),
                found(2, 3, None),
                put(4, 5, B),
                absent(6, 7, swap(C, A)),
            ],
        ),
    ];
    judge(&ObjectKeys, cases);
}
