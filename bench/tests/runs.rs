//! Whole runs of the benchmark against a small server in memory, sound and faulty.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod support;

use std::time::{Duration, Instant};

use cairn_bench::{BenchArgs, Stop, run_with};
use clap::Parser;
use support::{ACCESS_KEY, Fault, Server};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: BenchArgs,
}

fn args(url: &str, more: &str) -> BenchArgs {
    let line = format!("bench --endpoint {url} --access-key {ACCESS_KEY} --secret-key s --concurrency 2 {more}");
    Line::parse_from(line.split(' ')).args
}

/// The output of a run, and its error's text.
fn run(args: &BenchArgs) -> (String, Result<(), String>) {
    let mut out = Vec::new();
    let result = run_with(args, &Stop::default(), &mut out);
    (
        String::from_utf8(out).unwrap(),
        result.map_err(|error| format!("{error:#}")),
    )
}

fn fails(fault: Fault, more: &str) -> (String, String) {
    let server = Server::start(fault);
    let (out, result) = run(&args(&server.url(), more));
    (out, result.expect_err("the run found the fault"))
}

#[test]
fn what_is_written_is_read_and_deleted() {
    for size in ["0", "1", "4KiB", "4097", "300000", "3MiB"] {
        let server = Server::start(Fault::None);
        let (out, result) = run(&args(&server.url(), &format!("--count 10 --size {size}")));
        assert_eq!(result, Ok(()), "{size}\n{out}");
        assert_eq!(out.matches("10 requests by 2 slots").count(), 2, "{size}\n{out}");
        assert!(
            server.keys().is_empty() && server.puts() == 10,
            "{size}: {:?}",
            server.keys()
        );
    }
}

#[test]
fn kept_objects_stay_under_the_prefix() {
    let server = Server::start(Fault::None);
    let (_, result) = run(&args(
        &server.url(),
        "--count 3 --op put --keep --seed 255 --prefix p/ --size 10",
    ));
    assert_eq!(result, Ok(()));
    let keys = [
        "p/00000000000000ff/0000000000",
        "p/00000000000000ff/0000000001",
        "p/00000000000000ff/0000000002",
    ];
    assert_eq!(server.keys(), keys);
}

#[test]
fn get_prepares_only_what_it_reads() {
    let server = Server::start(Fault::None);
    let (out, result) = run(&args(&server.url(), "--op get --objects 3 --count 20 --size 4KiB"));
    assert_eq!(result, Ok(()), "{out}");
    assert_eq!(server.puts(), 3);
    assert!(
        out.contains("BENCH get_4KiB_c2_ops ") && !out.contains("BENCH prepare"),
        "{out}"
    );
}

#[test]
fn a_signed_payload_is_accepted() {
    let server = Server::start(Fault::None);
    assert_eq!(run(&args(&server.url(), "--count 4 --sign-payload")).1, Ok(()));
}

#[test]
fn a_closed_connection_is_opened_again() {
    let server = Server::start(Fault::CloseAfter(3));
    let (out, result) = run(&args(&server.url(), "--count 12 --size 4KiB"));
    assert_eq!(result, Ok(()), "{out}");
    assert!(server.connections() >= 8, "{}", server.connections());
}

#[test]
fn a_server_without_batches_is_cleaned_up_too() {
    let server = Server::start(Fault::NoBatchDelete);
    assert_eq!(run(&args(&server.url(), "--count 5 --op put --size 1")).1, Ok(()));
    assert!(server.keys().is_empty() && server.puts() == 5);
}

#[test]
fn a_wrong_byte_is_named_with_its_offset() {
    let (out, error) = fails(Fault::WrongByte(1_234_567), "--count 4 --size 2MiB");
    assert!(
        error.contains("/0000000000 is wrong at offset 1234567") || error.contains("/0000000001 is"),
        "{error}"
    );
    assert!(
        error.starts_with("4 requests failed") && out.contains("4 corrupt"),
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
    assert!(error.contains("is wrong at offset 0"), "{error}");
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
    wrong.access_key = "other".to_owned();
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
fn an_interrupt_prints_and_cleans_up() {
    let server = Server::start(Fault::None);
    let args = args(&server.url(), "--duration 600 --op put --size 4KiB");
    let stop = Stop::default();
    let mut out = Vec::new();
    let result = std::thread::scope(|scope| {
        let run = scope.spawn(|| run_with(&args, &stop, &mut out));
        let begun = Instant::now();
        while server.puts() < 100 && begun.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        stop.request();
        run.join().unwrap()
    });
    let out = String::from_utf8(out).unwrap();
    assert!(
        result.is_err_and(|error| error.to_string().contains("interrupted")),
        "{out}"
    );
    assert!(
        out.contains(", interrupted\n") && out.contains("BENCH put_4KiB_c2_ops "),
        "{out}"
    );
    assert!(server.puts() >= 100 && server.keys().is_empty(), "{:?}", server.keys());
}

#[test]
fn results_are_written_as_json() {
    let server = Server::start(Fault::None);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.json");
    let pid = std::process::id();
    let (out, result) = run(&args(
        &server.url(),
        &format!("--count 3 --size 4KiB --server-pid {pid} --json {}", file.display()),
    ));
    assert_eq!(result, Ok(()));
    assert!(
        out.contains("BENCH put_4KiB_c2_server_rss_peak ") && out.contains("_server_cpu_ops "),
        "{out}"
    );
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(json["phases"][1]["phase"], "get");
    assert_eq!(json["phases"][0]["bytes"], 3 * 4096);
    assert!(json["phases"][0]["server"]["rss_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_server_process_that_does_not_exist_is_said_so() {
    let server = Server::start(Fault::None);
    let error = run(&args(&server.url(), "--count 3 --server-pid 4194305"))
        .1
        .unwrap_err();
    assert!(error.contains("/proc/4194305/stat"), "{error}");
}
