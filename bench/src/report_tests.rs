//! The form of tables and BENCH lines.

use std::time::Duration;

use clap::Parser;

use super::*;
use crate::error::RequestError;
use crate::measure::Tally;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: BenchArgs,
}

fn args(more: &[&str]) -> BenchArgs {
    let line = [
        "x",
        "--endpoint",
        "http://h",
        "--access-key",
        "AK",
        "--secret-key",
        "SK",
        "--size",
        "16MiB",
    ];
    Line::parse_from(line.iter().chain(more)).args
}

fn result(ops: u64) -> PhaseResult {
    let mut tally = Tally::new();
    for _ in 0..ops {
        tally.record(Duration::from_millis(4), 16 << 20);
    }
    tally.cpu = Duration::from_secs(1);
    let server = ServerCost {
        cpu: Duration::from_millis(3200),
        rss_bytes: 50 << 20,
        rss_max_bytes: 60 << 20,
        rss_peak_bytes: 70 << 20,
    };
    let elapsed = Duration::from_secs(2);
    PhaseResult {
        tally,
        elapsed,
        server: Some(server),
        server_error: None,
        interrupted: false,
    }
}

fn printed(args: &BenchArgs, phase: &'static str, result: &PhaseResult) -> String {
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
    let slow = RequestError::Status {
        status: 503,
        code: "SlowDown".to_owned(),
        message: String::new(),
    };
    result.tally.errors.record(&slow);
    result.tally.errors.record(&slow);
    let corrupt = RequestError::Corrupt {
        key: "k".to_owned(),
        offset: 9,
        expected: 1,
        found: 2,
    };
    result.tally.errors.record(&corrupt);
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
