//! Files without a name: kept while a mount holds them open, released after, and never in the way of others.

use cairn_common::{
    limits,
    wire::{
        command::{Command, EndSession, ErrorCode, Heartbeat, OpenSession, Outcome, ReleaseStep, WriteRequest},
        file::{FileAction, FileCommand, FileId, OrphansPage, UnlinkFile},
        query::{Answer, PlanQuery, Query},
    },
};

use super::{
    files::{ROOT, name},
    harness::Machine,
    release::{collect, count},
};
use crate::core::{release_pending, view::Family};

fn mount(machine: &mut Machine) -> u64 {
    let reply = machine.send(0, 0, 0, Command::OpenSession(OpenSession { mounts: true }));
    match reply.outcome {
        Some(Outcome::Session(session)) => session,
        other => panic!("no session: {other:?}"),
    }
}

/// What a mount's heartbeat, which gives up all reads, is answered.
fn beat(machine: &mut Machine, session: u64, orphans_seen: u64, held: &[u64]) -> Result<OrphansPage, ErrorCode> {
    let held = held.iter().map(|inode| file_id(*inode)).collect();
    let heartbeat = Heartbeat {
        reads_from: u64::MAX,
        orphans_seen,
        held,
        ..Heartbeat::default()
    };
    match machine.send(session, 0, 0, Command::Heartbeat(heartbeat)).outcome {
        Some(Outcome::Orphans(page)) => Ok(page),
        Some(Outcome::Refused(refusal)) => Err(refusal.code()),
        other => panic!("no page of orphans: {other:?}"),
    }
}

fn file_id(inode: u64) -> FileId {
    FileId { bucket: 1, inode }
}

/// A file of two chunks in the root.
fn large(machine: &mut Machine, file: &str) -> u64 {
    let inode = machine.create(ROOT, file).expect("a file");
    for offset in [0, 100] {
        let extents = machine.extents_at(&[offset], 100);
        machine.write(inode, extents).expect("a write");
    }
    inode
}

/// Lets the harness' own session, which is no mount's, give up its reads, and releases what may be.
fn release(machine: &mut Machine) {
    machine.heartbeat(0, u64::MAX);
    collect(machine);
}

#[test]
fn a_file_that_a_mount_holds_open_stays_until_it_is_closed() {
    let mut machine = Machine::new();
    let session = mount(&mut machine);
    let (open, closed) = (large(&mut machine, "open"), large(&mut machine, "closed"));
    let small = machine.create(ROOT, "small").expect("a file");
    machine.write_inline(small, "few bytes").expect("a write");
    let bytes = machine.read(open).expect("readable");
    for file in ["open", "closed", "small"] {
        assert_eq!(machine.unlink(ROOT, file).expect("a file").links, 0);
    }
    assert_eq!(machine.used(), (0, 1));
    // No step is taken before the mount has said which of them it holds.
    release(&mut machine);
    assert_eq!(count(&machine, Family::Chunk), 4);
    let page = beat(&mut machine, session, 0, &[]).expect("a page");
    assert_eq!(page.orphans, [open, closed, small].map(file_id));
    assert_eq!((page.reached, page.more), (machine.log_index - 1, false));
    let next = beat(&mut machine, session, page.reached, &[open, small]).expect("a page");
    assert_eq!(next.orphans, []);
    release(&mut machine);
    assert_eq!(machine.stat(closed), Err(ErrorCode::NoSuchInode));
    assert_eq!(machine.read(open), Ok(bytes));
    assert_eq!(machine.read(small), Ok(b"few bytes".to_vec()));
    assert_eq!(count(&machine, Family::Chunk), 2);
    // It is written to and cut as ever, counts nowhere and gets no name.
    let extents = machine.extents_at(&[1000], 50);
    assert_eq!(machine.write(open, extents).expect("a write").size, 1050);
    machine.truncate(open, 1010).expect("cut");
    assert_eq!(machine.used(), (0, 1));
    assert_eq!(machine.link(open, ROOT, "again"), Err(ErrorCode::NoSuchInode));
    // Closed: it is queued again, and every mount is asked again.
    let page = beat(&mut machine, session, next.reached, &[small]).expect("a page");
    let page = beat(&mut machine, session, page.reached, &[small]).expect("a page");
    assert_eq!(page.orphans, [file_id(open)]);
    let page = beat(&mut machine, session, page.reached, &[small]).expect("a page");
    release(&mut machine);
    assert_eq!(machine.stat(open), Err(ErrorCode::NoSuchInode));
    assert_eq!(count(&machine, Family::Chunk), 0);
    let page = beat(&mut machine, session, page.reached, &[]).expect("a page");
    let page = beat(&mut machine, session, page.reached, &[]).expect("a page");
    beat(&mut machine, session, page.reached, &[]).expect("a page");
    release(&mut machine);
    assert_eq!(machine.stat(small), Err(ErrorCode::NoSuchInode));
    for family in [Family::Hold, Family::Garbage, Family::Extent] {
        assert_eq!(count(&machine, family), 0, "left in {}", family.name());
    }
}

#[test]
fn what_one_mount_holds_is_not_in_the_way_of_what_comes_behind() {
    let mut machine = Machine::new();
    let session = mount(&mut machine);
    let held = large(&mut machine, "held");
    machine.unlink(ROOT, "held").expect("a file");
    let page = beat(&mut machine, session, 0, &[]).expect("a page");
    beat(&mut machine, session, page.reached, &[held]).expect("a page");
    machine.put(b"key", 3).expect("a put");
    machine.delete(b"key").expect("a delete");
    let seen = machine.log_index;
    let page = beat(&mut machine, session, seen, &[held]).expect("a page");
    beat(&mut machine, session, page.reached, &[held]).expect("a page");
    release(&mut machine);
    assert_eq!(count(&machine, Family::Chunk), 2);
    assert_eq!(machine.read(held).expect("readable").len(), 200);
}

#[test]
fn a_file_stays_until_the_last_mount_lets_it_go_or_ends() {
    let mut machine = Machine::new();
    let (first, second) = (mount(&mut machine), mount(&mut machine));
    let file = large(&mut machine, "f");
    machine.unlink(ROOT, "f").expect("a file");
    let seen = machine.log_index;
    for session in [first, second] {
        beat(&mut machine, session, seen, &[file]).expect("a page");
    }
    release(&mut machine);
    beat(&mut machine, first, seen, &[]).expect("a page");
    release(&mut machine);
    assert!(machine.stat(file).is_ok());
    // A heartbeat that comes late takes nothing back and gives nothing up.
    beat(&mut machine, second, seen + 1, &[file]).expect("a page");
    beat(&mut machine, second, seen, &[]).expect("a page");
    release(&mut machine);
    assert!(machine.stat(file).is_ok());
    machine.send(0, 0, 0, Command::EndSession(EndSession { session: second }));
    let seen = machine.log_index;
    beat(&mut machine, first, seen, &[]).expect("a page");
    release(&mut machine);
    assert_eq!(machine.stat(file), Err(ErrorCode::NoSuchInode));
    assert_eq!(
        (count(&machine, Family::Hold), count(&machine, Family::Garbage)),
        (0, 0)
    );
}

#[test]
fn without_a_mount_nothing_waits_for_one() {
    let mut machine = Machine::new();
    let small = machine.create(ROOT, "small").expect("a file");
    machine.write_inline(small, "few bytes").expect("a write");
    machine.unlink(ROOT, "small").expect("a file");
    assert_eq!(count(&machine, Family::Garbage), 0);
    assert_eq!(machine.stat(small), Err(ErrorCode::NoSuchInode));
    large(&mut machine, "large");
    machine.unlink(ROOT, "large").expect("a file");
    machine.heartbeat(0, u64::MAX);
    assert_eq!(release_pending(&machine.view), Ok(true));
    // A session that opens now cannot have it open.
    mount(&mut machine);
    release(&mut machine);
    assert_eq!(count(&machine, Family::Chunk), 0);
}

#[test]
fn a_session_holds_a_bounded_number_of_files() {
    let mut machine = Machine::new();
    let session = mount(&mut machine);
    let many: Vec<u64> = (0..=limits::HELD_FILES_MAX as u64).collect();
    let seen = machine.log_index;
    assert_eq!(beat(&mut machine, session, seen, &many), Err(ErrorCode::LimitExceeded));
    assert!(beat(&mut machine, session, seen, &many[1..]).is_ok());
    assert_eq!(count(&machine, Family::Hold), 2, "only the root is there to be held");
    assert!(beat(&mut machine, session, seen, &[]).is_ok());
    assert_eq!(count(&machine, Family::Hold), 0);
}

#[test]
fn many_orphans_come_in_pages() {
    let mut machine = Machine::new();
    let session = mount(&mut machine);
    let total = limits::ORPHANS_PAGE_MAX + 300;
    let mut inodes: Vec<u64> = (0..total)
        .map(|index| machine.create(ROOT, &format!("f{index}")).expect("a file"))
        .collect();
    let requests: Vec<WriteRequest> = (0..total)
        .map(|index| {
            machine.sequence += 1;
            let unlink = UnlinkFile {
                parent: ROOT,
                name: name(&format!("f{index}")),
            };
            let command = FileCommand {
                bucket: 1,
                action: Some(FileAction::Unlink(unlink)),
            };
            WriteRequest {
                group: 0,
                resent: false,
                settles: false,
                session: machine.session,
                sequence: machine.sequence,
                answered_below: machine.sequence,
                command: Some(Command::File(command)),
            }
        })
        .collect();
    for entry in requests.chunks(limits::ENTRY_COMMANDS_MAX) {
        machine.apply(entry.to_vec());
    }
    let first = beat(&mut machine, session, 0, &[]).expect("a page");
    assert!(first.more && first.orphans.len() >= limits::ORPHANS_PAGE_MAX);
    let second = beat(&mut machine, session, first.reached, &[]).expect("a page");
    assert!(!second.more);
    inodes.retain(|inode| !first.orphans.contains(&file_id(*inode)));
    let rest: Vec<FileId> = inodes.into_iter().map(file_id).collect();
    assert_eq!(second.orphans, rest);
}

#[test]
fn a_body_of_which_a_part_was_released_is_not_read_any_more() {
    let mut machine = Machine::new();
    machine.put(b"key", 400).expect("a put");
    machine.upload_of_two_parts(b"parts");
    let inodes = [b"key".as_slice(), b"parts"].map(|key| {
        let info = machine.object(key).expect("there").info.expect("an info");
        machine.delete(key).expect("a delete");
        info.inode
    });
    machine.heartbeat(0, u64::MAX);
    let mut partly = [false; 2];
    while release_pending(&machine.view) == Ok(true) {
        machine.send(0, 0, 0, Command::ReleaseStep(ReleaseStep { steps: 1 }));
        for (inode, partly) in inodes.into_iter().zip(&mut partly) {
            let query = PlanQuery {
                bucket_id: 1,
                inode,
                from: 0,
                data_version: 0,
            };
            match machine.ask(Query::Plan(query)) {
                Answer::Plan(plan) => assert_eq!(plan.extents.first().map(|extent| extent.file_offset), Some(0)),
                Answer::Refused(refusal) => assert_eq!(refusal.code(), ErrorCode::NoSuchKey),
                other => panic!("no plan: {other:?}"),
            }
            if machine.record(inode).is_some_and(|record| record.releasing) {
                *partly = true;
                assert_eq!(machine.stat(inode), Err(ErrorCode::NoSuchInode));
            }
        }
    }
    assert_eq!(partly, [true; 2]);
    collect(&mut machine);
    assert_eq!(count(&machine, Family::Chunk), 0);
    assert!(machine.object(b"key").is_none());
}
