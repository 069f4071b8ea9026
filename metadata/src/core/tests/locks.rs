//! Locks against a plain model of bytes, and when they go.

use std::collections::BTreeMap;

use cairn_common::{
    envelope::seal,
    ids::{BucketId, InodeId, SessionId},
    limits,
    wire::{
        command::{Command, EndSession, ErrorCode, Outcome, ReleaseStep},
        lock::{HeldLock, LockAction, LockCommand, LockKind, LockPageQuery, LockQuery, LockQuestion, LockRange},
        query::{Answer, Query},
    },
};
use proptest::prelude::*;

use super::{
    harness::Machine,
    release::{collect, count},
};
use crate::{
    core::view::{Family, Write},
    record::lock::{LockPlace, LockRecord},
};

const BUCKET_ID: u64 = 1;

fn range(owner: u64, exclusive: bool, first: u64, last: u64) -> LockRange {
    LockRange {
        kind: LockKind::Range.into(),
        owner,
        pid: u32::try_from(owner).expect("a small owner"),
        exclusive,
        first,
        last,
    }
}

fn whole(owner: u64, exclusive: bool) -> LockRange {
    LockRange {
        kind: LockKind::WholeFile.into(),
        ..range(owner, exclusive, 0, u64::MAX)
    }
}

impl Machine {
    fn lock_as(&mut self, session: u64, sequence: u64, inode: u64, action: LockAction) -> Result<bool, ErrorCode> {
        let command = LockCommand {
            bucket_id: BUCKET_ID,
            inode,
            action: Some(action),
        };
        let reply = self.send(session, sequence, sequence, Command::Lock(command));
        match reply.outcome.expect("an outcome") {
            Outcome::Lock(outcome) => Ok(outcome.conflict.is_none()),
            Outcome::Refused(refusal) => Err(refusal.code()),
            other => panic!("no lock: {other:?}"),
        }
    }

    fn lock(&mut self, inode: u64, action: LockAction) -> Result<bool, ErrorCode> {
        self.sequence += 1;
        self.lock_as(self.session, self.sequence, inode, action)
    }

    fn test(&self, session: u64, inode: u64, range: LockRange) -> Option<HeldLock> {
        let question = LockQuestion::Test(HeldLock {
            session,
            lock: Some(range),
        });
        self.locks(inode, question).pop()
    }

    fn all_locks(&self, inode: u64, limit: u32) -> Vec<HeldLock> {
        let mut all: Vec<HeldLock> = Vec::new();
        loop {
            let after = all.last().cloned();
            let page = self.locks(inode, LockQuestion::Page(LockPageQuery { after, limit }));
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    fn locks(&self, inode: u64, question: LockQuestion) -> Vec<HeldLock> {
        let query = LockQuery {
            bucket_id: BUCKET_ID,
            inode,
            question: Some(question),
        };
        match self.ask(Query::Lock(query)) {
            Answer::Lock(answer) => answer.locks,
            other => panic!("no locks: {other:?}"),
        }
    }

    fn file_of_key(&mut self, key: &[u8], chunks: u64) -> u64 {
        self.put(key, chunks).expect("a put");
        self.object(key).expect("the object").info.expect("an info").inode
    }
}

const BYTES: u64 = 12;

/// Who holds each byte, and how: (session, owner) → exclusive.
type Model = Vec<BTreeMap<(u64, u64), bool>>;

fn expected(model: &mut Model, holder: (u64, u64), set: Option<bool>, bytes: std::ops::RangeInclusive<u64>) -> bool {
    let places: Vec<usize> = bytes
        .map(|byte| usize::try_from(byte.min(BYTES)).expect("few"))
        .collect();
    if let Some(exclusive) = set {
        let free = places.iter().all(|place| {
            let others = model[*place].iter().filter(|(other, _)| **other != holder);
            others.into_iter().all(|(_, theirs)| !exclusive && !theirs)
        });
        if !free {
            return false;
        }
    }
    for place in places {
        match set {
            Some(exclusive) => model[place].insert(holder, exclusive),
            None => model[place].remove(&holder),
        };
    }
    true
}

fn held(machine: &Machine, inode: u64) -> Model {
    let mut model: Model = vec![BTreeMap::new(); usize::try_from(BYTES).expect("few") + 1];
    for held in machine.all_locks(inode, 3) {
        let lock = held.lock.expect("a lock");
        for byte in lock.first..=lock.last.min(BYTES) {
            let place = usize::try_from(byte).expect("few");
            let before = model[place].insert((held.session, lock.owner), lock.exclusive);
            assert_eq!(before, None, "two locks of one owner overlap");
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn byte_ranges_equal_the_model(
        steps in proptest::collection::vec((0_usize..2, 1_u64..3, 0_u8..3, 0..BYTES, 0..BYTES + 2), 1..60),
    ) {
        let mut machine = Machine::new();
        let inode = machine.file_of_key(b"locked", 1);
        let first = machine.session;
        machine.open_session();
        let sessions = [first, machine.session];
        let mut model: Model = vec![BTreeMap::new(); usize::try_from(BYTES).expect("few") + 1];
        for (number, (session, owner, how, from, length)) in (100_u64..).zip(steps) {
            let last = if length > BYTES { u64::MAX } else { (from + length).min(BYTES - 1) };
            let wanted = range(owner, how == 2, from, last);
            let set = (how > 0).then_some(how == 2);
            let action = if how > 0 { LockAction::Set(wanted.clone()) } else { LockAction::Release(wanted.clone()) };
            let free = machine.test(sessions[session], inode, wanted).is_none();
            let granted = machine.lock_as(sessions[session], number, inode, action);
            let to = last.min(BYTES);
            prop_assert_eq!(granted, Ok(expected(&mut model, (sessions[session], owner), set, from..=to)));
            if how > 0 {
                prop_assert_eq!(granted, Ok(free));
            }
            prop_assert_eq!(&held(&machine, inode), &model);
        }
        for session in sessions {
            machine.send(0, 0, 0, Command::EndSession(EndSession { session }));
        }
        collect(&mut machine);
        prop_assert_eq!(count(&machine, Family::Lock), 0);
    }
}

#[test]
fn neighbouring_ranges_become_one_and_split_again() {
    let mut machine = Machine::new();
    let inode = machine.file_of_key(b"f", 0);
    for (first, last) in [(0, 9), (20, 29), (10, 19)] {
        assert_eq!(
            machine.lock(inode, LockAction::Set(range(1, true, first, last))),
            Ok(true)
        );
    }
    let ranges = |machine: &Machine| -> Vec<(u64, u64, bool)> {
        let locks = machine.all_locks(inode, 10).into_iter().filter_map(|held| held.lock);
        locks.map(|lock| (lock.first, lock.last, lock.exclusive)).collect()
    };
    assert_eq!(ranges(&machine), [(0, 29, true)]);
    assert_eq!(machine.lock(inode, LockAction::Set(range(1, false, 5, 7))), Ok(true));
    assert_eq!(ranges(&machine), [(0, 4, true), (5, 7, false), (8, 29, true)]);
    assert_eq!(
        machine.lock(inode, LockAction::Release(range(1, false, 0, 25))),
        Ok(true)
    );
    assert_eq!(ranges(&machine), [(26, 29, true)]);
}

#[test]
fn the_kinds_do_not_see_each_other_and_a_failed_upgrade_keeps_what_was_held() {
    let mut machine = Machine::new();
    let inode = machine.file_of_key(b"f", 0);
    assert_eq!(machine.lock(inode, LockAction::Set(whole(1, false))), Ok(true));
    assert_eq!(
        machine.lock(inode, LockAction::Set(range(2, true, 0, u64::MAX))),
        Ok(true)
    );
    assert_eq!(machine.lock(inode, LockAction::Set(whole(2, false))), Ok(true));
    assert_eq!(machine.lock(inode, LockAction::Set(whole(1, true))), Ok(false));
    assert_eq!(machine.all_locks(inode, 10).len(), 3);
    assert_eq!(machine.lock(inode, LockAction::Release(whole(2, false))), Ok(true));
    assert_eq!(machine.lock(inode, LockAction::Set(whole(1, true))), Ok(true));
    let conflict = machine
        .test(machine.session, inode, range(3, false, 7, 7))
        .expect("a conflict");
    assert_eq!(conflict.lock.map(|lock| (lock.owner, lock.pid)), Some((2, 2)));
    let malformed = LockRange {
        first: 1,
        ..whole(1, true)
    };
    assert_eq!(
        machine.lock(inode, LockAction::Set(malformed)),
        Err(ErrorCode::Malformed)
    );
    assert_eq!(
        machine.lock(999, LockAction::Set(whole(1, true))),
        Err(ErrorCode::NoSuchInode)
    );
}

#[test]
fn locks_of_an_ended_session_are_nobodys_at_once_and_are_released() {
    let mut machine = Machine::new();
    let inode = machine.file_of_key(b"f", 0);
    for byte in 0..300 {
        assert_eq!(
            machine.lock(inode, LockAction::Set(range(1, true, byte * 2, byte * 2))),
            Ok(true)
        );
    }
    let old = machine.session;
    machine.open_session();
    assert_eq!(machine.lock(inode, LockAction::Set(range(1, true, 0, 9))), Ok(false));
    machine.send(0, 0, 0, Command::EndSession(EndSession { session: old }));
    assert_eq!(machine.all_locks(inode, 10), []);
    assert_eq!(machine.test(machine.session, inode, range(1, true, 4, 4)), None);
    machine.send(0, 0, 0, Command::ReleaseStep(ReleaseStep { steps: 100 }));
    assert_eq!(machine.lock(inode, LockAction::Set(range(1, true, 0, 9))), Ok(true));
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    // One lock, its place under its session, and the session's count.
    assert_eq!(count(&machine, Family::Lock), 3);
}

#[test]
fn locks_of_an_inode_go_with_it() {
    let mut machine = Machine::new();
    for chunks in [0, 1] {
        let inode = machine.file_of_key(b"f", chunks);
        assert_eq!(machine.lock(inode, LockAction::Set(whole(1, true))), Ok(true));
        assert_eq!(machine.lock(inode, LockAction::Set(range(1, true, 3, 4))), Ok(true));
        machine.delete(b"f").expect("a delete");
        machine.heartbeat(0, u64::MAX);
        collect(&mut machine);
        assert_eq!((count(&machine, Family::Lock), count(&machine, Family::Inode)), (0, 1));
        machine.heartbeat(0, machine.log_index);
    }
}

#[test]
fn an_inode_has_as_many_locks_as_each_command_can_look_at() {
    let mut machine = Machine::new();
    let inode = machine.file_of_key(b"f", 0);
    // What as many commands would leave, each of which would look at all before it.
    for number in 0..limits::LOCKS_PER_INODE_MAX as u64 {
        let place = LockPlace {
            bucket: BucketId::new(BUCKET_ID),
            inode: InodeId::new(inode),
            kind: 2,
            first: number * 2,
            session: SessionId::new(machine.session),
            owner: 1,
        };
        let record = LockRecord {
            last: number * 2,
            exclusive: true,
            pid: 1,
        };
        let write = |key: Vec<u8>, value: Vec<u8>| Write {
            family: Family::Lock,
            key,
            value: Some(value),
        };
        let writes = vec![
            write(place.key(), seal(&record)),
            write(place.session_key(), Vec::new()),
        ];
        machine.view.commit(writes);
    }
    let beyond = range(1, true, 1 << 40, 1 << 40);
    assert_eq!(
        machine.lock(inode, LockAction::Set(beyond)),
        Err(ErrorCode::LimitExceeded)
    );
    assert_eq!(
        machine.lock(inode, LockAction::Set(range(1, true, 0, 1 << 40))),
        Ok(true)
    );
    assert_eq!(machine.all_locks(inode, 1000).len(), 1);
}
