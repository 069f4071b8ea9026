//! Mixed loads: every read has a right answer, also of what is overwritten and deleted meanwhile.

use super::support::{Fault, Server};
use super::{args, fails, figure, run};

const EVERYTHING: &str = "get=10,range-get=10,stat=10,list=5,put=10,overwrite=10,copy=5,delete=10";

#[test]
fn reads_among_overwritings_are_right() {
    let server = Server::start(Fault::None);
    let more = format!("--op mixed --mix {EVERYTHING} --keys zipf --objects 8 --count 2000 --size 20000 --read-back");
    let (out, result) = run(&args(&server.url(), &more));
    assert_eq!(result, Ok(()), "{out}");
    for op in ["get", "range-get", "stat", "list", "put", "overwrite", "copy", "delete"] {
        assert!(figure(&out, &format!("mixed_20000B_c2_{op}_ops")) > 0.0, "{op}\n{out}");
    }
    assert!(server.keys().is_empty());
}

#[test]
fn an_old_version_among_overwritings_is_found_out() {
    let mix = "--op mixed --mix get=1,overwrite=1 --objects 4 --count 200 --size 5000";
    let (out, error) = fails(Fault::OldVersion, mix);
    assert!(
        error.contains("is wrong at offset") && out.contains(" corrupt"),
        "{error}\n{out}"
    );
}

#[test]
fn the_same_seed_gives_the_same_load() {
    let server = Server::start(Fault::None);
    let more = "--op mixed --objects 8 --count 300 --size 1-100 --seed 3 --concurrency 1 --json";
    let folder = tempfile::tempdir().unwrap();
    let counts = ["a", "b"].map(|name| {
        let file = folder.path().join(name);
        let line = more.replace("--concurrency 1", "").replace("  ", " ");
        let mut args = args(&server.url(), &format!("{line} {}", file.display()));
        args.run.load.concurrency = 1;
        assert_eq!(run(&args).1, Ok(()));
        let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let by_op = json["phases"][1]["by_op"].as_object().unwrap().clone();
        by_op
            .iter()
            .map(|(op, figures)| (op.clone(), figures["ops"].clone(), figures["bytes"].clone()))
            .collect::<Vec<_>>()
    });
    assert_eq!(counts[0], counts[1]);
}
