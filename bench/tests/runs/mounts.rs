//! Loads on files, in a folder of this machine.

use cairn_bench::{BenchArgs, Stop, run_with};
use clap::Parser;

use super::{Line, figure};

fn args(slots: u32, mount: &std::path::Path, more: &str) -> BenchArgs {
    let line = format!("bench --concurrency {slots} --mount {} {more}", mount.display());
    Line::parse_from(line.split(' ')).args
}

fn run(mount: &std::path::Path, more: &str) -> (String, Result<(), String>) {
    run_by(2, mount, more)
}

fn run_by(slots: u32, mount: &std::path::Path, more: &str) -> (String, Result<(), String>) {
    let mut out = Vec::new();
    let result = run_with(&args(slots, mount, more), &Stop::default(), &mut out);
    let result = result.map_err(|error| format!("{error:#}"));
    (String::from_utf8(out).unwrap(), result)
}

#[test]
fn every_workload_runs_verifies_and_cleans_up() {
    let mount = tempfile::tempdir().unwrap();
    for (op, unit) in [
        ("seq-write", "16KiB"),
        ("seq-read", "16KiB"),
        ("rand-write", "16KiB"),
        ("rand-read", "16KiB"),
        ("fsync", "16KiB"),
        ("untar", "100000B"),
    ] {
        let more = format!("--op {op} --size 100000 --block-size 16KiB --count 40 --read-back");
        let (out, result) = run(mount.path(), &more);
        assert_eq!(result, Ok(()), "{op}\n{out}");
        assert!(figure(&out, &format!("{op}_{unit}_c2_ops")) > 0.0, "{op}\n{out}");
        let read_back = out.contains("read-back (");
        assert_eq!(read_back, !op.ends_with("-read"), "{op}\n{out}");
        assert_eq!(std::fs::read_dir(mount.path()).unwrap().count(), 0, "{op}");
    }
}

#[test]
fn random_blocks_are_taken_from_every_file() {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // One slot, so that all files are its own.
    let run = |mount, more: &str| run_by(1, mount, more);
    let same = "--objects 6 --size 16KiB --block-size 4KiB --seed 9 --keep";
    let written = run(before.path(), &format!("--op seq-write {same} --count 24"));
    assert_eq!(written.1, Ok(()), "{}", written.0);
    for keys in ["uniform", "zipf"] {
        let more = format!("--op rand-write {same} --count 300 --keys {keys} --read-back");
        let (out, result) = run(after.path(), &more);
        assert_eq!(result, Ok(()), "{out}");
        for file in 0..6 {
            let [old, new] = [&before, &after].map(|folder| {
                let path = folder.path().join(format!("bench/0000000000000009/{file:010}"));
                std::fs::read(path).unwrap()
            });
            assert!(old.len() == new.len() && old != new, "{keys}: file {file} is untouched");
        }
        assert_eq!(run(after.path(), "--cleanup").1, Ok(()));
    }
}

#[test]
fn files_without_a_block_are_no_load() {
    let mount = tempfile::tempdir().unwrap();
    let (out, result) = run(mount.path(), "--op rand-read --size 0 --count 5");
    assert!(result.unwrap_err().contains("no operation ended"), "{out}");
}

#[test]
fn a_tree_is_made_and_taken_down() {
    let mount = tempfile::tempdir().unwrap();
    let (out, result) = run(mount.path(), "--op metadata --objects 2100 --size 10");
    assert_eq!(result, Ok(()), "{out}");
    for (step, count) in [
        ("mkdir", 33),
        ("create", 2100),
        ("stat", 2100),
        ("open", 2100),
        ("rename", 2100),
        ("readdir", 33),
        ("unlink", 2100),
        ("rmdir", 33),
    ] {
        assert!(
            out.contains(&format!("{step} ({step}_10B_c2): {count} requests")),
            "{step}\n{out}"
        );
    }
    assert_eq!(std::fs::read_dir(mount.path()).unwrap().count(), 0);
}

#[test]
fn what_is_kept_can_be_deleted_later() {
    let mount = tempfile::tempdir().unwrap();
    let more = "--op untar --count 100 --seed 5 --keep";
    assert_eq!(run(mount.path(), more).1, Ok(()));
    let folder = mount.path().join("bench/0000000000000005");
    assert!(folder.join("a0000/b00/00000000.src").exists());
    let error = run(mount.path(), more).1.unwrap_err();
    assert!(error.contains("left of a run with the same seed"), "{error}");
    let (out, result) = run(mount.path(), "--cleanup");
    assert_eq!((result, folder.exists()), (Ok(()), false), "{out}");
}

#[test]
fn loads_and_targets_must_fit() {
    let mount = tempfile::tempdir().unwrap();
    for (more, why) in [
        ("--op put", "works on objects"),
        ("--op metadata --duration 3", "goes once over"),
        ("--op seq-read --block-size 0", "a block has from 1 byte"),
        ("--op seq-read --prefix ../x", "no folder under the mount"),
        ("--op untar --keys zipf", "takes files in order"),
        ("--op rand-read --keys turn", "give uniform or zipf"),
    ] {
        let error = run(mount.path(), more).1.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let error = super::run(&super::args("http://127.0.0.1:1", "--op untar"))
        .1
        .unwrap_err();
    assert!(error.contains("--mount"), "{error}");
    let error = run(std::path::Path::new("/no/such/folder"), "--op untar")
        .1
        .unwrap_err();
    assert!(error.contains("is no folder"), "{error}");
}
