//! Sessions and what makes commands happen exactly once.

use cairn_common::{
    limits,
    wire::command::{ErrorCode, Heartbeat, OpenSession, Outcome, WriteRequest},
};

use super::{Expected, Session, Verdict, World, done, no};

impl Session {
    /// The watermark once a request is taken account of.
    fn watermark_with(&self, request: &WriteRequest) -> u64 {
        self.watermark.max(request.answered_below.min(request.sequence))
    }
}

impl World {
    /// What the reply to a numbered request is where it is not carried out now.
    pub(crate) fn answer_without(&self, request: &WriteRequest) -> Option<Expected> {
        let refused = |code| Some(Expected::Refused(vec![code]));
        let Some(session) = self.sessions.get(&request.session) else {
            let mut codes = vec![if request.resent {
                ErrorCode::OutcomeUnknown
            } else {
                ErrorCode::SessionEnded
            }];
            codes.extend(request.command.is_none().then_some(ErrorCode::Malformed));
            return Some(Expected::Refused(codes));
        };
        if request.sequence < session.watermark {
            return refused(ErrorCode::OutcomeUnknown);
        }
        if session.replied.contains(&request.sequence) {
            return Some(Expected::Repeated(request.session, request.sequence));
        }
        if request.sequence - session.watermark_with(request) >= limits::REPLY_WINDOW_MAX as u64 {
            return refused(ErrorCode::SlowDown);
        }
        None
    }

    /// Notes that a numbered request was answered.
    pub(crate) fn remember(&mut self, request: &WriteRequest) {
        let Some(session) = self.sessions.get_mut(&request.session) else {
            return;
        };
        session.replied.insert(request.sequence);
        session.next_sequence = session.next_sequence.max(request.sequence.saturating_add(1));
        session.watermark = session.watermark_with(request);
        session.replied = session.replied.split_off(&session.watermark);
    }

    pub(crate) fn open_session(&mut self, open: &OpenSession) -> Verdict {
        self.last_session += 1;
        let id = self.generation << 40 | self.last_session;
        let session = Session {
            tag: self.tag,
            mounts: open.mounts,
            watermark: 1,
            settled_below: 1,
            reads_from: self.log_index,
            orphans_seen: self.log_index,
            next_sequence: 1,
            ..Session::default()
        };
        self.sessions.insert(id, session);
        Ok(Outcome::Session(id))
    }

    pub(crate) fn end_session(&mut self, id: u64) -> Verdict {
        if self.sessions.remove(&id).is_some() {
            for locks in self.locks.values_mut() {
                locks.retain(|lock| lock.session != id);
            }
        }
        done()
    }

    pub(crate) fn heartbeat(&mut self, id: u64, heartbeat: &Heartbeat) -> Verdict {
        let log_index = self.log_index;
        let Some(session) = self.sessions.get_mut(&id) else {
            return no(ErrorCode::SessionEnded);
        };
        if session.mounts && heartbeat.held.len() > limits::HELD_FILES_MAX {
            return no(ErrorCode::LimitExceeded);
        }
        session.settled_below = session.settled_below.max(heartbeat.settled_below);
        session.reads_from = session.reads_from.max(heartbeat.reads_from.min(log_index));
        if !session.mounts {
            return done();
        }
        self.mount_heartbeat(id, heartbeat)
    }

    /// The oldest log index that a read may see.
    pub(crate) fn oldest_read(&self) -> u64 {
        self.sessions
            .values()
            .map(|session| session.reads_from)
            .min()
            .unwrap_or(u64::MAX)
    }
}
