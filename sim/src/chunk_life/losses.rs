//! What the state machine knows of devices that lost all they held, and when it says that nothing of it is left to be done.
//!
//! Invariant: between a loss that a map has told of and the survey of the device, the state does not say "full redundancy".

use super::{
    model::ChunkLife,
    network::Row,
    places::{Place, SLOTS},
    state::{Life, Metadata, State},
    weakening::Weakening,
};

impl ChunkLife {
    /// A device loses all that it holds and begins a new life.
    pub(super) fn lose_device(state: &mut State, device: u8) {
        state.budget.losses -= 1;
        state.ailing = Some(device);
        state.devices.stored.retain(|place| place.device != device);
        state.devices.fences[usize::from(device)] = 0;
        state.devices.lives[usize::from(device)] += 1;
    }

    /// Another device is lost only after the state said that all is made again; the same one may be lost at any time.
    pub(super) fn may_lose(state: &State, device: u8) -> bool {
        state.budget.losses > 0 && state.ailing.is_none_or(|ailing| ailing == device)
    }

    /// Whether the life that the map names is the one that the device is in.
    pub(super) fn is_known_life(state: &State, device: u8) -> bool {
        state.metadata.life_of(device) == state.devices.lives[usize::from(device)]
    }

    /// Whether all devices are in the lives that the map names, and the state says that every shard is where it belongs.
    pub(super) fn is_full(&self, state: &State) -> bool {
        (0..self.scenario.devices).all(|device| Self::is_known_life(state, device)) && self.says_full(&state.metadata)
    }

    /// What an operator is told before another device may be taken away.
    fn says_full(&self, metadata: &Metadata) -> bool {
        let is_queued =
            |chunk: u8| metadata.is_referenced(chunk) && self.slots().any(|slot| metadata.is_marked(chunk, slot));
        let is_surveyed = metadata.lives.iter().all(|life| life.surveyed);
        metadata.groups.iter().all(|group| group.moving_from.is_none())
            && !self.chunks().any(is_queued)
            && (is_surveyed || self.is_weak(Weakening::FullBeforeSurveyed))
    }

    /// A map of the next epoch names the new life of a device; its rows stay.
    pub(super) fn note_loss(&self, state: &mut State, device: u8, life: u8) {
        state.metadata.epoch += 1;
        state.metadata.lives[usize::from(device)] = Life {
            number: life,
            since: state.metadata.epoch,
            surveyed: false,
        };
        // What was made for a repair is not heeded any more. What a mover has switched over is the survey's business.
        let metadata = state.metadata;
        state.workers.copied.retain(|place| {
            let moving = metadata.groups[usize::from(self.group_of(place.chunk))].moving_from;
            let moves = moving.is_some_and(|(slot, _)| slot == place.slot);
            place.device != device || moves && !metadata.is_marked(place.chunk, place.slot)
        });
    }

    /// Whether what was sent to a device by the map of `epoch` went to an earlier life of it.
    pub(super) fn is_of_former_life(metadata: &Metadata, device: u8, epoch: u8) -> bool {
        epoch < metadata.lives[usize::from(device)].since
    }

    /// Of a chunk written by the map of `epoch`, the shards that may have gone with their devices since, by slot.
    pub(super) fn lost_since(&self, metadata: &Metadata, row: Row, epoch: u8) -> [bool; SLOTS] {
        let mut lost = [false; SLOTS];
        for slot in self.slots().map(usize::from) {
            lost[slot] =
                Self::is_of_former_life(metadata, row[slot], epoch) && !self.is_weak(Weakening::LossesUnseenByCommit);
        }
        lost
    }

    /// Whether so many are that the chunk would not outlive another loss.
    pub(super) fn has_lost_too_many(&self, metadata: &Metadata, row: Row, epoch: u8) -> bool {
        let width = usize::from(self.scenario.width);
        let lost = self.lost_since(metadata, row, epoch);
        let left = width - lost.iter().filter(|lost| **lost).count();
        left < 2.min(width) && !self.is_weak(Weakening::CommitWithTooFewShards)
    }

    /// A chunk with a lost shard is on record from now on, and the device not made good.
    pub(super) fn note_lost_before_commit(&self, state: &mut State, row: Row, lost: [bool; SLOTS]) {
        let mut slots = self.slots().map(usize::from);
        if let Some(slot) = slots.find(|slot| lost[*slot]) {
            state.ailing = Some(row[slot]);
        }
    }

    /// A shard that its writer brought to the new place of a moving slot lies there: no mover looks at it. (Where nothing is
    /// ever lost it may, and finds it there.)
    pub(super) fn note_written_home(&self, state: &mut State, chunk: u8, row: Row, lost: [bool; SLOTS]) {
        let group = state.metadata.groups[usize::from(self.group_of(chunk))];
        let Some((slot, _)) = group.moving_from.filter(|_| self.scenario.losses > 0) else {
            return;
        };
        let device = row[usize::from(slot)];
        if device == group.row[usize::from(slot)] && !lost[usize::from(slot)] {
            state.workers.copied.insert(Place::new(chunk, slot, device));
        }
    }

    /// Since when a repair's report about this place can be true: the row and the life of the device are the same since.
    pub(super) fn unchanged_since(&self, metadata: &Metadata, place: Place) -> u8 {
        let row = metadata.groups[usize::from(self.group_of(place.chunk))].since;
        if self.is_weak(Weakening::RepairOfAnotherLife) {
            return row;
        }
        row.max(metadata.lives[usize::from(place.device)].since)
    }

    /// Notes that a shard is not where it should be; where it lies elsewhere by now, the report means nothing.
    pub(super) fn note_missing(&self, state: &mut State, place: Place) {
        if state.metadata.is_referenced(place.chunk) && self.location(state, place.chunk, place.slot) == place.device {
            state.metadata.records[usize::from(place.chunk)].missing[usize::from(place.slot)] = true;
            // An older copy says nothing any more.
            state.workers.copied.remove(place);
        }
    }

    pub(super) fn is_news_of_survey(&self, metadata: &Metadata, device: u8, life: u8) -> bool {
        let known = metadata.lives[usize::from(device)];
        known.number == life && !known.surveyed || self.is_weak(Weakening::SurveyedOfAnotherLife)
    }

    /// What the device lost before `life` is on record.
    pub(super) fn note_surveyed(&self, state: &mut State, device: u8, life: u8) {
        if self.is_news_of_survey(&state.metadata, device, life) {
            state.metadata.lives[usize::from(device)].surveyed = true;
        }
    }

    /// The device that a shard is held to lie on. Of a moving slot it is the new one once the shard was copied or written there.
    pub(super) fn location(&self, state: &State, chunk: u8, slot: u8) -> u8 {
        let group = state.metadata.groups[usize::from(self.group_of(chunk))];
        let wanted = Place::new(chunk, slot, group.row[usize::from(slot)]);
        let left = group.moving_from.filter(|(moving, _)| *moving == slot);
        let left = left.filter(|_| !state.workers.copied.contains(wanted));
        let misplaced = state.metadata.records[usize::from(chunk)].misplaced[usize::from(slot)];
        let left = left.map(|(_, device)| device);
        misplaced.or(left).unwrap_or(wanted.device)
    }
}
