//! Copies by reference: what they hold, and that each chunk goes with its last reference and not before.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_common::wire::{
    command::{Command, CopyObject, CopyPart, CopySource, ErrorCode, Outcome, WriteCondition},
    object::Extent,
    query::{Answer, ObjectQuery, Query},
};
use proptest::prelude::*;

use super::{
    harness::{BUCKET, Machine},
    release::{collect, count},
};
use crate::{
    core::view::{Family, View},
    record::chunk::ChunkRecord,
};

impl Machine {
    pub(super) fn copy(&mut self, from: &[u8], to: &[u8]) -> Result<Outcome, ErrorCode> {
        self.copy_if(from, to, WriteCondition::default(), 0)
    }

    fn copy_if(&mut self, from: &[u8], to: &[u8], of: WriteCondition, inode: u64) -> Result<Outcome, ErrorCode> {
        self.run(Command::CopyObject(CopyObject {
            bucket: BUCKET.to_owned(),
            source: Some(CopySource {
                key: Bytes::copy_from_slice(from),
                inode,
                condition: Some(of),
            }),
            key: Bytes::copy_from_slice(to),
            attributes: None,
            condition: None,
        }))
    }

    fn copy_part(&mut self, upload: u64, number: u32, from: &[u8], range: (u64, u64)) -> Result<Outcome, ErrorCode> {
        self.run(Command::CopyPart(CopyPart {
            bucket: BUCKET.to_owned(),
            key: Bytes::from_static(b"multi"),
            upload,
            number,
            etag: format!("part-{number}"),
            checksums: Vec::new(),
            source: Some(CopySource {
                key: Bytes::copy_from_slice(from),
                ..CopySource::default()
            }),
            offset: range.0,
            length: range.1,
        }))
    }

    pub(super) fn extents(&self, key: &[u8]) -> Vec<Extent> {
        self.object(key).expect("an object").plan.expect("a plan").extents
    }

    /// References by chunk.
    pub(super) fn references(&self) -> BTreeMap<Vec<u8>, u64> {
        let mut references = BTreeMap::new();
        let scanned = self.view.scan(Family::Chunk, &[], &mut |_, value| {
            let record: ChunkRecord = cairn_common::envelope::open(value).expect("a record");
            references.insert(record.chunk.expect("a chunk").id.to_vec(), record.references);
            true
        });
        assert_eq!(scanned, Ok(()));
        references
    }
}

#[test]
fn a_copy_shares_the_chunks_and_outlives_its_source() {
    let mut machine = Machine::new();
    machine.put(b"a", 6).expect("a put");
    let Ok(Outcome::Copied(copied)) = machine.copy(b"a", b"d/b") else {
        panic!("no copy")
    };
    assert_eq!((copied.size, copied.etag.as_str()), (600, "tag-2"));
    assert_eq!(machine.extents(b"a"), machine.extents(b"d/b"));
    assert!(machine.references().values().all(|count| *count == 2));
    machine.delete(b"a").expect("a delete");
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!(machine.extents(b"d/b").len(), 6);
    assert!(machine.references().values().all(|count| *count == 1));
    machine.delete(b"d/b").expect("a delete");
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!((count(&machine, Family::Chunk), count(&machine, Family::Inode)), (0, 1));
}

#[test]
fn an_object_may_be_copied_onto_itself_and_inline_ones_too() {
    let mut machine = Machine::new();
    machine.put(b"a", 2).expect("a put");
    assert!(machine.copy(b"a", b"a").is_ok());
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert!(machine.references().values().all(|count| *count == 1));
    machine.put(b"small", 0).expect("a put");
    assert!(machine.copy(b"small", b"copy").is_ok());
    let plan = |key: &[u8]| machine.object(key).expect("an object").plan.expect("a plan");
    assert_eq!(plan(b"copy"), plan(b"small"));
}

#[test]
fn a_copy_takes_the_source_that_its_sender_saw() {
    let mut machine = Machine::new();
    machine.put(b"a", 1).expect("a put");
    let inode = machine.object(b"a").expect("an object").info.expect("an info").inode;
    let etag = |etag: &str| WriteCondition {
        etag: etag.to_owned(),
        ..WriteCondition::default()
    };
    assert_eq!(
        machine.copy_if(b"a", b"b", etag("other"), 0),
        Err(ErrorCode::PreconditionFailed)
    );
    assert!(machine.copy_if(b"a", b"b", etag("tag-2"), inode).is_ok());
    machine.put(b"a", 1).expect("a put");
    assert_eq!(
        machine.copy_if(b"a", b"b", etag(""), inode),
        Err(ErrorCode::PreconditionFailed)
    );
    assert_eq!(machine.copy(b"none", b"b"), Err(ErrorCode::NoSuchKey));
}

#[test]
fn what_is_too_large_for_one_command_is_copied_in_ranges() {
    let mut machine = Machine::new();
    machine.put(b"large", 300).expect("a put");
    assert_eq!(machine.copy(b"large", b"copy"), Err(ErrorCode::CopyInSteps));
    assert!(machine.references().values().all(|count| *count == 1));
    let upload = machine.start(b"multi");
    assert!(machine.copy_part(upload, 1, b"large", (0, 15_050)).is_ok());
    assert!(machine.copy_part(upload, 2, b"large", (15_050, 14_950)).is_ok());
    assert_eq!(
        machine.copy_part(upload, 3, b"large", (29_000, 1_001)),
        Err(ErrorCode::Malformed)
    );
    machine.complete(b"multi", upload, &[1, 2]).expect("completed");
    assert_eq!(
        machine.object(b"multi").expect("the copy").info.expect("an info").size,
        30_000
    );
    let (mut copied, mut at) = (Vec::new(), 0);
    while at < 30_000 {
        let extents = machine.plan_from(b"multi", at);
        at = extents
            .last()
            .map(|last| last.file_offset + last.length)
            .expect("an extent");
        copied.extend(extents);
    }
    assert_eq!(copied.len(), 301, "one chunk is cut where the parts meet");
    assert!(
        copied
            .windows(2)
            .all(|pair| pair[0].file_offset + pair[0].length == pair[1].file_offset)
    );
    let cut: Vec<_> = copied.iter().filter(|extent| extent.length == 50).collect();
    assert_eq!((cut[0].chunk_offset, cut[1].chunk_offset), (0, 50));
    assert_eq!(machine.references().values().filter(|count| **count == 3).count(), 1);
    machine.delete(b"large").expect("a delete");
    machine.delete(b"multi").expect("a delete");
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!((count(&machine, Family::Chunk), count(&machine, Family::Part)), (0, 0));
}

#[test]
fn a_multipart_object_is_copied_by_its_parts() {
    let mut machine = Machine::new();
    let source = machine.start(b"source");
    machine.part(b"source", source, 1, 2).expect("a part");
    machine.part(b"source", source, 2, 0).expect("an inline part");
    machine.complete(b"source", source, &[1, 2]).expect("completed");
    assert_eq!(machine.copy(b"source", b"copy"), Err(ErrorCode::CopyInSteps));
    let upload = machine.start(b"multi");
    assert_eq!(
        machine.copy_part(upload, 1, b"source", (0, 204)),
        Err(ErrorCode::CopyInSteps)
    );
    assert!(machine.copy_part(upload, 1, b"source", (0, 200)).is_ok());
    assert!(machine.copy_part(upload, 2, b"source", (201, 2)).is_ok());
    machine.complete(b"multi", upload, &[1, 2]).expect("completed");
    let extents = machine.extents(b"multi");
    assert_eq!(
        extents.last().map(|last| last.inline.clone()),
        Some(Bytes::from_static(b"ai"))
    );
}

impl Machine {
    fn plan_from(&self, key: &[u8], plan_from: u64) -> Vec<Extent> {
        let query = ObjectQuery {
            bucket: BUCKET.to_owned(),
            key: Bytes::copy_from_slice(key),
            with_plan: true,
            plan_from,
        };
        match self.ask(Query::Object(query)) {
            Answer::Object(object) => object.plan.expect("a plan").extents,
            other => panic!("no object: {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn references_are_exact_after_any_commands(
        steps in proptest::collection::vec((0_u8..5, 0_u8..4, 0_u8..4, 0_u64..7), 1..60),
    ) {
        let mut machine = Machine::new();
        let key = |number: u8| vec![b'k', b'0' + number];
        for (choice, from, to, chunks) in steps {
            match choice {
                0 | 1 => prop_assert!(machine.put(&key(to), chunks).is_ok()),
                2 | 3 => {
                    let there = machine.object(&key(from)).is_some();
                    prop_assert_eq!(machine.copy(&key(from), &key(to)).is_ok(), there);
                }
                _ => prop_assert!(machine.delete(&key(to)).is_ok()),
            }
            if chunks == 0 {
                machine.heartbeat(0, machine.log_index);
                collect(&mut machine);
            }
        }
        machine.heartbeat(0, machine.log_index + 1);
        collect(&mut machine);
        let mut expected = BTreeMap::new();
        for number in 0..4 {
            if machine.object(&key(number)).is_some() {
                for extent in machine.extents(&key(number)) {
                    *expected.entry(extent.chunk.expect("a chunk").id.to_vec()).or_insert(0) += 1;
                }
            }
        }
        prop_assert_eq!(machine.references(), expected);
    }
}
