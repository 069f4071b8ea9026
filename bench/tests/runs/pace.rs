//! The open loop, the warm-up, and what ends a phase.

use std::time::Duration;

use super::support::{Fault, Server};
use super::{args, figure, run};

#[test]
fn a_stall_of_a_second_shows_in_the_p99_of_an_open_loop() {
    // 200 of the 800 requests are due while nothing is answered, by four slots that can wait for four of them.
    let server = Server::start(Fault::StallOnce(300, Duration::from_secs(1)));
    let (out, result) = run(&args(&server.url(), "--op put --size 10 --rate 200 --count 800"));
    assert_eq!(result, Ok(()), "{out}");
    let [p99, p50] = ["p99", "p50"].map(|name| figure(&out, &format!("put_10B_c2_{name}")));
    // On a busy machine the rest may be slow too: nothing is said of how slow.
    assert!(p99 > 700.0 && p50 <= p99, "p99 {p99}, p50 {p50}\n{out}");
}

#[test]
fn what_was_due_and_never_begun_counts() {
    let server = Server::start(Fault::StallOnce(100, Duration::from_secs(2)));
    let (out, result) = run(&args(&server.url(), "--op put --size 10 --rate 200 --duration 1"));
    assert_eq!(result, Ok(()), "{out}");
    // About half of the requests were due while the server stalled, and the stall outlasts the phase.
    assert!(figure(&out, "put_10B_c2_not_begun") > 50.0, "{out}");
    assert!(figure(&out, "put_10B_c2_p90") > 100.0, "{out}");
}

#[test]
fn an_open_loop_is_no_faster_than_its_rate() {
    let server = Server::start(Fault::None);
    let (out, result) = run(&args(&server.url(), "--op put --size 10 --rate 100 --duration 2"));
    assert_eq!(result, Ok(()), "{out}");
    let ops = figure(&out, "put_10B_c2_ops");
    assert!(ops <= 101.0, "{out}");
}

#[test]
fn a_warm_up_is_not_among_the_figures() {
    let server = Server::start(Fault::None);
    let (out, result) = run(&args(
        &server.url(),
        "--op put --size 10 --warm-up 1 --rate 100 --count 50",
    ));
    assert_eq!(result, Ok(()), "{out}");
    assert!(out.contains("put (put_10B_c2): 50 requests"), "{out}");
    assert_eq!(server.puts(), 150);
    let (out, result) = run(&args(&server.url(), "--op put --size 10 --warm-up 1 --count 50"));
    assert_eq!(result, Ok(()), "{out}");
    assert!(
        out.contains("put (put_10B_c2): 50 requests") && server.puts() > 200,
        "{out}"
    );
}

#[test]
fn what_fails_during_the_warm_up_is_not_among_the_figures() {
    let server = Server::start(Fault::FirstPutsStatus(503, 10));
    let more = "--op put --size 10 --warm-up 1 --rate 100 --count 50";
    let (out, result) = run(&args(&server.url(), more));
    assert!(
        result.unwrap_err().contains("10 operations failed; status 503"),
        "{out}"
    );
    assert!(
        out.contains("  warm-up      10 slow_down") && figure(&out, "put_10B_c2_errors") == 0.0,
        "{out}"
    );
}

#[test]
fn at_a_rate_nothing_waits_for_a_server_that_fails() {
    let server = Server::start(Fault::FirstPutsStatus(503, 100));
    // With pauses the slots would give up after twenty failures each.
    let (out, result) = run(&args(&server.url(), "--op put --size 10 --rate 200 --count 120"));
    assert!(result.is_err());
    assert!(
        out.contains("put (put_10B_c2): 20 requests") && figure(&out, "put_10B_c2_errors") == 100.0,
        "{out}"
    );
}

#[test]
fn a_phase_in_which_nothing_was_measured_fails() {
    // Eight requests prepare. The first GETs begin in the warm-up, and are answered after the phase.
    let server = Server::start(Fault::StallOnce(9, Duration::from_secs(4)));
    let (out, result) = run(&args(
        &server.url(),
        "--op get --objects 6 --size 10 --warm-up 1 --duration 1",
    ));
    assert!(result.unwrap_err().contains("get: no operation ended"), "{out}");
    assert!(
        out.contains("get (get_10B_c2): 0 requests") && server.keys().is_empty(),
        "{out}"
    );
}
