//! Histories of a directory tree: half a rename is never seen.

use super::super::{DirectoryTree, Node, Operation, Refusal, RenameMode, TreeCall, TreeReply};
use super::{answered, judge, unknown};

type Recorded = Operation<TreeCall, TreeReply>;

fn create(path: &str, file: u64) -> TreeCall {
    let path = path.to_owned();
    TreeCall::Create { path, file }
}

fn make(path: &str) -> TreeCall {
    TreeCall::MakeDirectory { path: path.to_owned() }
}

fn rename(from: &str, to: &str, mode: RenameMode) -> TreeCall {
    let (from, to) = (from.to_owned(), to.to_owned());
    TreeCall::Rename { from, to, mode }
}

fn lookup(path: &str) -> TreeCall {
    TreeCall::Lookup { path: path.to_owned() }
}

fn list(path: &str) -> TreeCall {
    TreeCall::List { path: path.to_owned() }
}

fn names(names: &[&str]) -> TreeReply {
    TreeReply::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

/// A sequence, one operation after the other.
fn sequence(steps: Vec<(TreeCall, TreeReply)>) -> Vec<Recorded> {
    let numbered = (0..).step_by(2).zip(steps);
    numbered
        .map(|(at, (call, reply))| answered(at, at + 1, call, reply))
        .collect()
}

#[test]
fn the_rules_of_names() {
    use Refusal::{Exists, Invalid, IsDirectory, NotDirectory, NotEmpty, NotFound};
    use RenameMode::{Exchange, NoReplace, Replace};
    use TreeReply::{Done, Found, Refused};
    let remove = |path: &str| TreeCall::RemoveDirectory { path: path.to_owned() };
    let unlink = |path: &str| TreeCall::Unlink { path: path.to_owned() };
    let steps = vec![
        (make("d"), Done),
        (make("d"), Refused(Exists)),
        (create("d/f", 1), Done),
        (create("d/f/x", 2), Refused(NotDirectory)),
        (create("x/f", 2), Refused(NotFound)),
        (create("g", 2), Done),
        (remove("d"), Refused(NotEmpty)),
        (remove("g"), Refused(NotDirectory)),
        (unlink("d"), Refused(IsDirectory)),
        (rename("g", "d/f", NoReplace), Refused(Exists)),
        (rename("g", "d", Replace), Refused(IsDirectory)),
        (rename("d", "g", Replace), Refused(NotDirectory)),
        (rename("d", "d/e", Replace), Refused(Invalid)),
        (rename("d/f", "d", Exchange), Refused(Invalid)),
        (rename("none", "d", Replace), Refused(NotFound)),
        (rename("g", "none", Exchange), Refused(NotFound)),
        (rename("g", "g", Replace), Done),
        (rename("g", "d/f", Exchange), Done),
        (lookup("g"), Found(Node::File(1))),
        (lookup("d/f"), Found(Node::File(2))),
        (rename("d", "g", Exchange), Done),
        (list("g"), names(&["f"])),
        (lookup("d"), Found(Node::File(1))),
        (make("e"), Done),
        (rename("g", "e", Replace), Done),
        (list(""), names(&["d", "e"])),
        (lookup("e/f"), Found(Node::File(2))),
        (rename("e/f", "d", Replace), Done),
        (remove("e"), Done),
        (lookup("d"), Found(Node::File(2))),
        (unlink("d"), Done),
        (list(""), names(&[])),
    ];
    let history = sequence(steps);
    assert!(super::is_linearizable(&DirectoryTree, &history));
    // No step may be answered otherwise.
    for index in 0..history.len() {
        let mut changed = history.clone();
        let reply = if changed[index].answer().expect("answered").0 == &Done {
            Refused(NotEmpty)
        } else {
            Done
        };
        changed[index] = answered(
            2 * index as u64,
            2 * index as u64 + 1,
            changed[index].call.clone(),
            reply,
        );
        assert!(!super::is_linearizable(&DirectoryTree, &changed), "step {index}");
    }
}

#[test]
fn renames_are_atomic() {
    use RenameMode::{Exchange, Replace};
    use TreeReply::{Done, Found, Refused};
    let prepared = |rest: Vec<Recorded>| {
        let mut history = sequence(vec![(create("a", 1), Done), (create("b", 2), Done)]);
        history.extend(rest);
        history
    };
    let gone = || Refused(Refusal::NotFound);
    let cases = vec![
        (
            "a listing sees one name or the other",
            true,
            prepared(vec![
                answered(10, 19, rename("a", "c", Replace), Done),
                answered(11, 12, list(""), names(&["a", "b"])),
                answered(13, 14, list(""), names(&["b", "c"])),
            ]),
        ),
        (
            "a listing sees both",
            false,
            prepared(vec![
                answered(10, 19, rename("a", "c", Replace), Done),
                answered(11, 12, list(""), names(&["a", "b", "c"])),
            ]),
        ),
        (
            "the old name is gone before the new one is there",
            false,
            prepared(vec![
                answered(10, 19, rename("a", "c", Replace), Done),
                answered(11, 12, lookup("a"), gone()),
                answered(13, 14, lookup("c"), gone()),
            ]),
        ),
        (
            "half an exchange",
            false,
            prepared(vec![
                answered(10, 19, rename("a", "b", Exchange), Done),
                answered(11, 12, lookup("a"), Found(Node::File(2))),
                answered(13, 14, lookup("b"), Found(Node::File(2))),
            ]),
        ),
        (
            "a rename of unknown outcome",
            true,
            prepared(vec![
                unknown(10, rename("a", "b", Replace)),
                answered(11, 12, lookup("a"), Found(Node::File(1))),
                answered(13, 14, lookup("b"), Found(Node::File(1))),
                answered(15, 16, lookup("a"), gone()),
            ]),
        ),
        (
            "two creations of unknown outcome, and a listing of both",
            true,
            vec![
                unknown(0, create("a", 1)),
                unknown(0, create("b", 2)),
                answered(1, 2, list(""), names(&["a", "b"])),
            ],
        ),
    ];
    judge(&DirectoryTree, cases);
}
