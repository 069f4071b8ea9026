//! The client's session: its chunk ids, its command numbers, and what it tells the metadata service that it no longer needs.
//!
//! Invariant: a chunk counter is reported settled only after its chunk was committed, or after nobody can commit it any
//! more; a read is reported finished only after its last byte was read. Both err on the side of keeping.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use cairn_common::{
    ids::{ChunkId, SessionId},
    wire::command::Heartbeat,
};
use cairn_datapath::ChunkIds;
use parking_lot::Mutex;

/// A leased identity.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    chunks: Mutex<Numbers>,
    commands: Mutex<Numbers>,
    /// Running reads, counted by the log index that was known when they began.
    reads: Mutex<BTreeMap<u64, usize>>,
    known_index: AtomicU64,
    retired: AtomicBool,
}

/// Numbers handed out in ascending order, and those of them still open.
#[derive(Debug, Default)]
struct Numbers {
    last: u64,
    open: BTreeSet<u64>,
}

impl Numbers {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.open.insert(self.last);
        self.last
    }

    /// All numbers below this one are closed.
    fn closed_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.last + 1)
    }
}

impl Session {
    pub(crate) fn new(id: SessionId, known_index: u64) -> Self {
        Self {
            id,
            chunks: Mutex::default(),
            commands: Mutex::default(),
            reads: Mutex::default(),
            known_index: AtomicU64::new(known_index),
            retired: AtomicBool::new(false),
        }
    }

    pub(crate) const fn id(&self) -> SessionId {
        self.id
    }

    /// Notes the log index of an answer.
    pub(crate) fn observe(&self, log_index: u64) {
        self.known_index.fetch_max(log_index, Ordering::AcqRel);
    }

    /// Gives the session up: its owner opens another, and this one's lease is left to run out.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// A number for a command.
    pub(crate) fn next_command(self: &Arc<Self>) -> CommandNumber {
        let mut commands = self.commands.lock();
        let sequence = commands.next();
        let answered_below = commands.closed_below();
        CommandNumber {
            session: Arc::clone(self),
            sequence,
            answered_below,
            answered: false,
        }
    }

    /// Registers a read; the state that it will see is no older than what is known now.
    pub(crate) fn begin_read(self: &Arc<Self>) -> ReadInProgress {
        let mut reads = self.reads.lock();
        let index = self.known_index.load(Ordering::Acquire);
        *reads.entry(index).or_insert(0) += 1;
        ReadInProgress {
            session: Arc::clone(self),
            index,
        }
    }

    /// What the next heartbeat says.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        let reads = self.reads.lock();
        let known = self.known_index.load(Ordering::Acquire);
        let reads_from = reads.first_key_value().map_or(known, |(index, _)| *index);
        Heartbeat {
            settled_below: self.chunks.lock().closed_below(),
            reads_from,
            ..Heartbeat::default()
        }
    }
}

/// The number of one command; open until it was answered.
#[derive(Debug)]
pub(crate) struct CommandNumber {
    session: Arc<Session>,
    pub(crate) sequence: u64,
    pub(crate) answered_below: u64,
    answered: bool,
}

impl CommandNumber {
    /// The answer is here: it need not be kept for a repetition.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for CommandNumber {
    fn drop(&mut self) {
        // A command given up without answer stays open for good: whether it happened is unknown. The session is retired so
        // that replies kept for it do not pile up behind its number.
        if self.answered {
            self.session.commands.lock().open.remove(&self.sequence);
        } else {
            self.session.retire();
        }
    }
}

/// A read in progress; dropping it ends it.
#[derive(Debug)]
pub(crate) struct ReadInProgress {
    session: Arc<Session>,
    index: u64,
}

impl Drop for ReadInProgress {
    fn drop(&mut self) {
        let mut reads = self.session.reads.lock();
        if let Some(count) = reads.get_mut(&self.index) {
            *count -= 1;
            if *count == 0 {
                reads.remove(&self.index);
            }
        }
    }
}

/// The chunk ids of one body. Dropping it settles them: they are committed, or nobody will.
#[derive(Debug)]
pub(crate) struct Reservation {
    session: Arc<Session>,
    counters: Mutex<Vec<u64>>,
    unknown: AtomicBool,
}

impl Reservation {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            counters: Mutex::default(),
            unknown: AtomicBool::new(false),
        }
    }

    pub(crate) const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether the commit of these chunks happened is unknown: they stay open as long as the session lives.
    pub(crate) fn outcome_unknown(&self) {
        self.unknown.store(true, Ordering::Release);
    }
}

impl ChunkIds for Reservation {
    fn next_chunk_id(&self) -> ChunkId {
        let counter = self.session.chunks.lock().next();
        self.counters.lock().push(counter);
        ChunkId {
            session: self.session.id,
            counter,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.unknown.load(Ordering::Acquire) {
            return;
        }
        let mut chunks = self.session.chunks.lock();
        for counter in self.counters.lock().iter() {
            chunks.open.remove(counter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Arc<Session> {
        Arc::new(Session::new(SessionId::new(1), 10))
    }

    #[test]
    fn chunks_settle_in_order_of_the_oldest_open_body() {
        let session = session();
        let first = Reservation::new(Arc::clone(&session));
        let second = Reservation::new(Arc::clone(&session));
        assert_eq!(first.next_chunk_id().counter, 1);
        assert_eq!(second.next_chunk_id().counter, 2);
        drop(second);
        assert_eq!(session.heartbeat().settled_below, 1);
        drop(first);
        assert_eq!(session.heartbeat().settled_below, 3);
    }

    #[test]
    fn chunks_of_unknown_outcome_never_settle() {
        let session = session();
        let reservation = Reservation::new(Arc::clone(&session));
        reservation.next_chunk_id();
        reservation.outcome_unknown();
        drop(reservation);
        assert_eq!(session.heartbeat().settled_below, 1);
    }

    #[test]
    fn a_running_read_holds_what_it_may_see() {
        let session = session();
        let read = session.begin_read();
        session.observe(20);
        assert_eq!(session.heartbeat().reads_from, 10);
        drop(read);
        assert_eq!(session.heartbeat().reads_from, 20);
    }

    #[test]
    fn an_unanswered_command_retires_the_session() {
        let session = session();
        session.next_command().answered();
        assert!(!session.is_retired());
        let second = session.next_command();
        assert_eq!((second.sequence, second.answered_below), (2, 2));
        drop(second);
        assert!(session.is_retired());
    }
}
