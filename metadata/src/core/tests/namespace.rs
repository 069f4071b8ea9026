//! Keys, conditions and directories.

use cairn_common::wire::command::{Command, DeleteBucket, ErrorCode, WriteCondition};

use super::harness::{BUCKET, Machine};
use crate::core::view::{Family, View};

fn records(machine: &Machine, family: Family) -> usize {
    let mut count = 0;
    let scanned = machine.view.scan(family, &[], &mut |_, _| {
        count += 1;
        true
    });
    assert_eq!(scanned, Ok(()));
    count
}

#[test]
fn keys_that_differ_in_a_byte_are_different_keys() {
    let mut machine = Machine::new();
    let mut keys: Vec<&[u8]> = vec![
        b"a",
        b"a/",
        b"a/b",
        b"a//b",
        b"/a",
        b"/",
        b"//",
        b"a/./b",
        b"a/../b",
        b"a b",
        b"a+b",
        b"a%b",
        b"a\nb",
        b".",
        b"..",
        "ä/ö".as_bytes(),
        b"a\0",
        b"\xff",
    ];
    let long = [b"x".repeat(1024), b"y/".repeat(512), b"/".repeat(1024)];
    keys.extend(long.iter().map(Vec::as_slice));
    for key in &keys {
        assert!(machine.put(key, 0).is_ok(), "{key:?}");
    }
    for key in &keys {
        let object = machine.object(key).expect("the object is there");
        assert_eq!(
            object.plan.expect("a plan").inline.as_ref(),
            &key[..key.len().min(100)],
            "{key:?}"
        );
    }
    keys.sort();
    let expected: Vec<(Vec<u8>, bool)> = keys.iter().map(|key| (key.to_vec(), false)).collect();
    for limit in [1, 2, 1000] {
        assert_eq!(machine.list(b"", b"", b"", limit), expected);
    }
    assert_eq!(machine.put(&[b'x'; 1025], 0), Err(ErrorCode::Malformed));
    assert_eq!(machine.put(b"", 0), Err(ErrorCode::Malformed));
}

#[test]
fn directories_vanish_with_their_last_key_and_explicit_ones_stay() {
    let mut machine = Machine::new();
    let before = (records(&machine, Family::Dentry), records(&machine, Family::Inode));
    machine.put(b"p/q/r/s", 0).expect("a put");
    machine.put(b"p/q/t", 0).expect("a put");
    machine.put(b"p/", 0).expect("a put");
    machine.delete(b"p/q/r/s").expect("a delete");
    assert!(
        machine
            .list(b"", b"", b"", 9)
            .iter()
            .map(|(key, _)| key.as_slice())
            .eq([b"p/".as_slice(), b"p/q/t"])
    );
    machine.delete(b"p/q/t").expect("a delete");
    assert_eq!(machine.list(b"", b"/", b"", 9), [(b"p/".to_vec(), true)]);
    machine.delete(b"p/").expect("a delete");
    machine.delete(b"p/").expect("deleting what is not there succeeds");
    assert_eq!(
        (records(&machine, Family::Dentry), records(&machine, Family::Inode)),
        before
    );
    assert!(
        machine
            .run(Command::DeleteBucket(DeleteBucket {
                name: BUCKET.to_owned()
            }))
            .is_ok()
    );
    assert_eq!(records(&machine, Family::Inode), 0);
}

#[test]
fn conditions_are_decided_with_the_write() {
    let mut machine = Machine::new();
    let absent = WriteCondition {
        must_be_absent: true,
        ..WriteCondition::default()
    };
    let tag = |etag: &str| WriteCondition {
        etag: etag.to_owned(),
        ..WriteCondition::default()
    };
    let mut put = |condition| {
        let command = machine.put_command(b"key", 1, condition);
        machine.run(Command::PutObject(command)).map(|_| machine.sequence)
    };
    assert_eq!(put(tag("tag-1")), Err(ErrorCode::NoSuchKey));
    let first = put(absent.clone()).expect("nothing was there");
    assert_eq!(put(absent), Err(ErrorCode::PreconditionFailed));
    assert_eq!(put(tag("other")), Err(ErrorCode::PreconditionFailed));
    let second = put(tag(&format!("tag-{first}"))).expect("the tag fits");
    assert!(put(tag("*")).is_ok());
    assert_eq!(put(tag(&format!("tag-{second}"))), Err(ErrorCode::PreconditionFailed));
    assert_eq!(records(&machine, Family::Chunk), 3);
}

#[test]
fn a_refused_command_leaves_nothing() {
    let mut machine = Machine::new();
    machine.put(b"there", 1).expect("a put");
    let absent = WriteCondition {
        must_be_absent: true,
        ..WriteCondition::default()
    };
    let mut command = machine.put_command(b"there", 2, absent);
    let chunks = records(&machine, Family::Chunk);
    assert_eq!(
        machine.run(Command::PutObject(command.clone())),
        Err(ErrorCode::PreconditionFailed)
    );
    command.condition = None;
    command.body.as_mut().expect("a body").size = 1;
    assert_eq!(machine.run(Command::PutObject(command)), Err(ErrorCode::Malformed));
    assert_eq!(records(&machine, Family::Chunk), chunks);
}

#[test]
fn a_bucket_that_holds_something_is_not_deleted() {
    let mut machine = Machine::new();
    machine.put(b"d/", 0).expect("a put");
    let delete = || {
        Command::DeleteBucket(DeleteBucket {
            name: BUCKET.to_owned(),
        })
    };
    assert_eq!(machine.run(delete()), Err(ErrorCode::BucketNotEmpty));
    machine.delete(b"d/").expect("a delete");
    assert!(machine.run(delete()).is_ok());
    assert_eq!(machine.run(delete()), Err(ErrorCode::NoSuchBucket));
    assert_eq!(machine.put(b"d/", 0), Err(ErrorCode::NoSuchBucket));
}

#[test]
fn a_large_body_is_planned_in_pages_without_holes() {
    let mut machine = Machine::new();
    machine.put(b"large", 700).expect("a put");
    let mut object = machine.object(b"large").expect("the object");
    let mut offset = 0;
    let mut extents = object.plan.take().expect("a plan").extents;
    while offset < 70_000 {
        assert!(!extents.is_empty());
        for extent in extents {
            assert_eq!(extent.file_offset, offset);
            offset += extent.length;
        }
        let inode = object.info.as_ref().expect("an info").inode;
        let query = cairn_common::wire::query::PlanQuery {
            bucket_id: object.bucket_id,
            inode,
            from: offset,
            data_version: 0,
        };
        extents = match machine.ask(cairn_common::wire::query::Query::Plan(query)) {
            cairn_common::wire::query::Answer::Plan(plan) => plan.extents,
            other => panic!("no plan: {other:?}"),
        };
    }
    assert_eq!(offset, 70_000);
}
