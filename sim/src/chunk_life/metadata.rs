//! The state machine: each function is a command applied, or a question it answers about itself.
//!
//! Invariant: nothing here looks at what clients, devices or workers know; a command carries what it needs.

use super::{
    model::ChunkLife,
    network::{Message, Row},
    places::Place,
    state::{Metadata, Record, Restored, Session, State, Workers},
    weakening::Weakening,
};

impl ChunkLife {
    pub(super) fn open_session(state: &mut State, session: u8) {
        state.metadata.sessions[usize::from(session)] = Session::Alive {
            settled_below: 1,
            reads_from: state.metadata.index,
        };
    }

    pub(super) fn heartbeat(state: &mut State, session: u8, settled: u8, reads: u8) {
        let known = &mut state.metadata.sessions[usize::from(session)];
        if let Session::Alive {
            settled_below,
            reads_from,
        } = known
        {
            // Numbers only grow: a late heartbeat takes nothing back.
            *settled_below = settled.max(*settled_below);
            *reads_from = reads.max(*reads_from);
        }
    }

    pub(super) fn tells_news(state: &State, session: u8, settled: u8, reads: u8) -> bool {
        match state.metadata.sessions[usize::from(session)] {
            Session::Alive {
                settled_below,
                reads_from,
            } => settled > settled_below || reads > reads_from,
            Session::NotOpened | Session::Ended | Session::Unknown => false,
        }
    }

    /// Whether a commit may be accepted in this state or a later one. Once it may not, it never may again.
    pub(super) fn can_ever_commit(&self, metadata: &Metadata, chunk: u8) -> bool {
        let write = self.scenario.chunks[usize::from(chunk)];
        let is_open = match metadata.sessions[usize::from(write.session)] {
            Session::NotOpened => true,
            Session::Alive { settled_below, .. } => {
                write.counter >= settled_below || self.is_weak(Weakening::CommitBelowSettled)
            }
            Session::Ended => self.is_weak(Weakening::CommitAfterSessionEnd),
            Session::Unknown => false,
        };
        // A command that comes again under its (session, sequence) gets its first answer.
        let is_new = !metadata.records[usize::from(chunk)].committed || self.is_weak(Weakening::CommitTwice);
        is_open && is_new
    }

    /// Makes a chunk the body under its name; the body before it is queued for release.
    pub(super) fn commit(&self, state: &mut State, chunk: u8, row: Row, epoch: u8) {
        let record = state.metadata.records[usize::from(chunk)];
        if !self.can_ever_commit(&state.metadata, chunk) || record.references.is_some() {
            return;
        }
        if self.has_lost_too_many(&state.metadata, row, epoch) {
            return;
        }
        if record.committed {
            state.breach = Some("a chunk is committed a second time");
        }
        let group = state.metadata.groups[usize::from(self.group_of(chunk))];
        let mut misplaced = record.misplaced;
        let changed = epoch < group.since && !self.is_weak(Weakening::MisplacedNotMarked);
        for slot in self.slots().map(usize::from).filter(|_| changed) {
            misplaced[slot] = Some(row[slot]).filter(|device| *device != group.row[slot]);
        }
        let missing = self.lost_since(&state.metadata, row, epoch);
        self.note_lost_before_commit(state, row, missing);
        self.note_written_home(state, chunk, row, missing);
        state.metadata.records[usize::from(chunk)] = Record {
            references: Some(1),
            misplaced,
            missing,
            committed: true,
        };
        let key = self.scenario.chunks[usize::from(chunk)].key;
        Self::put_name(&mut state.metadata, key, Some(chunk));
    }

    pub(super) fn delete_key(state: &mut State, key: u8) {
        state.budget.deletes -= 1;
        Self::put_name(&mut state.metadata, key, None);
    }

    pub(super) fn copy_key(state: &mut State, from: u8, to: u8) {
        state.budget.copies -= 1;
        let Some(chunk) = state.metadata.keys[usize::from(from)] else {
            return;
        };
        let references = &mut state.metadata.records[usize::from(chunk)].references;
        *references = references.map(|references| references + 1);
        Self::put_name(&mut state.metadata, to, Some(chunk));
    }

    fn put_name(metadata: &mut Metadata, key: u8, body: Option<u8>) {
        let freed = std::mem::replace(&mut metadata.keys[usize::from(key)], body);
        if freed.is_some() {
            metadata.queue[usize::from(metadata.index)] = freed;
            metadata.index += 1;
        }
    }

    /// The position in the queue of the entry that may be released now.
    pub(super) fn releasable(&self, metadata: &Metadata) -> Option<usize> {
        let reads = metadata.sessions.iter().filter_map(|session| match session {
            Session::Alive { reads_from, .. } => Some(*reads_from),
            Session::NotOpened | Session::Ended | Session::Unknown => None,
        });
        let oldest_read = reads.min().unwrap_or(u8::MAX);
        let first = metadata.queue.iter().position(Option::is_some)?;
        let queued_at = first + 1;
        (queued_at <= usize::from(oldest_read) || self.is_weak(Weakening::ReleaseUnderReaders)).then_some(first)
    }

    /// Drops the reference of the first entry; a chunk without any is garbage.
    pub(super) fn release(&self, state: &mut State) {
        let Some(first) = self.releasable(&state.metadata) else {
            return;
        };
        if let Some(chunk) = state.metadata.queue[first].take() {
            let references = &mut state.metadata.records[usize::from(chunk)].references;
            *references = references.map(|references| references - 1);
        }
    }

    pub(super) fn forget(state: &mut State, chunk: u8) {
        let record = &mut state.metadata.records[usize::from(chunk)];
        *record = Record {
            committed: record.committed,
            ..Record::default()
        };
    }

    /// Whether no record names the chunk and nobody can commit it any more.
    pub(super) fn is_orphan(&self, metadata: &Metadata, chunk: u8) -> bool {
        let write = self.scenario.chunks[usize::from(chunk)];
        let is_over = match metadata.sessions[usize::from(write.session)] {
            Session::NotOpened | Session::Unknown => false,
            Session::Alive { settled_below, .. } => {
                write.counter < settled_below || self.is_weak(Weakening::OrphansByGuess)
            }
            Session::Ended => true,
        };
        metadata.records[usize::from(chunk)].references.is_none() && is_over
    }

    /// Whether the chunk is known and kept elsewhere.
    pub(super) fn is_stray(&self, metadata: &Metadata, place: Place) -> bool {
        let group = self.group_of(place.chunk);
        let moving_from = metadata.groups[usize::from(group)].moving_from;
        let left = Some((place.slot, place.device));
        let left_early = self.is_weak(Weakening::OldShardsDeletedWhileMoving) && moving_from == left;
        let mut homes = metadata.homes(group, place.chunk, place.slot);
        let at_home = homes.any(|home| home == place) && !left_early;
        metadata.records[usize::from(place.chunk)].references.is_some() && !at_home
    }

    /// Goes back to the backup. A new generation begins: every session of the older ones has ended, whether or not the
    /// backup knows it, and devices refuse what was said before.
    pub(super) fn restore(&self, state: &mut State) {
        let Some(backup) = state.backup.take() else {
            return;
        };
        let undone = std::mem::replace(&mut state.metadata, backup);
        state.metadata.deletion_held = true;
        if !self.is_weak(Weakening::EpochsReusedAfterRestore) {
            // The generation in the epoch's top bits, as in session ids: above every epoch of the time that is undone.
            state.metadata.epoch = undone.epoch + 1;
        }
        state.budget.restores = 0;
        state.workers = Workers::default();
        for (session, undone) in state.metadata.sessions.iter_mut().zip(undone.sessions) {
            let is_known = !matches!(session, Session::NotOpened);
            *session = match (*session, undone) {
                (_, Session::NotOpened) => Session::NotOpened,
                (known, _) if is_known && self.is_weak(Weakening::SessionsSurviveRestore) => known,
                (_, _) if !is_known && self.is_weak(Weakening::UndoneSessionsUnknown) => Session::Unknown,
                (_, _) => Session::Ended,
            };
        }
        let messages: Vec<Message> = state.network.iter().collect();
        for message in messages {
            let is_delete = matches!(message, Message::Delete { .. });
            // What a leader was told to have noted goes no further than the log that ends here.
            let is_survey = matches!(message, Message::Missing(_) | Message::Surveyed { .. });
            if is_survey || is_delete && !self.is_weak(Weakening::DeletesSurviveRestore) {
                state.network.drop_message(message);
            }
        }
        for chunk in self.chunks() {
            state.restored[usize::from(chunk)] = self.restored(state, chunk);
        }
    }

    fn restored(&self, state: &State, chunk: u8) -> Restored {
        let is_home = |slot| {
            self.homes(state, chunk, slot)
                .any(|home| state.devices.stored.contains(home))
        };
        if !state.metadata.is_referenced(chunk) || self.slots().all(is_home) {
            Restored::Whole
        } else if self.slots().all(|slot| state.devices.hold_any(chunk, slot)) {
            Restored::Elsewhere
        } else {
            Restored::Lost
        }
    }

    /// stable → moving.
    pub(super) fn start_move(&self, state: &mut State, group: u8, slot: u8, to: u8) {
        state.budget.moves -= 1;
        state.metadata.epoch += 1;
        let placed = &mut state.metadata.groups[usize::from(group)];
        let from = std::mem::replace(&mut placed.row[usize::from(slot)], to);
        placed.moving_from = Some((slot, from));
        placed.since = state.metadata.epoch;
        // What was copied for the row before says nothing about this one.
        state.workers.copied.retain(|place| self.group_of(place.chunk) != group);
    }

    pub(super) fn is_present_move(&self, state: &State, group: u8, since: u8) -> bool {
        let placed = state.metadata.groups[usize::from(group)];
        let is_this = placed.since == since || self.is_weak(Weakening::DoneOfAnotherMove);
        // Where any will do, one may do later.
        is_this && (placed.moving_from.is_some() || self.is_weak(Weakening::DoneOfAnotherMove))
    }

    /// moving → stable.
    pub(super) fn finish_move(&self, state: &mut State, group: u8, since: u8) {
        let is_moving = state.metadata.groups[usize::from(group)].moving_from.is_some();
        if is_moving && self.is_present_move(state, group, since) {
            state.metadata.groups[usize::from(group)].moving_from = None;
            state.metadata.epoch += 1;
        }
    }

    pub(super) fn is_present_repair(&self, state: &State, place: Place, since: u8) -> bool {
        let is_present = self.unchanged_since(&state.metadata, place) == since;
        let is_marked = state.metadata.is_marked(place.chunk, place.slot);
        is_marked && (is_present || self.is_weak(Weakening::RepairOfAnotherRow))
    }

    /// Clears the marks of a shard: a copy lies where the row wants it.
    pub(super) fn replace(&self, state: &mut State, place: Place, since: u8) {
        let placed = state.metadata.groups[usize::from(self.group_of(place.chunk))];
        if self.is_present_repair(state, place, since) && placed.row[usize::from(place.slot)] == place.device {
            let record = &mut state.metadata.records[usize::from(place.chunk)];
            record.misplaced[usize::from(place.slot)] = None;
            record.missing[usize::from(place.slot)] = false;
        }
    }
}
