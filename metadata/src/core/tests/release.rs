//! What lost its name is released, no earlier than readers allow and completely.

use bytes::Bytes;
use cairn_common::wire::command::{Command, ForgetChunks, Outcome, ReleaseStep};

use super::harness::Machine;
use crate::{
    core::{
        deletable_chunks, release_pending, session,
        view::{Family, View},
    },
    record::garbage,
};

pub(super) fn count(machine: &Machine, family: Family) -> usize {
    let mut count = 0;
    let scanned = machine.view.scan(family, &[], &mut |_, _| {
        count += 1;
        true
    });
    assert_eq!(scanned, Ok(()));
    count
}

/// Releases and forgets all that may be.
pub(super) fn collect(machine: &mut Machine) {
    let mut rounds = 0;
    while release_pending(&machine.view) == Ok(true) {
        let reply = machine.send(0, 0, 0, Command::ReleaseStep(ReleaseStep { steps: 7 }));
        assert!(matches!(reply.outcome, Some(Outcome::ReleaseLeft(_))));
        rounds += 1;
        assert!(rounds < 10_000, "releasing does not end");
    }
    loop {
        let chunks = deletable_chunks(&machine.view, 10).expect("a sound state");
        if chunks.is_empty() {
            return;
        }
        assert!(chunks.iter().all(|chunk| chunk.shards.len() == 3));
        let chunk_ids = chunks
            .iter()
            .map(|chunk| Bytes::copy_from_slice(&chunk.id.to_bytes()))
            .collect();
        machine.send(0, 0, 0, Command::ForgetChunks(ForgetChunks { chunk_ids }));
    }
}

#[test]
fn what_was_released_is_not_passed_over_again() {
    let mut machine = Machine::new();
    for round in 1..=3 {
        machine.put(b"key", 1).expect("a put");
        machine.delete(b"key").expect("a delete");
        machine.heartbeat(0, u64::MAX);
        let queued = first_queued(&machine).expect("the deleted body");
        assert!(
            session::store(&machine.view).expect("a record").release_from < queued,
            "round {round}"
        );
        collect(&mut machine);
        assert_eq!(session::store(&machine.view).expect("a record").release_from, queued);
        assert_eq!(first_queued(&machine), None);
    }
}

fn first_queued(machine: &Machine) -> Option<u64> {
    let mut first = None;
    let scanned = machine.view.scan(Family::Garbage, &[], &mut |key, _| {
        first = garbage::queued_at(key);
        false
    });
    assert_eq!(scanned, Ok(()));
    first
}

#[test]
fn a_deleted_body_is_released_completely_in_bounded_steps() {
    let mut machine = Machine::new();
    machine.put(b"d/large", 50).expect("a put");
    machine.put(b"small", 1).expect("a put");
    machine.put(b"d/large", 3).expect("a put in its place");
    machine.delete(b"d/large").expect("a delete");
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!(count(&machine, Family::Chunk), 1);
    assert_eq!(count(&machine, Family::Extent), 0);
    assert_eq!(count(&machine, Family::Garbage), 0);
    assert_eq!(count(&machine, Family::Inode), 2);
}

#[test]
fn a_running_read_holds_what_was_deleted_under_it() {
    let mut machine = Machine::new();
    machine.put(b"read", 2).expect("a put");
    let reading_from = machine.log_index;
    machine.heartbeat(0, reading_from);
    machine.delete(b"read").expect("a delete");
    machine.put(b"other", 1).expect("a put");
    assert_eq!(release_pending(&machine.view), Ok(false));
    collect(&mut machine);
    assert_eq!(count(&machine, Family::Chunk), 3);
    machine.heartbeat(0, machine.log_index);
    collect(&mut machine);
    assert_eq!(count(&machine, Family::Chunk), 1);
}

#[test]
fn a_referenced_chunk_is_never_forgotten() {
    let mut machine = Machine::new();
    machine.put(b"kept", 1).expect("a put");
    let object = machine.object(b"kept").expect("the object");
    let chunk = object.plan.expect("a plan").extents[0].chunk.clone().expect("a chunk");
    machine.send(
        0,
        0,
        0,
        Command::ForgetChunks(ForgetChunks {
            chunk_ids: vec![chunk.id],
        }),
    );
    assert_eq!(count(&machine, Family::Chunk), 1);
}
