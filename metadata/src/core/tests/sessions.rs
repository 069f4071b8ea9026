//! Sessions and commands that happen exactly once.

use cairn_common::{
    ids::{ChunkId, SessionId},
    limits,
    wire::command::{Command, EndSession, ErrorCode, Outcome, WriteCondition, WriteReply, WriteRequest},
};

use super::harness::Machine;
use crate::core::live_sessions;

fn code(reply: &WriteReply) -> Option<ErrorCode> {
    match &reply.outcome {
        Some(Outcome::Refused(refusal)) => Some(refusal.code()),
        _ => None,
    }
}

#[test]
fn a_command_sent_again_gets_its_first_answer_and_changes_nothing() {
    let mut machine = Machine::new();
    let absent = WriteCondition {
        must_be_absent: true,
        ..WriteCondition::default()
    };
    let put = Command::PutObject(machine.put_command(b"once", 1, absent));
    let session = machine.session;
    let first = machine.send(session, 9, 1, put.clone());
    assert_eq!(code(&first), None);
    assert_eq!(machine.send(session, 9, 1, put.clone()), first);
    let again = WriteRequest {
        session,
        sequence: 9,
        answered_below: 1,
        group: 0,
        resent: false,
        settles: false,
        command: Some(put.clone()),
    };
    assert_eq!(machine.apply(vec![again.clone(), again]), [first.clone(), first]);
    // Once the session says that it has the answer, it is forgotten.
    assert_eq!(
        code(&machine.send(session, 10, 10, put.clone())),
        Some(ErrorCode::PreconditionFailed)
    );
    assert_eq!(code(&machine.send(session, 9, 1, put)), Some(ErrorCode::OutcomeUnknown));
}

#[test]
fn the_window_of_answers_is_bounded() {
    let mut machine = Machine::new();
    let session = machine.session;
    let far = limits::REPLY_WINDOW_MAX as u64 + 10;
    let put = Command::PutObject(machine.put_command(b"far", 0, WriteCondition::default()));
    assert_eq!(
        code(&machine.send(session, far, 1, put.clone())),
        Some(ErrorCode::SlowDown)
    );
    // That was no outcome: once there is room, the same command is carried out.
    assert_eq!(code(&machine.send(session, far, 11, put)), None);
}

#[test]
fn a_reply_takes_the_place_of_one_that_was_received() {
    let mut machine = Machine::new();
    let session = machine.session;
    let window = limits::REPLY_WINDOW_MAX as u64;
    let mut put = |key: &[u8]| Command::PutObject(machine.put_command(key, 0, WriteCondition::default()));
    let (first, other, last) = (put(b"first"), put(b"other"), put(b"last"));
    // The session holds the answers below 5; the reply to 6 stays while the one to 2 makes room.
    let sent = [(2, 1, &first), (6, 1, &other), (2 + window, 5, &last)];
    let replies = sent.map(|(sequence, answered, put)| machine.send(session, sequence, answered, put.clone()));
    assert!(replies.iter().all(|reply| code(reply).is_none()));
    assert_eq!(machine.send(session, 6, 5, other), replies[1]);
    assert_eq!(machine.send(session, 2 + window, 5, last), replies[2]);
    assert_eq!(
        code(&machine.send(session, 2, 1, first.clone())),
        Some(ErrorCode::OutcomeUnknown)
    );
    // Its slot is free for what comes late in the same window.
    assert_eq!(code(&machine.send(session, 5, 5, first)), None);
}

#[test]
fn a_chunk_is_committed_once_whatever_the_order_of_counters() {
    let mut machine = Machine::new();
    let early = machine.put_command(b"early", 1, WriteCondition::default());
    machine.put(b"late", 1).expect("a put");
    assert!(machine.run(Command::PutObject(early.clone())).is_ok());
    assert_eq!(machine.run(Command::PutObject(early)), Err(ErrorCode::Malformed));
}

#[test]
fn chunks_of_an_ended_session_can_not_be_committed_and_are_orphans() {
    let mut machine = Machine::new();
    machine.put(b"kept", 1).expect("a put");
    let kept = ChunkId {
        session: SessionId::new(machine.session),
        counter: 1,
    };
    let put = machine.put_command(b"late", 1, WriteCondition::default());
    let lost = ChunkId {
        session: SessionId::new(machine.session),
        counter: 2,
    };
    assert_eq!(machine.is_orphan(lost), Ok(false));
    let old = machine.session;
    machine.send(0, 0, 0, Command::EndSession(EndSession { session: old }));
    let late = machine.send(old, 77, 77, Command::PutObject(put.clone()));
    assert_eq!(code(&late), Some(ErrorCode::SessionEnded));
    machine.open_session();
    assert_eq!(machine.run(Command::PutObject(put)), Err(ErrorCode::SessionEnded));
    assert_eq!(machine.is_orphan(lost), Ok(true));
    assert_eq!(machine.is_orphan(kept), Ok(false));
    assert_eq!(live_sessions(&machine.view), Ok(vec![SessionId::new(machine.session)]));
}

#[test]
fn settled_chunks_can_not_be_committed_and_are_orphans() {
    let mut machine = Machine::new();
    let put = machine.put_command(b"late", 1, WriteCondition::default());
    machine.heartbeat(2, 0);
    assert_eq!(machine.run(Command::PutObject(put)), Err(ErrorCode::SessionEnded));
    let settled = ChunkId {
        session: SessionId::new(machine.session),
        counter: 1,
    };
    assert_eq!(machine.is_orphan(settled), Ok(true));
    let open = ChunkId {
        session: SessionId::new(machine.session),
        counter: 2,
    };
    assert_eq!(machine.is_orphan(open), Ok(false));
    let never_opened = ChunkId {
        session: SessionId::new(machine.session + 5),
        counter: 1,
    };
    assert_eq!(machine.is_orphan(never_opened), Ok(false));
}

#[test]
fn a_chunk_is_committed_once() {
    let mut machine = Machine::new();
    let put = machine.put_command(b"one", 1, WriteCondition::default());
    assert!(machine.run(Command::PutObject(put.clone())).is_ok());
    assert_eq!(machine.run(Command::PutObject(put)), Err(ErrorCode::Malformed));
}

#[test]
fn a_command_sent_again_after_its_session_ended_has_an_unknown_outcome() {
    let mut machine = Machine::new();
    let put = Command::PutObject(machine.put_command(b"k", 0, WriteCondition::default()));
    let session = machine.session;
    machine.send(0, 0, 0, Command::EndSession(EndSession { session }));
    let mut send = |resent| {
        let request = WriteRequest {
            group: 0,
            session,
            sequence: 9,
            answered_below: 9,
            resent,
            settles: false,
            command: Some(put.clone()),
        };
        machine.apply(vec![request]).pop().expect("a reply")
    };
    assert_eq!(code(&send(false)), Some(ErrorCode::SessionEnded));
    assert_eq!(code(&send(true)), Some(ErrorCode::OutcomeUnknown));
    assert!(machine.object(b"k").is_none());
}

#[test]
fn a_session_that_leaps_ahead_keeps_no_more_answers_than_the_window() {
    let mut machine = Machine::new();
    let session = machine.session;
    let window = limits::REPLY_WINDOW_MAX as u64;
    let put = Command::PutObject(machine.put_command(b"k", 0, WriteCondition::default()));
    let leap = machine.send(session, 100 * window, 0, put.clone());
    assert_eq!(code(&leap), Some(ErrorCode::SlowDown));
    for step in 1..20 {
        machine.send(session, step * window + step, step * window + step, put.clone());
    }
    let kept = super::release::count(&machine, crate::core::view::Family::Reply);
    assert!(kept <= limits::REPLY_WINDOW_MAX, "{kept} answers are kept");
    machine.send(0, 0, 0, Command::EndSession(EndSession { session }));
    assert_eq!(super::release::count(&machine, crate::core::view::Family::Reply), 0);
}
