//! The recorder, and what a violation says.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::super::{Action, Bounds, KeyCall, KeyReply, ObjectKeys, Outcome, Recorder, Tag, Verdict, check};
use super::answered;

fn call(action: Action) -> KeyCall {
    let key = Arc::from("k");
    KeyCall { key, action }
}

#[test]
fn outcomes_are_as_told_and_unknown_before() {
    let recorder = Recorder::<ObjectKeys>::new(Instant::now());
    let first = recorder.invoke(1, call(Action::Put(Tag(1))));
    let second = recorder.invoke(2, call(Action::Delete));
    let _third = recorder.invoke(3, call(Action::Get));
    recorder.failed(second);
    recorder.answered(first, KeyReply::Done);
    let history = recorder.history();
    let processes: Vec<_> = history.iter().map(|operation| operation.process).collect();
    assert_eq!(processes, [1, 2, 3]);
    let Some((reply, returned_ns)) = history[0].answer() else {
        panic!("answered: {:?}", history[0]);
    };
    assert_eq!(*reply, KeyReply::Done);
    assert!(
        returned_ns >= history[1].invoked_ns,
        "the first returned after the second was sent"
    );
    assert!(matches!(history[1].outcome, Outcome::Failed { .. }));
    assert_eq!(history[2].outcome, Outcome::Unknown);
}

#[test]
fn a_history_of_many_threads_is_whole_and_in_order() {
    let recorder = Recorder::<ObjectKeys>::new(Instant::now());
    thread::scope(|scope| {
        for process in 0..8 {
            let recorder = &recorder;
            scope.spawn(move || {
                for _ in 0..500 {
                    let invocation = recorder.invoke(process, call(Action::Get));
                    recorder.answered(invocation, KeyReply::Found(None));
                }
            });
        }
    });
    let history = recorder.history();
    assert_eq!(history.len(), 4000);
    for process in 0..8 {
        let own: Vec<_> = history
            .iter()
            .filter(|operation| operation.process == process)
            .collect();
        assert_eq!(own.len(), 500);
        for pair in own.windows(2) {
            let (_, returned_ns) = pair[0].answer().expect("answered");
            assert!(
                returned_ns <= pair[1].invoked_ns,
                "one process does one thing after the other"
            );
        }
    }
}

#[test]
fn a_violation_names_what_cannot_be_explained() {
    let history = [
        answered(0, 1, call(Action::Put(Tag(1))), KeyReply::Done),
        answered(2, 3, call(Action::Put(Tag(2))), KeyReply::Done),
        answered(4, 5, call(Action::Get), KeyReply::Found(Some(Tag(1)))),
        answered(6, 7, call(Action::Delete), KeyReply::Done),
    ];
    let Verdict::Violated(violation) = check(&ObjectKeys, &history, Bounds::default()) else {
        panic!("a stale read was accepted");
    };
    assert_eq!((violation.placed, violation.needed), (2, 4));
    let text = violation.to_string();
    for part in [
        "partition \"k\"",
        "placed 2 of 4",
        "Some(Tag(2))",
        "[4, 5] process 0: k Get -> Found(Some(Tag(1)))",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
#[should_panic(expected = "returned before it was invoked")]
fn times_that_run_backwards_are_no_history() {
    let history = [answered(5, 4, call(Action::Get), KeyReply::Found(None))];
    check(&ObjectKeys, &history, Bounds::default());
}
