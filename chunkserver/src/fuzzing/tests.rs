//! The corpus in the tree, run through what the fuzzer calls.
//!
//! Invariant: every fuzz target has a corpus, and that of each target here has inputs that decode and inputs that do not.

mod seeds;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A target's name and its function.
type Target = (&'static str, fn(&[u8]) -> bool);

/// The chunkserver's targets.
const TARGETS: [Target; 9] = [
    ("index_key", super::index_key),
    ("index_record", super::index_record),
    ("location", super::location),
    ("record", super::record),
    ("segment_header", super::segment_header),
    ("segment_name", super::segment_name),
    ("segment_walk", super::segment_walk),
    ("shard_request", super::shard_request),
    ("superblock", super::superblock),
];

/// Targets of other crates.
const TARGETS_ELSEWHERE: [&str; 2] = ["request_head", "response_head"];

/// An input is read by people too.
const INPUT_LEN_MAX: usize = 4096;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The inputs of a target by their file's name; none where there is no folder.
fn corpus_of(target: &str) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(fuzz_folder().join("corpus").join(target)) else {
        return BTreeMap::new();
    };
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("the corpus is readable");
        let bytes = fs::read(entry.path()).expect("the corpus is readable");
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    };
    entries.map(read).collect()
}

#[test]
fn the_corpus_of_each_target_keeps_the_promises_of_its_format() {
    for (target, check) in TARGETS {
        let mut outcomes = BTreeSet::new();
        for (name, bytes) in corpus_of(target) {
            assert!(bytes.len() <= INPUT_LEN_MAX, "{target}/{name} is long");
            let outcome = std::panic::catch_unwind(|| check(&bytes));
            outcomes.insert(outcome.unwrap_or_else(|_| panic!("{target}/{name} breaks a promise, named above")));
        }
        assert_eq!(
            outcomes,
            BTreeSet::from([false, true]),
            "{target}: some decode, some do not"
        );
    }
}

#[test]
fn every_target_has_a_corpus() {
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).expect("the manifest is readable");
    let binaries = manifest
        .split("[[bin]]")
        .skip(1)
        .filter_map(|part| part.split('"').nth(1));
    let binaries: BTreeSet<_> = binaries.collect();
    let known = TARGETS.map(|(target, _)| target).into_iter().chain(TARGETS_ELSEWHERE);
    assert_eq!(binaries, known.collect());
    for target in binaries {
        assert!(!corpus_of(target).is_empty(), "fuzz/corpus/{target} has no input");
    }
}
