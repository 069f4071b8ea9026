//! Suites and comparisons, from the file to the page.

use std::path::Path;

use cairn_bench::{BenchArgs, Stop, run_with};
use clap::Parser;

use super::Line;
use super::support::{ACCESS_KEY, Fault, Server};

const SUITE: &str = r#"
name = "trial"
rounds = 3
[[workload]]
name = "small"
flags = "--op put-get --size 10 --count 20"
[[workload]]
name = "files"
flags = ["--op", "fsync", "--count", "5"]
"#;

fn parsed(words: &[&str]) -> BenchArgs {
    Line::parse_from(["bench"].iter().chain(words)).args
}

fn run(words: &[&str]) -> (String, Result<(), String>) {
    let mut out = Vec::new();
    let result = run_with(&parsed(words), &Stop::default(), &mut out);
    let result = result.map_err(|error| format!("{error:#}"));
    (String::from_utf8(out).unwrap(), result)
}

fn target(name: &str, server: &Server) -> String {
    format!(
        "{name}=--s3 {} --access-key {ACCESS_KEY} --secret-key s --concurrency 2",
        server.url()
    )
}

fn suite(folder: &Path, text: &str, targets: &[String]) -> (String, Result<(), String>) {
    let (file, out) = (folder.join("suite.toml"), folder.join("out"));
    std::fs::write(&file, text).unwrap();
    let mut words = vec!["suite", file.to_str().unwrap(), "--out", out.to_str().unwrap()];
    words.extend(targets.iter().flat_map(|target| ["--target", target]));
    run(&words)
}

#[test]
fn a_suite_runs_in_turn_and_writes_everything() {
    let (one, other) = (Server::start(Fault::None), Server::start(Fault::None));
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("disk=--mount {} --concurrency 1", folder.path().display());
    let targets = [target("one", &one), target("other", &other), mount];
    let (out, result) = suite(folder.path(), SUITE, &targets);
    assert_eq!(result, Ok(()), "{out}");
    let runs: Vec<_> = out.lines().filter(|line| line.starts_with("round ")).collect();
    let order: Vec<_> = runs
        .iter()
        .map(|line| line.split([',', ':']).nth(1).unwrap().trim())
        .collect();
    let expected = [
        ["small on one", "small on other", "files on disk"],
        ["small on other", "small on one", "files on disk"],
        ["small on one", "small on other", "files on disk"],
    ];
    assert_eq!(order, expected.concat(), "{out}");
    let table = std::fs::read_to_string(folder.path().join("out/table.txt")).unwrap();
    assert!(out.contains(&table) && table.lines().count() == 6, "{table}");
    assert!(
        table
            .lines()
            .any(|line| line.starts_with("small_get  other") && line.contains(" to ")),
        "{table}"
    );
    let page = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.matches("<svg").count() >= 7, "{page}");
    assert!(
        !page.contains("http://www") && !page.contains("<script") && !page.contains("NaN"),
        "{page}"
    );
    let csv = std::fs::read_to_string(folder.path().join("out/results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 3 * (2 + 2 + 1), "{csv}");
    assert!(one.keys().is_empty() && other.keys().is_empty());
}

#[test]
fn results_are_compared() {
    let server = Server::start(Fault::None);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for folder in &folders {
        let (out, result) = suite(folder.path(), SUITE, &[target("store", &server)]);
        assert_eq!(result, Ok(()), "{out}");
    }
    let files = folders.each_ref().map(|folder| folder.path().join("out/results.json"));
    let [before, after] = files.each_ref().map(|file| file.to_str().unwrap());
    let (out, result) = run(&["compare", before, after]);
    assert_eq!(result, Ok(()), "{out}");
    assert!(
        out.contains("small_put, store and store") && out.contains("  p99 ms"),
        "{out}"
    );
    assert!(
        out.lines()
            .filter(|line| line.contains("ratio"))
            .all(|line| line.contains(" to ")),
        "{out}"
    );
    // A figure that is three times another, of which there is no doubt, is said so.
    let text = std::fs::read_to_string(before).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut unchanged = changed.clone();
    for (report, factor) in [(&mut unchanged, 1.0), (&mut changed, 3.0)] {
        for (round, run) in report["runs"].as_array_mut().unwrap().iter_mut().enumerate() {
            run["report"]["phases"][0]["ops_per_s"] = (factor * (100.0 + round as f64)).into();
        }
    }
    std::fs::write(before, unchanged.to_string()).unwrap();
    std::fs::write(after, changed.to_string()).unwrap();
    let (out, _) = run(&["compare", before, after]);
    let line = out.lines().find(|line| line.contains("ops/s")).unwrap();
    assert!(
        line.contains("101 -> 303: ratio 3.000 (2.") && !line.contains("chance"),
        "{out}"
    );
}

#[test]
fn a_run_that_fails_is_told_and_the_others_are_kept() {
    let (sound, faulty) = (Server::start(Fault::None), Server::start(Fault::WrongByte(3)));
    let folder = tempfile::tempdir().unwrap();
    let (out, result) = suite(
        folder.path(),
        SUITE,
        &[target("sound", &sound), target("faulty", &faulty)],
    );
    let error = result.unwrap_err();
    assert!(
        error.starts_with("3 of 6 runs failed") && error.contains("is wrong at offset 3"),
        "{error}\n{out}"
    );
    // What the faulty one has measured is kept, and is in no mean.
    let json = std::fs::read_to_string(folder.path().join("out/results.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let faulty = json["runs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|run| run["target"] == "faulty");
    assert!(
        faulty.clone().count() == 3 && faulty.clone().all(|run| run["report"]["phases"][0]["ops"] == 20),
        "{json}"
    );
    let line = out.lines().find(|line| line.starts_with("small_put  faulty")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        words[2..],
        ["–", "–", "–", "–", "–", "–", "0", "of", "3", "0", "–"],
        "{line}"
    );
    let page = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(
        page.contains("small on faulty, round 1: ") && page.contains("small_get"),
        "{page}"
    );
}

#[test]
fn what_is_no_suite_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Fault::None);
    let targets = [target("store", &server)];
    for (text, why) in [
        ("name = 1", "is no suite"),
        ("name = \"x\"\nworkload = []", "no workload"),
        (
            "name = \"x\"\n[[workload]]\nname = \"w\"\nflags = \"--op dance\"",
            "workload w on target store",
        ),
        (
            "name = \"x\"\n[[workload]]\nname = \"w\"\nflags = \"--json f\"",
            "writes its results itself",
        ),
    ] {
        let error = suite(folder.path(), text, &targets).1.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    assert!(suite(folder.path(), SUITE, &[]).1.unwrap_err().contains("no target"));
    let twice = [target("a", &server), target("a", &server)];
    assert!(
        suite(folder.path(), SUITE, &twice)
            .1
            .unwrap_err()
            .contains("two targets")
    );
    assert_eq!(server.puts(), 0);
}

/// Those of the repository can be parsed, every workload of them.
#[test]
fn the_suites_that_come_with_the_tool_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites");
    let out = tempfile::tempdir().unwrap();
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        // No workload is wanted that exists: parsing comes before.
        let words = ["suite", file.to_str().unwrap(), "--out", out.path().to_str().unwrap()];
        let error = run(&[&words[..], &["--target", "t=--s3 http://127.0.0.1:1 --no-such-flag"]].concat())
            .1
            .unwrap_err();
        assert!(error.contains("--no-such-flag"), "{}: {error}", file.display());
        let stop = Stop::default();
        stop.request();
        let with_target = [&words[..], &["--target", "t=--s3 http://127.0.0.1:1"]].concat();
        let error = run_with(&parsed(&with_target), &stop, &mut Vec::new()).unwrap_err();
        assert!(
            error.to_string().starts_with("interrupted"),
            "{}: {error:#}",
            file.display()
        );
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn flags_beside_a_subcommand_are_refused() {
    let line = ["bench", "--op", "put", "compare", "a", "b"];
    assert!(Line::try_parse_from(line).is_err());
}
