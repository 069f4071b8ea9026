//! The form of tables and BENCH lines.

use std::time::Duration;

use clap::Parser;

use super::*;
use crate::args::{BenchArgs, RunArgs};
use crate::engine::{PhaseResult, ServerCost};
use crate::failure::OpError;
use crate::measure::SlotTally;
use crate::target::{Fact, Facts};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: BenchArgs,
}

fn args(more: &[&str]) -> RunArgs {
    let line = ["x", "--s3", "http://h", "--size", "16MiB"];
    Line::parse_from(line.iter().chain(more)).args.run
}

fn result(ops: u64) -> PhaseResult {
    let mut slots = SlotTally::default();
    for _ in 0..ops {
        slots.record("put", Duration::ZERO, Duration::from_millis(4), 16 << 20);
    }
    slots.cpu = Duration::from_secs(1);
    let server = ServerCost {
        cpu: Duration::from_millis(3200),
        rss_bytes: 50 << 20,
        rss_max_bytes: 60 << 20,
        rss_peak_bytes: Some(70 << 20),
    };
    PhaseResult {
        total: slots.total().unwrap(),
        slots,
        elapsed: Duration::from_secs(2),
        not_begun: 0,
        server: Some(server),
        server_error: None,
        interrupted: false,
    }
}

fn printed(args: &RunArgs, phase: &str, result: &PhaseResult) -> String {
    let mut out = Vec::new();
    print_phase(&mut out, &PhaseReport::new(args, phase, result)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn bench_lines_have_name_value_and_unit() {
    let text = printed(&args(&["--op", "put"]), "put", &result(100));
    for line in [
        "BENCH put_16MiB_c8_throughput 0.839 GB/s",
        "BENCH put_16MiB_c8_ops 50 ops/s",
        "BENCH put_16MiB_c8_p50 4.00 ms",
        "BENCH put_16MiB_c8_p99.9 4.00 ms",
        "BENCH put_16MiB_c8_client_cpu 0.596 cpu_s_per_GB",
        "BENCH put_16MiB_c8_server_cpu 1.91 cpu_s_per_GB",
        "BENCH put_16MiB_c8_server_cpu_ops 32 cpu_s_per_1000_ops",
        "BENCH put_16MiB_c8_server_rss_max 60 MiB",
        "BENCH put_16MiB_c8_errors 0 count",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line} is not in\n{text}");
    }
    assert!(
        text.starts_with("put (put_16MiB_c8): 100 requests by 8 slots, 1.678 GB in 2.00 s\n"),
        "{text}"
    );
}

#[test]
fn every_bench_line_has_four_words() {
    let text = printed(&args(&[]), "get", &result(3));
    for line in text.lines().filter(|line| line.starts_with("BENCH")) {
        let words: Vec<_> = line.split(' ').collect();
        assert!(words.len() == 4 && words[2].parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn a_given_name_is_used() {
    assert!(printed(&args(&["--op", "get", "--name", "n"]), "get", &result(1)).contains("BENCH n_ops "));
    assert!(printed(&args(&["--op", "put-get", "--name", "n"]), "get", &result(1)).contains("BENCH n_get_ops "));
}

#[test]
fn errors_are_listed_by_kind_and_wrong_data_comes_first() {
    let mut result = result(1);
    let slow = OpError::Status {
        status: 503,
        code: "SlowDown".to_owned(),
        message: String::new(),
    };
    result.slots.errors.record(&slow);
    result.slots.errors.record(&slow);
    let corrupt = OpError::Corrupt {
        key: "k".to_owned(),
        offset: 9,
        expected: 1,
        found: 2,
    };
    result.slots.errors.record(&corrupt);
    let report = PhaseReport::new(&args(&[]), "get", &result);
    assert_eq!(report.worst_error().unwrap(), corrupt.to_string());
    let text = printed(&args(&[]), "get", &result);
    assert!(
        text.contains("  errors       2 slow_down, the first: status 503 SlowDown"),
        "{text}"
    );
    assert!(text.contains("BENCH get_16MiB_c8_errors 3 count"), "{text}");
}

#[test]
fn a_phase_without_results_prints_no_latencies() {
    let text = printed(&args(&[]), "get", &result(0));
    assert!(!text.contains("p50") && !text.contains("client_cpu"), "{text}");
    assert!(text.contains("BENCH get_16MiB_c8_throughput 0 GB/s"), "{text}");
}

#[test]
fn preparation_has_no_bench_lines() {
    assert!(!printed(&args(&["--op", "get"]), "prepare", &result(1)).contains("BENCH"));
}

#[test]
fn the_kinds_of_a_mix_have_lines_of_their_own() {
    let mut result = result(1);
    let at = Duration::ZERO;
    result.slots.record("range-get", at, Duration::from_millis(9), 10);
    result.total = result.slots.total().unwrap();
    let text = printed(&args(&["--op", "mixed"]), "mixed", &result);
    for line in [
        "BENCH mixed_16MiB_c8_ops 1 ops/s",
        "BENCH mixed_16MiB_c8_range-get_ops 0.500 ops/s",
        "BENCH mixed_16MiB_c8_put_max 4.00 ms",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_report_survives_json_and_shows_in_csv() {
    let args = args(&["--op", "put", "--rate", "25"]);
    let phase = PhaseReport::new(&args, "put", &result(4));
    let facts = Facts {
        redundancy: Fact::first(None, Some("4+2, as I believe")),
        ..Facts::default()
    };
    let report = RunReport::new(LoadReport::new(&args, 7, None), facts, vec![phase], false);
    let json = serde_json::to_string(&report).unwrap();
    let read: RunReport = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    let csv = csv(&[read]);
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines.len(), 2, "{csv}");
    assert!(
        lines[1].contains("\"4+2, as I believe\"") && lines[1].contains(",put_16MiB_c8,put,all,16MiB,8,25,2,4,"),
        "{csv}"
    );
}

#[test]
fn a_load_is_told_by_what_has_a_meaning_for_it() {
    let told = |more: &[&str]| {
        let report = LoadReport::new(&args(more), 7, Some(12));
        serde_json::to_value(report).unwrap()
    };
    let mixed = told(&["--op", "mixed", "--mix", "list=1,get=1", "--page", "9", "--count", "5"]);
    for (name, value) in [
        ("op", "\"mixed\""),
        ("page", "9"),
        ("objects", "12"),
        ("count", "5"),
        ("duration_s", "null"),
    ] {
        assert_eq!(mixed[name].to_string(), value, "{name}");
    }
    assert!(
        ["range_bytes", "part_bytes", "block_bytes", "fsync_every"]
            .iter()
            .all(|name| mixed[name].is_null())
    );
    let blocks = told(&["--op", "fsync"]);
    for (name, value) in [("block_bytes", 4096), ("fsync_every", 1), ("duration_s", 10)] {
        assert_eq!(blocks[name], value, "{name}");
    }
    assert_eq!(told(&["--op", "rand-read"])["keys"], "uniform");
    assert_eq!(told(&["--op", "multipart"])["part_bytes"], 8 << 20);
    assert_eq!(told(&["--op", "metadata"])["duration_s"].to_string(), "null");
    // Results of a tool that did not tell all this can be read.
    let mut old = mixed;
    ["op", "objects", "page", "count"]
        .iter()
        .for_each(|name| drop(old.as_object_mut().unwrap().remove(*name)));
    assert!(serde_json::from_value::<LoadReport>(old).is_ok());
}

#[test]
fn what_failed_during_the_warm_up_is_told_apart() {
    let mut result = result(1);
    result
        .slots
        .warm_up_errors
        .record(&OpError::Closed { doing: "waiting" });
    let text = printed(&args(&[]), "get", &result);
    assert!(
        text.contains("  warm-up      1 closed, the first: ") && text.contains("BENCH get_16MiB_c8_errors 0 count"),
        "{text}"
    );
    assert_eq!(result.failures(), 1);
}

#[test]
fn numbers_keep_three_digits() {
    for (value, text) in [
        (1.234_56, "1.23"),
        (0.000_412_3, "0.000412"),
        (98_765.4, "98765"),
        (0.0, "0"),
        (12.0, "12"),
        (12.5, "12.5"),
    ] {
        assert_eq!(significant(value), text);
    }
}
