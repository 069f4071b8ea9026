//! What is read off a history: outages, summaries, and the ledger's audit.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Fault, Ledger, Listing, Outage, Summary, outages};
use crate::history::{Action, KeyCall, KeyReply, Operation, Outcome, Tag};

fn operation(from: u64, outcome: Outcome<KeyReply>) -> Operation<KeyCall, KeyReply> {
    let call = KeyCall {
        key: Arc::from("k"),
        action: Action::Get,
    };
    Operation {
        process: 0,
        call,
        invoked_ns: from,
        outcome,
    }
}

fn answered(from: u64, to: u64, reply: KeyReply) -> Operation<KeyCall, KeyReply> {
    let outcome = Outcome::Answered { reply, returned_ns: to };
    operation(from, outcome)
}

/// The outages of faults at some times, where operations were acknowledged at others: (length, whether it is over).
fn lengths(acknowledged: &[u64], faults: &[u64], end_ns: u64) -> Vec<(u64, bool)> {
    let mut history: Vec<_> = acknowledged.iter().map(|at| answered(0, *at, KeyReply::Done)).collect();
    history.push(operation(3, Outcome::Failed { returned_ns: 52 }));
    history.push(operation(4, Outcome::Unknown));
    let fault = |at: &u64| Fault {
        name: format!("kill at {at}"),
        at_ns: *at,
    };
    let faults: Vec<Fault> = faults.iter().map(fault).collect();
    let found = outages(&history, &faults, end_ns, |_| true);
    let length = |outage: Outage| {
        (
            u64::try_from(outage.length.as_nanos()).expect("it fits"),
            outage.is_over,
        )
    };
    found.into_iter().map(length).collect()
}

/// A name, times of acknowledgements, times of faults, and the outages expected.
type Case = (&'static str, &'static [u64], &'static [u64], &'static [(u64, bool)]);

#[test]
fn outages_are_measured_from_their_fault() {
    let cases: &[Case] = &[
        (
            "from the fault, not from the last acknowledgement",
            &[10, 80],
            &[50],
            &[(30, true)],
        ),
        (
            "the longest stretch counts, not the first",
            &[51, 52, 90, 95],
            &[50],
            &[(38, true)],
        ),
        (
            "what was before the fault does not count",
            &[0, 40, 55, 60, 99],
            &[50],
            &[(39, true)],
        ),
        (
            "each fault has its own",
            &[10, 30, 31, 70, 99],
            &[20, 60],
            &[(39, true), (29, true)],
        ),
        (
            "an outage over the next fault counts for both",
            &[10, 90],
            &[20, 60],
            &[(70, true), (30, true)],
        ),
        ("one that never ends", &[10, 60], &[20, 70], &[(40, true), (30, false)]),
        ("nothing was ever acknowledged", &[], &[20], &[(80, false)]),
        ("out of order", &[90, 10, 60], &[70, 20], &[(40, true), (20, true)]),
    ];
    for (name, acknowledged, faults, expected) in cases {
        assert_eq!(lengths(acknowledged, faults, 100), *expected, "{name}");
    }
}

#[test]
fn only_what_counts_ends_an_outage() {
    let history = [answered(0, 60, KeyReply::Done)];
    let fault = Fault {
        name: "kill".to_owned(),
        at_ns: 50,
    };
    let found = outages(&history, &[fault], 100, |call| call.action != Action::Get);
    assert!(!found[0].is_over, "{found:?}");
}

#[test]
fn a_summary_counts_and_measures() {
    let ms = 1_000_000;
    let mut history: Vec<_> = (1..=98).map(|n| answered(0, n * ms, KeyReply::Done)).collect();
    history.push(answered(0, 500 * ms, KeyReply::Mismatch));
    history.push(answered(0, 900 * ms, KeyReply::Absent));
    history.push(operation(0, Outcome::Unknown));
    history.push(operation(0, Outcome::Failed { returned_ns: 5 }));
    let summary = Summary::of(&history, Duration::from_secs(2));
    let fault = Fault {
        name: "kill".to_owned(),
        at_ns: 0,
    };
    let outage = |length_ms| Outage {
        fault: fault.clone(),
        length: Duration::from_millis(length_ms),
        is_over: true,
    };
    let lines = summary.lines("failover", &[outage(700), outage(900), outage(800)]);
    let expected = [
        "BENCH failover_acknowledged 100 ops",
        "BENCH failover_refused 2 ops",
        "BENCH failover_failed 1 ops",
        "BENCH failover_unknown 1 ops",
        "BENCH failover_throughput 50.0 ops/s",
        "BENCH failover_p50 50.00 ms",
        "BENCH failover_p99 500.00 ms",
        "BENCH failover_longest 900.00 ms",
        "BENCH failover_faults 3 faults",
        "BENCH failover_outage_median 800.00 ms",
        "BENCH failover_outage_longest 900.00 ms",
    ];
    assert_eq!(lines, expected);
    assert_eq!(Summary::of(&[], Duration::from_secs(1)).longest, Duration::ZERO);
}

#[test]
fn lists_differ_by_content_and_order() {
    let list = |values: &[u64]| values.iter().fold(Listing::default(), |list, value| list.with(*value));
    assert_ne!(list(&[1, 2]), list(&[2, 1]));
    assert_ne!(list(&[1]), list(&[1, 1]));
    assert_eq!(list(&[7, 8, 9]).length(), 3);
    assert_eq!(Listing::from(None), list(&[]));
    let Action::CompareAndSwap { expected, tag } = list(&[7]).append(8) else {
        panic!("a list that is not empty is swapped");
    };
    assert_eq!(
        (Listing::from(Some(expected)), Listing::from(Some(tag))),
        (list(&[7]), list(&[7, 8]))
    );
    assert!(matches!(list(&[]).append(8), Action::PutIfAbsent(Tag(_))));
}

#[test]
fn a_ledger_is_audited() {
    let empty = Listing::default();
    let ledger = Ledger::default();
    let one = ledger.begin(empty, 1);
    ledger.acknowledged(one);
    let _lost = ledger.begin(empty.with(1), 2);
    let three = ledger.begin(empty.with(1).with(2), 3);
    ledger.acknowledged(three);
    let refused = ledger.begin(empty.with(1), 4);
    ledger.not_done(refused);
    let all = empty.with(1).with(2).with(3);
    assert_eq!(
        ledger.audit(all).expect("right"),
        [1, 2, 3],
        "what is unknown may be there"
    );
    let cases = [
        (empty.with(1), "value 3 was acknowledged and is not in the list"),
        (
            empty.with(1).with(4),
            "value 4 is in the list though its append was not done",
        ),
        (empty.with(1).with(3), "nobody made the list"),
    ];
    for (last, expected) in cases {
        let error = ledger.audit(last).expect_err("wrong").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let again = ledger.begin(all, 1);
    ledger.acknowledged(again);
    let error = ledger.audit(all.with(1)).expect_err("wrong").to_string();
    assert!(error.contains("in the list twice"), "{error}");
}
