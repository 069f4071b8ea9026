//! Clients and operators: what they may do next, and what it does.
//!
//! They are held to few rules, so that the state machine must hold the rest: a client may settle a chunk whose commit is
//! still under way, go on under a session that has ended, and stop anywhere. Invariant: an id is used for one write.

use super::{
    model::{Action, ChunkLife},
    network::Message,
    places::{DEVICES, Place, SLOTS},
    state::{Reader, Session, State, Write},
    weakening::Weakening,
};

impl ChunkLife {
    pub(super) fn client_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let room = state.network.room(self.scenario.in_flight);
        for chunk in self.chunks() {
            match state.clients.writes[usize::from(chunk)] {
                Write::Unused => {
                    if self.may_begin_write(state, chunk) && room >= usize::from(self.scenario.width) {
                        actions.push(Action::BeginWrite(chunk));
                    }
                }
                Write::Open { durable, .. } => {
                    let mut slots = self.slots();
                    let is_durable = slots.all(|slot| durable[usize::from(slot)]);
                    if room > 0 && (is_durable || self.is_weak(Weakening::CommitBeforeDurable)) {
                        actions.push(Action::SendCommit(chunk));
                    }
                    actions.push(Action::Settle(chunk));
                }
                Write::Settled => {}
            }
        }
        for (session, known) in (0..self.scenario.sessions).zip(state.metadata.sessions) {
            match known {
                Session::NotOpened => actions.push(Action::OpenSession(session)),
                Session::Alive { .. } => {
                    let heartbeat = self.next_heartbeat(state, session);
                    if room > 0 && self.is_news(state, heartbeat) {
                        actions.push(Action::SendHeartbeat(session));
                    }
                    if state.clients.reader == Reader::Idle && state.budget.reads > 0 {
                        actions.push(Action::BeginRead(session));
                    }
                }
                Session::Ended | Session::Unknown => {}
            }
        }
        self.name_actions(state, actions);
    }

    fn name_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (key, body) in (0..).zip(state.metadata.keys) {
            if body.is_none() {
                continue;
            }
            if matches!(state.clients.reader, Reader::Registered { .. }) {
                actions.push(Action::Plan(key));
            }
            if state.budget.deletes > 0 {
                actions.push(Action::DeleteKey(key));
            }
            if state.budget.copies > 0 {
                actions.push(Action::CopyKey { from: key, to: 1 - key });
            }
        }
    }

    pub(super) fn operator_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.budget.restores > 0 {
            actions.push(if state.backup.is_some() {
                Action::Restore
            } else {
                Action::BackUp
            });
        }
        if state.metadata.deletion_held {
            actions.push(Action::AllowDeletion);
        }
        let groups = (0..self.scenario.groups).zip(state.metadata.groups);
        for (group, placed) in groups.filter(|(_, placed)| placed.moving_from.is_none() && state.budget.moves > 0) {
            let row = &placed.row[..usize::from(self.scenario.width)];
            for to in (0..self.scenario.devices).filter(|device| !row.contains(device)) {
                actions.extend(self.slots().map(|slot| Action::StartMove { group, slot, to }));
            }
        }
        debug_assert!(usize::from(self.scenario.devices) <= DEVICES, "scenarios are small");
    }

    /// Counters are drawn in order, and by a session that is believed to be alive.
    fn may_begin_write(&self, state: &State, chunk: u8) -> bool {
        let own = self.scenario.chunks[usize::from(chunk)];
        let drawn_before = self.chunks().filter(|other| {
            let other = self.scenario.chunks[usize::from(*other)];
            other.session == own.session && other.counter < own.counter
        });
        let is_open = matches!(state.metadata.sessions[usize::from(own.session)], Session::Alive { .. });
        let mut states = drawn_before.map(|other| state.clients.writes[usize::from(other)]);
        is_open && states.all(|write| write != Write::Unused)
    }

    pub(super) fn begin_write(&self, state: &mut State, chunk: u8) {
        let row = state.metadata.groups[usize::from(self.group_of(chunk))].row;
        for slot in self.slots() {
            let place = Place::new(chunk, slot, row[usize::from(slot)]);
            let life = state.metadata.life_of(place.device);
            state.network.send(Message::Put { place, life });
        }
        state.clients.writes[usize::from(chunk)] = Write::Open {
            row,
            epoch: state.metadata.epoch,
            durable: [false; SLOTS],
        };
    }

    pub(super) fn send_commit(state: &mut State, chunk: u8) {
        if let Write::Open { row, epoch, .. } = state.clients.writes[usize::from(chunk)] {
            state.network.send(Message::Commit { chunk, row, epoch });
        }
    }

    /// Counters below the first that is not settled; the oldest read in progress, or what is known now.
    pub(super) fn next_heartbeat(&self, state: &State, session: u8) -> Message {
        let own = self
            .chunks()
            .map(usize::from)
            .filter(|chunk| self.scenario.chunks[*chunk].session == session);
        let open = own
            .clone()
            .filter(|chunk| state.clients.writes[*chunk] != Write::Settled);
        let counter = |chunk: usize| self.scenario.chunks[chunk].counter;
        let settled_below = open.map(counter).min();
        let settled_below = settled_below.unwrap_or_else(|| own.map(counter).max().unwrap_or(0) + 1);
        let reads_from = match state.clients.reader {
            Reader::Registered { session: of, from } | Reader::Reading { session: of, from, .. }
                if of == session && !self.is_weak(Weakening::HeartbeatWithoutReads) =>
            {
                from
            }
            Reader::Idle | Reader::Registered { .. } | Reader::Reading { .. } => state.metadata.index,
        };
        Message::Heartbeat {
            session,
            settled_below,
            reads_from,
        }
    }

    fn is_news(&self, state: &State, heartbeat: Message) -> bool {
        let Message::Heartbeat {
            session,
            settled_below,
            reads_from,
        } = heartbeat
        else {
            return false;
        };
        Self::tells_news(state, session, settled_below, reads_from)
    }

    pub(super) fn begin_read(state: &mut State, session: u8) {
        state.budget.reads -= 1;
        state.clients.reader = Reader::Registered {
            session,
            from: state.metadata.index,
        };
    }

    pub(super) fn plan(state: &mut State, key: u8) {
        let Reader::Registered { session, from } = state.clients.reader else {
            return;
        };
        if let Some(chunk) = state.metadata.keys[usize::from(key)] {
            state.clients.reader = Reader::Reading { session, from, chunk };
        }
    }
}
