//! Each workload alone: it does what it says, finds what is wrong, and leaves nothing behind.

use super::support::{Fault, Server};
use super::{args, fails, figure, run};

#[test]
fn every_workload_runs_verifies_and_cleans_up() {
    for op in [
        "put",
        "get",
        "stat",
        "delete",
        "list",
        "range-get",
        "overwrite",
        "copy",
        "mixed",
        "put-get",
    ] {
        let server = Server::start(Fault::None);
        let more = format!("--op {op} --count 60 --objects 20 --size 3000-9000 --range-size 1000 --page 7 --read-back");
        let (out, result) = run(&args(&server.url(), &more));
        assert_eq!(result, Ok(()), "{op}\n{out}");
        let phase = if op == "put-get" { "get" } else { op };
        assert!(
            figure(&out, &format!("{phase}_3000B-9000B_c2_ops")) > 0.0,
            "{op}\n{out}"
        );
        assert!(server.keys().is_empty(), "{op}: {:?}", server.keys());
    }
}

#[test]
fn every_object_is_deleted_once() {
    let server = Server::start(Fault::None);
    let (out, result) = run(&args(&server.url(), "--op delete --objects 25 --duration 60 --size 10"));
    assert_eq!(result, Ok(()), "{out}");
    assert!(out.contains("delete (delete_10B_c2): 25 requests"), "{out}");
}

#[test]
fn parts_make_up_the_object() {
    let server = Server::start(Fault::None);
    let more = "--op multipart --count 3 --size 12000001 --part-size 5MiB --read-back --keep --seed 1";
    let (out, result) = run(&args(&server.url(), more));
    assert_eq!(result, Ok(()), "{out}");
    assert!(
        out.contains("read-back") && out.contains("3 requests by 2 slots, 0.036 GB"),
        "{out}"
    );
    assert_eq!((server.keys().len(), server.unfinished_uploads()), (3, 0));
}

#[test]
fn an_upload_that_fails_is_given_up() {
    let (server, more) = (
        Server::start(Fault::NoComplete),
        "--op multipart --count 3 --size 5MiB --part-size 5MiB",
    );
    let (out, result) = run(&args(&server.url(), more));
    assert!(result.is_err_and(|error| error.contains("503 SlowDown")), "{out}");
    assert_eq!(server.unfinished_uploads(), 0);
}

#[test]
fn a_listing_without_one_of_its_keys_is_found_out() {
    let (out, error) = fails(
        Fault::ForgetsAKey,
        "--op list --objects 20 --count 2 --page 5 --size 10",
    );
    assert!(
        error.contains("is wrong at entry 1") && out.contains("2 listing"),
        "{error}\n{out}"
    );
}

#[test]
fn short_pages_of_a_listing_are_right_as_far_as_they_go() {
    let server = Server::start(Fault::ShortPages);
    let more = "--op list --objects 20 --count 30 --page 10 --size 10 --keep";
    assert_eq!(run(&args(&server.url(), more)).1, Ok(()));
    let (out, result) = run(&args(&server.url(), "--cleanup"));
    assert_eq!((result, server.keys().len()), (Ok(()), 0), "{out}");
}

#[test]
fn a_load_that_only_overwrites_never_puts() {
    // Every other object that it would overwrite could not be written before.
    let (out, error) = fails(
        Fault::PutStatus(503, 2),
        "--op overwrite --objects 2 --count 5 --size 10",
    );
    assert!(!out.contains("put ("), "{out}");
    assert!(
        error.contains("each of which overwrites one of its own"),
        "{error}\n{out}"
    );
}

#[test]
fn an_overwriting_that_did_not_happen_is_found_out() {
    let (_, error) = fails(
        Fault::OldVersion,
        "--op overwrite --objects 4 --count 8 --size 5000 --read-back",
    );
    assert!(error.contains("is wrong at offset"), "{error}");
}

#[test]
fn what_an_earlier_run_has_left_is_deleted() {
    let server = Server::start(Fault::NoComplete);
    let put = "--op put --count 5 --size 10 --keep";
    for seed in [1, 2] {
        assert_eq!(run(&args(&server.url(), &format!("{put} --seed {seed}"))).1, Ok(()));
    }
    assert_eq!(run(&args(&server.url(), &format!("{put} --prefix other/"))).1, Ok(()));
    let (out, result) = run(&args(&server.url(), "--cleanup --seed 1"));
    assert_eq!((result, server.keys().len()), (Ok(()), 10), "{out}");
    let (out, result) = run(&args(&server.url(), "--cleanup"));
    assert_eq!((result, server.keys().len()), (Ok(()), 5), "{out}");
    assert!(
        out.contains("5 objects and 0 unfinished uploads under bench/ were deleted"),
        "{out}"
    );
    assert!(run(&args(&server.url(), "--cleanup --prefix=")).1.is_err());
}

#[test]
fn what_others_have_under_the_prefix_stays() {
    let server = Server::start(Fault::None);
    let foreign = ["bench/0000000000000001/mine", "bench/mine", "bench/zz/0000000001"];
    foreign.iter().for_each(|key| server.add_foreign(key));
    assert_eq!(
        run(&args(&server.url(), "--op put --count 5 --size 10 --keep --seed 1")).1,
        Ok(())
    );
    for more in ["--cleanup --seed 1", "--cleanup"] {
        let (out, result) = run(&args(&server.url(), more));
        assert_eq!(result, Ok(()), "{out}");
        assert_eq!(
            (server.keys(), server.unfinished_uploads()),
            (foreign.map(str::to_owned).to_vec(), 3),
            "{out}"
        );
    }
}

#[test]
fn the_bucket_can_stand_in_the_host() {
    let server = Server::start(Fault::None);
    let url = format!("http://localhost:{}", server.address.port());
    let (out, result) = run(&args(
        &url,
        "--virtual-host --op mixed --count 40 --objects 8 --size 10",
    ));
    assert_eq!(result, Ok(()), "{out}");
}

#[test]
fn several_endpoints_share_the_load() {
    // Two names of one store.
    let server = Server::start(Fault::None);
    let urls = format!("{},http://localhost:{}", server.url(), server.address.port());
    let (out, result) = run(&args(&urls, "--count 20 --size 10"));
    assert_eq!(result, Ok(()), "{out}");
    assert!(out.contains(&format!("target s3 {urls}: version memory/1")), "{out}");
}

#[test]
fn impossible_loads_are_refused() {
    let server = Server::start(Fault::None);
    for (more, why) in [
        ("--op put --size 6GiB", "at most 5GiB"),
        ("--op multipart --part-size 1MiB", "a part has from 5MiB"),
        ("--op multipart --size 1000GiB --part-size 5MiB", "at most 10000 parts"),
        ("--op overwrite --objects 1", "at least as many"),
        ("--op range-get --range-size 0", "at least one byte"),
        ("--op delete --warm-up 1", "deleted once"),
    ] {
        let error = run(&args(&server.url(), more)).1.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(server.puts(), 0);
}
