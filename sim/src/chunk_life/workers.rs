//! The workers of the metadata service: release and garbage, inventory, mover and repair.
//!
//! They read the state, talk to devices and propose commands; between any two of their steps everything else may happen.
//! Invariant: a delete is sent with its proof, and a command names the row it was thought out for.

use super::{
    model::{Action, ChunkLife},
    network::{Message, Proof},
    places::{Place, Places},
    state::{Page, Restored, State},
    weakening::Weakening,
};

impl ChunkLife {
    pub(super) fn worker_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if self.releasable(&state.metadata).is_some() {
            actions.push(Action::Release);
        }
        let room = state.network.room(self.scenario.in_flight);
        for chunk in self.chunks() {
            if state.metadata.is_garbage(chunk) && !state.metadata.deletion_held {
                self.garbage_actions(state, chunk, room, actions);
            }
            if state.metadata.is_referenced(chunk) && room > 0 {
                self.copy_actions(state, chunk, actions);
            }
        }
        for group in (0..self.scenario.groups).filter(|_| room > 0) {
            if self.has_moved(state, group) {
                actions.push(Action::SendMoveDone(group));
            }
        }
        match state.workers.page {
            Some(_) if room > 0 => actions.push(Action::Judge),
            Some(_) => {}
            None if state.metadata.deletion_held => {}
            None if state.workers.survey.is_some() => {}
            None => {
                let devices = (0..self.scenario.devices).filter(|device| Self::is_known_life(state, *device));
                let holds_any = |device: &u8| state.devices.stored.iter().any(|place| place.device == *device);
                actions.extend(devices.filter(holds_any).map(Action::List));
            }
        }
    }

    fn garbage_actions(&self, state: &State, chunk: u8, room: usize, actions: &mut Vec<Action>) {
        let mut all_confirmed = true;
        for place in self.slots().flat_map(|slot| self.homes(state, chunk, slot)) {
            if state.workers.deleted.contains(place) {
                continue;
            }
            all_confirmed = false;
            if room > 0
                && !state
                    .network
                    .contains(Self::delete_of(state, place, Proof::Unreferenced))
            {
                actions.push(Action::DeleteGarbage(place));
            }
        }
        if all_confirmed || self.is_weak(Weakening::ForgetUnconfirmed) {
            actions.push(Action::Forget(chunk));
        }
    }

    pub(super) fn list(&self, state: &mut State, device: u8) {
        let on_device = |place: &Place| place.device == device;
        if self.is_weak(Weakening::JudgedBeforeListed) {
            let all = || {
                Place::all()
                    .filter(on_device)
                    .filter(|place| self.chunks().contains(&place.chunk))
            };
            state.workers.page = Some(Page::JudgedFirst {
                orphans: all()
                    .filter(|place| self.is_orphan(&state.metadata, place.chunk))
                    .collect(),
                strays: all().filter(|place| self.is_stray(&state.metadata, *place)).collect(),
                epoch: state.metadata.epoch,
            });
            return;
        }
        state.workers.page = Some(Page::Listed(state.devices.stored.iter().filter(on_device).collect()));
    }

    /// Judges a page by a state no older than the page, and sends deletes for what nobody needs.
    pub(super) fn judge(&self, state: &mut State) {
        let Some(page) = state.workers.page.take() else {
            return;
        };
        let metadata = state.metadata;
        let (orphans, strays, epoch) = match page {
            Page::Listed(listed) => {
                let orphans = listed
                    .iter()
                    .filter(|place| self.is_orphan(&metadata, place.chunk))
                    .collect();
                let strays = listed.iter().filter(|place| self.is_stray(&metadata, *place));
                let strays = strays.filter(|place| self.is_elsewhere(state, *place)).collect();
                (orphans, strays, metadata.epoch)
            }
            Page::JudgedFirst { orphans, strays, epoch } => (orphans, strays, epoch),
        };
        if !self.is_weak(Weakening::OrphansKept) {
            self.send_deletes(state, orphans, Proof::Orphan);
        }
        if !self.is_weak(Weakening::StraysKept) {
            self.send_deletes(state, strays, Proof::Stray { epoch });
        }
    }

    /// Asks the shard's home whether it has it. Where it does not, as after a restore, the stray is what to copy from.
    fn is_elsewhere(&self, state: &State, stray: Place) -> bool {
        let mut homes = self.homes(state, stray.chunk, stray.slot);
        let is_home = homes.any(|home| state.devices.stored.contains(home));
        is_home || state.metadata.is_garbage(stray.chunk) || self.is_weak(Weakening::StraysDeletedUnseen)
    }

    /// Sends what there is room for; the rest is found by a later page.
    fn send_deletes(&self, state: &mut State, places: Places, proof: Proof) {
        let stored = state.devices.stored;
        for place in places.iter().filter(|place| stored.contains(*place)) {
            if state.network.room(self.scenario.in_flight) > 0 {
                Self::send_delete(state, place, proof);
            }
        }
    }

    fn delete_of(state: &State, place: Place, proof: Proof) -> Message {
        let life = state.metadata.life_of(place.device);
        Message::Delete { place, proof, life }
    }

    pub(super) fn send_delete(state: &mut State, place: Place, proof: Proof) {
        state.network.send(Self::delete_of(state, place, proof));
    }

    /// Copies of `chunk` that the map wants: to where a slot moves, or in place of a shard that is misplaced or missing.
    fn copy_actions(&self, state: &State, chunk: u8, actions: &mut Vec<Action>) {
        let group = state.metadata.groups[usize::from(self.group_of(chunk))];
        for slot in self.slots() {
            let is_marked = state.metadata.is_marked(chunk, slot);
            let moves = group.moving_from.is_some_and(|(moving, _)| moving == slot);
            let wanted = Place::new(chunk, slot, group.row[usize::from(slot)]);
            // What no mark speaks of is found by the inventory alone.
            let is_elsewhere = state.restored[usize::from(chunk)] != Restored::Whole;
            let is_found_elsewhere = is_elsewhere && !state.devices.stored.contains(wanted);
            let is_wanted = is_marked || moves || is_found_elsewhere;
            if !is_wanted || !self.can_be_made(state, chunk, slot) {
                continue;
            }
            let copy = Self::copy_to(state, wanted);
            let copied = state.workers.copied.contains(wanted);
            if !copied && !state.network.contains(copy) {
                actions.push(Action::SendCopy(wanted));
            }
            let replaced = self.replaced_by(state, wanted);
            let may_lie = copied && !self.is_crowded(state, wanted);
            if may_lie && is_marked && !state.network.contains(replaced) {
                actions.push(Action::SendReplaced(wanted));
            }
        }
    }

    /// Whether there is something to make the shard from: itself, unless it is called missing, or any other that readers find.
    fn can_be_made(&self, state: &State, chunk: u8, slot: u8) -> bool {
        let is_missing = state.metadata.records[usize::from(chunk)].missing[usize::from(slot)];
        !is_missing && state.devices.hold_any(chunk, slot) || self.has_another(state, chunk, slot)
    }

    /// Whether another shard of the chunk lies on the device, which is lost with it: that one goes elsewhere first.
    fn is_crowded(&self, state: &State, wanted: Place) -> bool {
        let mut others = self.slots().filter(|other| *other != wanted.slot);
        let is_there = others.any(|other| self.location(state, wanted.chunk, other) == wanted.device);
        // Where nothing is lost it does no harm.
        is_there && self.scenario.losses > 0 && !self.is_weak(Weakening::ShardsMeetOnDevices)
    }

    fn has_another(&self, state: &State, chunk: u8, slot: u8) -> bool {
        let mut others = self.slots().filter(|other| *other != slot);
        others.any(|other| {
            let mut homes = self.homes(state, chunk, other);
            homes.any(|home| state.devices.stored.contains(home))
        })
    }

    fn copy_to(state: &State, place: Place) -> Message {
        Message::Copy {
            place,
            epoch: state.metadata.epoch,
            life: state.metadata.life_of(place.device),
        }
    }

    pub(super) fn send_copy(state: &mut State, place: Place) {
        state.network.send(Self::copy_to(state, place));
    }

    /// Whether every chunk of the group lies at its new place, also one that is marked misplaced: a restored mark may be
    /// older than the shard that it speaks of.
    fn has_moved(&self, state: &State, group: u8) -> bool {
        let placed = state.metadata.groups[usize::from(group)];
        let Some((slot, _)) = placed.moving_from else {
            return false;
        };
        let since = placed.since;
        let mut chunks = self.chunks().filter(|chunk| self.group_of(*chunk) == group);
        let is_left_to_repair = |chunk: u8| {
            let misplaced = state.metadata.records[usize::from(chunk)].misplaced[usize::from(slot)];
            misplaced.is_some() && self.is_weak(Weakening::MarksTrustedByMover)
        };
        let done = chunks.all(|chunk| {
            let wanted = Place::new(chunk, slot, placed.row[usize::from(slot)]);
            !state.metadata.is_referenced(chunk)
                || !state.devices.hold_any(chunk, slot) && !self.has_another(state, chunk, slot)
                || is_left_to_repair(chunk)
                || state.workers.copied.contains(wanted) && !self.is_crowded(state, wanted)
                || self.is_weak(Weakening::DoneBeforeCopied)
        });
        done && !state.network.contains(Message::MoveDone { group, since })
    }

    pub(super) fn send_move_done(state: &mut State, group: u8) {
        let since = state.metadata.groups[usize::from(group)].since;
        state.network.send(Message::MoveDone { group, since });
    }

    fn replaced_by(&self, state: &State, place: Place) -> Message {
        let since = self.unchanged_since(&state.metadata, place);
        Message::Replaced { place, since }
    }

    pub(super) fn send_replaced(&self, state: &mut State, place: Place) {
        state.network.send(self.replaced_by(state, place));
    }
}
