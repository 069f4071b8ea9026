//! What a benchmark says and does where the server, or the way to it, fails.

use std::time::{Duration, Instant};

use cairn_bench::{Stop, run_with};

use super::support::{Fault, Server};
use super::{args, fails, run};

#[test]
fn a_wrong_byte_is_named_with_its_offset() {
    let (out, error) = fails(Fault::WrongByte(1_234_567), "--count 4 --size 2MiB");
    assert!(
        error.contains("/0000000000 is wrong at offset 1234567") || error.contains("/0000000001 is"),
        "{error}"
    );
    assert!(
        error.starts_with("4 operations failed") && out.contains("4 corrupt"),
        "{error}\n{out}"
    );
}

#[test]
fn a_wrong_byte_passes_only_where_nothing_is_verified() {
    let server = Server::start(Fault::WrongByte(7));
    assert_eq!(run(&args(&server.url(), "--count 4 --size 4KiB --no-verify")).1, Ok(()));
}

#[test]
fn another_objects_bytes_are_found_out() {
    let (_, error) = fails(Fault::OtherObject, "--count 4 --size 4KiB");
    assert!(error.contains("is wrong at offset"), "{error}");
}

#[test]
fn a_short_object_is_found_out() {
    let (out, error) = fails(Fault::ShortObject, "--count 4 --size 4KiB --no-verify");
    assert!(
        error.contains("has 4095 bytes; 4096 were written") && out.contains("4 length"),
        "{error}"
    );
}

#[test]
fn a_stalled_server_meets_the_deadline() {
    let begun = Instant::now();
    let (out, error) = fails(Fault::StallGet, "--count 2 --size 4KiB --timeout 1");
    assert!(
        error.contains("no progress for 1s while waiting for the answer"),
        "{error}"
    );
    assert!(out.contains("BENCH get_4KiB_c2_errors 2 count"), "{out}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn slow_down_is_counted_and_the_run_goes_on() {
    let server = Server::start(Fault::PutStatus(503, 5));
    let (out, result) = run(&args(&server.url(), "--count 20 --size 4KiB"));
    assert!(
        result.is_err_and(|error| error.contains("503 SlowDown: so it is; the server is overloaded")),
        "{out}"
    );
    assert!(
        out.contains("put (put_4KiB_c2): 16 requests") && out.contains("4 slow_down"),
        "{out}"
    );
    // Only what was acknowledged is read.
    assert!(out.contains("BENCH get_4KiB_c2_errors 0 count"), "{out}");
    assert!(server.keys().is_empty());
}

#[test]
fn a_full_server_ends_the_run_at_once() {
    let (out, error) = fails(Fault::PutStatus(507, 1), "--duration 60 --size 4KiB");
    assert!(
        error.contains("507 InsufficientStorage") && error.contains("no room left"),
        "{error}\n{out}"
    );
}

#[test]
fn an_answer_before_the_whole_request_is_heard() {
    let (_, error) = fails(Fault::EarlyPutStatus(507), "--count 1 --op put --size 1MiB --timeout 5");
    assert!(
        error.contains("507") || error.contains("closed the connection"),
        "{error}"
    );
}

#[test]
fn a_wrong_key_is_said_so() {
    let server = Server::start(Fault::None);
    let mut wrong = args(&server.url(), "--count 1");
    wrong.run.target.access_key = Some("other".to_owned());
    let (_, result) = run(&wrong);
    let error = result.unwrap_err();
    assert!(
        error.contains("403 InvalidAccessKeyId") && error.contains("access key is unknown"),
        "{error}"
    );
}

#[test]
fn an_absent_server_is_said_so() {
    let server = Server::start(Fault::None);
    let url = server.url();
    drop(server);
    // The listener is closed once the accepting thread has woken.
    let begun = Instant::now();
    loop {
        let error = run(&args(&url, "--count 1 --timeout 1")).1;
        if error.as_ref().is_err_and(|error| error.contains("connection refused")) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{error:?}");
    }
}

#[test]
fn a_server_process_that_does_not_exist_is_said_so() {
    let server = Server::start(Fault::None);
    let error = run(&args(&server.url(), "--count 3 --server-pid 4194305"))
        .1
        .unwrap_err();
    assert!(error.contains("/proc/4194305/stat"), "{error}");
}

#[test]
fn a_host_that_goes_away_in_the_middle_leaves_what_was_measured() {
    let server = Server::start(Fault::DieAfter(200));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.json");
    let more = format!("--op put --duration 600 --size 4KiB --json {}", file.display());
    let (out, result) = run(&args(&server.url(), &more));
    let error = result.unwrap_err();
    assert!(
        error.contains("refused") && error.contains("were not deleted"),
        "{error}"
    );
    assert!(out.contains("gave up      2 slots"), "{out}");
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(json["phases"][0]["ops"].as_u64().unwrap() > 100, "{json}");
}

#[test]
fn a_host_that_goes_silent_in_the_middle_leaves_what_was_measured() {
    let server = Server::start(Fault::SilentAfter(200));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.json");
    let begun = Instant::now();
    let more = format!(
        "--op put --duration 600 --timeout 1 --size 4KiB --json {}",
        file.display()
    );
    let (out, result) = run(&args(&server.url(), &more));
    let error = result.unwrap_err();
    assert!(
        error.contains("no progress for 1s while waiting for the answer") && error.contains("were not deleted"),
        "{error}"
    );
    assert!(out.contains("gave up      2 slots"), "{out}");
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(json["phases"][0]["ops"].as_u64().unwrap() > 100, "{json}");
    // Three waits for each slot, and one for the cleanup.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn a_cleanup_that_nobody_answers_ends() {
    let server = Server::start(Fault::SilentAfter(1));
    let error = run(&args(&server.url(), "--cleanup --timeout 1")).1.unwrap_err();
    assert!(error.contains("no progress for 1s"), "{error}");
}

#[test]
fn what_failed_and_was_taken_all_the_same_is_no_error_of_a_listing() {
    let server = Server::start(Fault::TakenPutStatus(5));
    let (out, result) = run(&args(
        &server.url(),
        "--op list --objects 40 --count 50 --page 7 --size 10",
    ));
    let error = result.unwrap_err();
    // The puts failed, as they were said to.
    assert!(
        error.contains("503 SlowDown") && !out.contains(" listing"),
        "{error}\n{out}"
    );
    assert!(
        out.contains("list (list_10B_c2): 50 requests") && server.keys().is_empty(),
        "{out}"
    );
}

#[test]
fn an_overwriting_that_failed_and_happened_is_no_wrong_byte() {
    let server = Server::start(Fault::TakenPutStatus(7));
    let more = "--op mixed --mix get=3,overwrite=1 --objects 4 --count 400 --size 5000 --read-back";
    let (out, result) = run(&args(&server.url(), more));
    assert!(
        result.unwrap_err().contains("503 SlowDown") && !out.contains("corrupt"),
        "{out}"
    );
}

#[test]
fn nothing_is_measured_on_a_host_that_went_away_before() {
    let (out, error) = fails(Fault::DieAfter(30), "--op get --objects 100 --duration 600 --size 10");
    assert!(
        error.contains("refused") && out.contains("gave up      2 slots"),
        "{error}\n{out}"
    );
    assert!(out.contains("prepare (") && !out.contains("\nget ("), "{out}");
}

#[test]
fn a_wrong_endpoint_is_said_so() {
    for (url, what) in [
        ("http://no-such-host.invalid:1", "cannot resolve the endpoint"),
        ("http://h/bucket", "has a path"),
    ] {
        let error = run(&args(url, "--count 1")).1.unwrap_err();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn missing_keys_are_said_so() {
    let mut without = args("http://127.0.0.1:1", "--count 1");
    without.run.target.secret_key = None;
    let error = run_with(&without, &Stop::default(), &mut Vec::new()).unwrap_err();
    assert!(
        error.to_string().contains("--secret-key or AWS_SECRET_ACCESS_KEY"),
        "{error}"
    );
}
