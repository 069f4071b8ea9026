//! The corpus in the tree, run through what the fuzzer calls. (That every target has one is tested beside the chunkserver's.)
//!
//! Invariant: the corpus of each target has inputs that decode and inputs that do not.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use bytes::Bytes;
use cairn_common::wire::{
    failure::FailureCode,
    head::{HEAD_LENGTH_BYTES, TraceContext},
    kind::RequestKind,
};

use super::{request_head, response_head};
use crate::{
    call::failure,
    frame::{encode_request_head, encode_response_head},
};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus");

#[test]
fn the_corpus_of_each_target_keeps_the_promises_of_the_frame() {
    type Target = (&'static str, fn(&[u8]) -> bool);
    let targets: [Target; 2] = [("request_head", request_head), ("response_head", response_head)];
    for (target, check) in targets {
        let mut outcomes = BTreeSet::new();
        for entry in fs::read_dir(Path::new(CORPUS).join(target)).expect("the target has a corpus") {
            let path = entry.expect("the corpus is readable").path();
            let bytes = fs::read(&path).expect("the corpus is readable");
            let outcome = std::panic::catch_unwind(|| check(&bytes));
            let broken = |_| panic!("{} breaks a promise, named above", path.display());
            outcomes.insert(outcome.unwrap_or_else(broken));
        }
        assert_eq!(
            outcomes,
            BTreeSet::from([false, true]),
            "{target}: some decode, some do not"
        );
    }
}

/// Makes the first inputs: what is really sent, and the same damaged.
#[test]
#[ignore = "writes into the tree"]
fn write_the_seeds() {
    let message = Bytes::from_static(b"message");
    let trace = TraceContext {
        trace_id_high: 1,
        trace_id_low: 2,
        span_id: 3,
    };
    let timeout = Duration::from_millis(1500);
    let request = |trace| encode_request_head(RequestKind::GetShard, timeout, &message, trace);
    let refused = Err(failure(FailureCode::NotFound, "no such shard"));
    let seeds = [
        ("request_head", "plain", request(None)),
        ("request_head", "traced", request(Some(trace))),
        ("response_head", "reply", encode_response_head(&Ok(message.clone()))),
        ("response_head", "failed", encode_response_head(&refused)),
    ];
    for (target, name, frame) in seeds {
        let folder = Path::new(CORPUS).join(target);
        fs::create_dir_all(&folder).expect("the tree is writable");
        let head = &frame[HEAD_LENGTH_BYTES..];
        fs::write(folder.join(name), head).expect("the tree is writable");
        fs::write(folder.join(format!("{name}_cut")), &head[..head.len() - 1]).expect("the tree is writable");
    }
}
