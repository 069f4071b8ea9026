//! Whole runs of the benchmark against a small server in memory, sound and faulty.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod faults;
mod mixes;
mod mounts;
mod pace;
mod suites;
mod support;
mod tls;
mod workloads;

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
    let line = format!("bench --s3 {url} --access-key {ACCESS_KEY} --secret-key s --concurrency 2 {more}");
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

/// The value of a BENCH line.
fn figure(out: &str, name: &str) -> f64 {
    let start = format!("BENCH {name} ");
    let line = out.lines().find_map(|line| line.strip_prefix(&start));
    let value = line.and_then(|rest| rest.split(' ').next());
    value.unwrap_or_else(|| panic!("no {name} in\n{out}")).parse().unwrap()
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
fn a_connection_that_was_closed_without_a_word_is_no_error() {
    for fault in [Fault::HangUpAfter(3), Fault::Swallow(4)] {
        for op in ["put-get", "stat", "delete", "list", "copy", "overwrite", "range-get"] {
            let server = Server::start(fault);
            let more = format!("--op {op} --count 12 --objects 12 --size 4KiB --read-back");
            let (out, result) = run(&args(&server.url(), &more));
            assert_eq!(result, Ok(()), "{op}\n{out}");
            assert!(server.connections() >= 6 && server.keys().is_empty(), "{op}");
        }
    }
}

#[test]
fn a_new_connection_that_is_closed_is_an_error() {
    let error = fails(Fault::Swallow(1), "--op put --count 2 --size 10").1;
    assert!(
        error.contains("the server closed the connection while waiting"),
        "{error}"
    );
}

#[test]
fn a_server_without_batches_is_cleaned_up_too() {
    let server = Server::start(Fault::NoBatchDelete);
    assert_eq!(run(&args(&server.url(), "--count 5 --op put --size 1")).1, Ok(()));
    assert!(server.keys().is_empty() && server.puts() == 5);
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
    assert_eq!(
        (&json["load"]["op"], &json["load"]["count"]),
        (&"put-get".into(), &3.into())
    );
    assert!(json["phases"][0]["server"]["rss_bytes"].as_u64().unwrap() > 0);
}
