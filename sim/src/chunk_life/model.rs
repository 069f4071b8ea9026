//! The steps: which are possible, and who takes them. What they do is in the modules of those who take them.
//!
//! Invariant: a step changes nothing but the state it is given, and takes no more than one party can do at one moment.

use std::ops::Range;

use super::{
    network::{Message, Proof},
    places::Place,
    scenario::Scenario,
    state::{Reader, Session, State, Write},
    weakening::Weakening,
};
use crate::checker::Model;

/// The model in one scenario.
#[derive(Clone, Debug)]
pub struct ChunkLife {
    pub(super) scenario: Scenario,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client opens a session.
    OpenSession(u8),
    /// A client draws a chunk id and sends its shards by the present map.
    BeginWrite(u8),
    /// A client whose shards are all durable sends the commit.
    SendCommit(u8),
    /// A client has done with a chunk id: answered, refused or given up.
    Settle(u8),
    /// A client tells what is settled and what it still reads.
    SendHeartbeat(u8),
    /// A client registers a read with its session.
    BeginRead(u8),
    /// The read gets its plan: the chunk under a name.
    Plan(u8),
    /// The read ends.
    EndRead,
    /// A name is deleted.
    DeleteKey(u8),
    /// A name gets the body of another, by reference.
    CopyKey { from: u8, to: u8 },
    /// A lease runs out, or its client ends the session.
    EndSession(u8),
    /// The planner's next change: one slot of a group moves to another device.
    StartMove { group: u8, slot: u8, to: u8 },
    /// A device loses all that it holds.
    LoseDevice(u8),
    /// The leader installs a map with the new life of a device, as its server tells it.
    NoteLoss(u8),
    /// The survey receives what a device in a new life has.
    Survey(u8),
    /// The survey asks what the device should have, and reports what it lacks.
    ReportMissing,
    /// The survey has everything noted.
    SendSurveyed,
    /// A leader follows another, which stops in the midst of a survey.
    NewLeader,
    /// An operator keeps a backup of the metadata.
    BackUp,
    /// An operator restores it.
    Restore,
    /// An operator lets deletion go on after a restore.
    AllowDeletion,
    /// A message arrives, and may arrive again.
    Deliver(Message),
    /// A message is lost, or will not come again.
    Lose(Message),
    /// The first entry of the release queue gives back its reference.
    Release,
    /// The garbage worker sends one delete.
    DeleteGarbage(Place),
    /// The garbage worker has all confirmations.
    Forget(u8),
    /// The inventory worker receives a page of a device.
    List(u8),
    /// The inventory worker judges its page by the state, and sends deletes.
    Judge,
    /// The mover or the repair sends a copy to where the map wants it.
    SendCopy(Place),
    /// The mover has copied everything.
    SendMoveDone(u8),
    /// The repair has an acknowledged copy of a misplaced shard.
    SendReplaced(Place),
}

impl ChunkLife {
    /// The model in `scenario`.
    #[must_use]
    pub const fn new(scenario: Scenario) -> Self {
        Self { scenario }
    }

    /// Whether this rule is switched off.
    pub(super) fn is_weak(&self, weakening: Weakening) -> bool {
        self.scenario.weakenings.contains(&weakening)
    }

    pub(super) fn chunks(&self) -> Range<u8> {
        0..u8::try_from(self.scenario.chunks.len()).expect("scenarios are small")
    }

    pub(super) fn group_of(&self, chunk: u8) -> u8 {
        self.scenario.chunks[usize::from(chunk)].group
    }

    /// Where readers look for a shard.
    pub(super) fn homes(&self, state: &State, chunk: u8, slot: u8) -> impl Iterator<Item = Place> + use<> {
        state.metadata.homes(self.group_of(chunk), chunk, slot)
    }

    pub(super) const fn slots(&self) -> Range<u8> {
        0..self.scenario.width
    }

    fn deliver(&self, state: &mut State, message: Message) {
        match message {
            Message::Put { place, .. } => self.store(state, place),
            Message::Copy { place, epoch, .. } => self.store_copy(state, place, epoch),
            Message::Delete { place, proof, .. } => self.delete(state, place, proof),
            Message::Commit { chunk, row, epoch } => self.commit(state, chunk, row, epoch),
            Message::Heartbeat {
                session,
                settled_below,
                reads_from,
            } => Self::heartbeat(state, session, settled_below, reads_from),
            Message::MoveDone { group, since } => self.finish_move(state, group, since),
            Message::Replaced { place, since } => self.replace(state, place, since),
            Message::Missing(place) => {
                self.note_missing(state, place);
                Self::confirm_missing(state, place);
            }
            Message::Surveyed { device, life } => self.note_surveyed(state, device, life),
        }
        if self.scenario.deliver_once {
            state.network.drop_message(message);
        }
    }

    /// Resets what nobody can act on any more: messages that no state to come will heed, and memories without a use.
    fn tidy_up(&self, state: &mut State) {
        let messages: Vec<Message> = state.network.iter().collect();
        for message in messages {
            if !self.may_matter(state, message) {
                state.network.drop_message(message);
            }
        }
        let metadata = state.metadata;
        state.workers.deleted.retain(|place| metadata.is_garbage(place.chunk));
        state.workers.copied.retain(|place| {
            let moving = metadata.groups[usize::from(self.group_of(place.chunk))].moving_from;
            let moves = moving.is_some_and(|(slot, _)| slot == place.slot);
            metadata.is_referenced(place.chunk) && (moves || metadata.is_marked(place.chunk, place.slot))
        });
        if state.ailing.is_some() && self.is_full(state) {
            state.ailing = None;
        }
    }

    fn may_matter(&self, state: &State, message: Message) -> bool {
        match message {
            Message::Put { place, life } | Message::Copy { place, life, .. } => {
                self.is_meant(state, place.device, life, Weakening::PutsOfAnotherLife)
            }
            Message::Delete { place, proof, life } => {
                let is_meant = self.is_meant(state, place.device, life, Weakening::DeletesOfAnotherLife);
                is_meant
                    && match proof {
                        Proof::Unreferenced | Proof::Orphan => true,
                        Proof::Stray { epoch } => self.passes_fence(state, place.device, epoch),
                    }
            }
            Message::Commit { chunk, row, epoch } => {
                self.can_ever_commit(&state.metadata, chunk) && !self.has_lost_too_many(&state.metadata, row, epoch)
            }
            Message::Heartbeat {
                session,
                settled_below,
                reads_from,
            } => Self::tells_news(state, session, settled_below, reads_from),
            Message::MoveDone { group, since } => self.is_present_move(state, group, since),
            Message::Replaced { place, since } => self.is_present_repair(state, place, since),
            Message::Missing(place) => state.metadata.is_referenced(place.chunk),
            Message::Surveyed { device, life } => self.is_news_of_survey(&state.metadata, device, life),
        }
    }
}

impl Model for ChunkLife {
    type State = State;
    type Action = Action;

    fn initial(&self) -> State {
        self.scenario.initial()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for message in state.network.iter() {
            actions.push(Action::Deliver(message));
            actions.push(Action::Lose(message));
        }
        for (session, known) in (0..).zip(&state.metadata.sessions) {
            if matches!(known, Session::Alive { .. }) {
                actions.push(Action::EndSession(session));
            }
        }
        if state.clients.reader != Reader::Idle {
            actions.push(Action::EndRead);
        }
        self.client_actions(state, actions);
        self.operator_actions(state, actions);
        self.worker_actions(state, actions);
        if self.scenario.losses > 0 {
            let devices = 0..self.scenario.devices;
            let may_go = |device: &u8| Self::may_lose(state, *device);
            actions.extend(devices.filter(may_go).map(Action::LoseDevice));
            self.survey_actions(state, actions);
        }
    }

    fn after(&self, state: &State, action: &Action) -> State {
        let mut after = *state;
        let state = &mut after;
        match *action {
            Action::OpenSession(session) => Self::open_session(state, session),
            Action::BeginWrite(chunk) => self.begin_write(state, chunk),
            Action::SendCommit(chunk) => Self::send_commit(state, chunk),
            Action::Settle(chunk) => state.clients.writes[usize::from(chunk)] = Write::Settled,
            Action::SendHeartbeat(session) => state.network.send(self.next_heartbeat(state, session)),
            Action::BeginRead(session) => Self::begin_read(state, session),
            Action::Plan(key) => Self::plan(state, key),
            Action::EndRead => state.clients.reader = Reader::Idle,
            Action::DeleteKey(key) => Self::delete_key(state, key),
            Action::CopyKey { from, to } => Self::copy_key(state, from, to),
            Action::EndSession(session) => state.metadata.sessions[usize::from(session)] = Session::Ended,
            Action::StartMove { group, slot, to } => self.start_move(state, group, slot, to),
            Action::BackUp => state.backup = Some(state.metadata),
            Action::Restore => self.restore(state),
            Action::AllowDeletion => state.metadata.deletion_held = false,
            Action::Deliver(message) => self.deliver(state, message),
            Action::Lose(message) => state.network.drop_message(message),
            Action::Release => self.release(state),
            Action::LoseDevice(device) => Self::lose_device(state, device),
            Action::NoteLoss(device) => self.note_loss(state, device, state.devices.lives[usize::from(device)]),
            Action::Survey(device) => self.survey(state, device),
            Action::ReportMissing => self.report_missing(state),
            Action::SendSurveyed => Self::send_surveyed(state),
            Action::NewLeader => self.new_leader(state),
            Action::DeleteGarbage(place) => Self::send_delete(state, place, Proof::Unreferenced),
            Action::Forget(chunk) => Self::forget(state, chunk),
            Action::List(device) => self.list(state, device),
            Action::Judge => self.judge(state),
            Action::SendCopy(place) => Self::send_copy(state, place),
            Action::SendMoveDone(group) => Self::send_move_done(state, group),
            Action::SendReplaced(place) => self.send_replaced(state, place),
        }
        self.tidy_up(state);
        after
    }

    fn is_calm(&self, action: &Action) -> bool {
        match action {
            Action::OpenSession(_)
            | Action::BeginWrite(_)
            | Action::SendCommit(_)
            | Action::Settle(_)
            | Action::SendHeartbeat(_)
            | Action::BeginRead(_)
            | Action::Plan(_)
            | Action::DeleteKey(_)
            | Action::CopyKey { .. }
            | Action::StartMove { .. }
            | Action::LoseDevice(_)
            | Action::BackUp
            | Action::Restore => false,
            Action::EndRead
            | Action::EndSession(_)
            | Action::Deliver(_)
            | Action::Lose(_)
            | Action::AllowDeletion
            | Action::Release
            | Action::DeleteGarbage(_)
            | Action::Forget(_)
            | Action::List(_)
            | Action::Judge
            | Action::SendCopy(_)
            | Action::SendMoveDone(_)
            | Action::SendReplaced(_)
            | Action::NoteLoss(_)
            | Action::Survey(_)
            | Action::ReportMissing
            | Action::SendSurveyed
            | Action::NewLeader => true,
        }
    }

    fn breach(&self, state: &State) -> Option<String> {
        self.broken_rule(state)
    }

    fn is_clean(&self, state: &State) -> bool {
        self.nothing_is_left(state)
    }
}
