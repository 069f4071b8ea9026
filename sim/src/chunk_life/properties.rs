//! What must hold: in every state, and at last.
//!
//! Invariant: a property speaks of what users and operators are promised, not of how a rule keeps it.

use super::{
    model::ChunkLife,
    network::Message,
    places::Place,
    state::{Reader, Restored, Session, State, Write},
};

impl ChunkLife {
    /// The promise that `state` breaks.
    pub(super) fn broken_rule(&self, state: &State) -> Option<String> {
        let rules = [
            state.breach.map(str::to_owned),
            self.full_in_word_only(state),
            self.unreadable(state),
            self.lost_before_commit(state),
            self.released_under_reader(state),
            self.forgotten_and_there(state),
        ];
        rules.into_iter().flatten().next()
    }

    /// No committed chunk is unreadable: each of its shards is where readers look, or one at least while a device that was lost is
    /// being made good. After a restore it may take the repair to bring it there, but what there was is not lost.
    fn unreadable(&self, state: &State) -> Option<String> {
        let is_home = |chunk, slot| {
            self.homes(state, chunk, slot)
                .any(|home| state.devices.stored.contains(home))
        };
        let is_kept = |chunk, slot| match state.restored[usize::from(chunk)] {
            Restored::Whole => is_home(chunk, slot),
            Restored::Elsewhere => state.devices.hold_any(chunk, slot),
            Restored::Lost => true,
        };
        let may_lack = state.ailing.map_or(0, |_| usize::from(self.scenario.width) - 1);
        let mut chunks = self.chunks().filter(|chunk| state.metadata.is_referenced(*chunk));
        chunks.find_map(|chunk| {
            let slot = self.slots().filter(|slot| !is_kept(chunk, *slot)).nth(may_lack)?;
            Some(format!(
                "shard {slot} of committed chunk {chunk} is nowhere where readers look"
            ))
        })
    }

    /// Where the state says full redundancy, each shard of a committed chunk is in its row.
    fn full_in_word_only(&self, state: &State) -> Option<String> {
        if self.scenario.losses == 0 || !self.is_full(state) {
            return None;
        }
        let is_whole = |chunk: &u8| state.restored[usize::from(*chunk)] == Restored::Whole;
        let chunks = self.chunks().filter(|chunk| state.metadata.is_referenced(*chunk));
        let shards = chunks
            .filter(is_whole)
            .flat_map(|chunk| self.slots().map(move |slot| (chunk, slot)));
        let mut places = shards.map(|(chunk, slot)| {
            let group = state.metadata.groups[usize::from(self.group_of(chunk))];
            Place::new(chunk, slot, group.row[usize::from(slot)])
        });
        let lacking = places.find(|place| !state.devices.stored.contains(*place))?;
        Some(format!("the state says full redundancy, and {lacking:?} is not there"))
    }

    /// No shard is deleted that a commit may still name: of a write under way, or of a commit under way.
    fn lost_before_commit(&self, state: &State) -> Option<String> {
        let is_lost = |place: Place, epoch: u8| {
            self.can_ever_commit(&state.metadata, place.chunk)
                && !state.devices.stored.contains(place)
                && !Self::is_lost_with_device(state, place.device, epoch)
        };
        let writes = self
            .chunks()
            .filter_map(|chunk| match state.clients.writes[usize::from(chunk)] {
                Write::Open { row, durable, epoch } => Some((chunk, row, durable, epoch)),
                Write::Unused | Write::Settled => None,
            });
        let mut acknowledged = writes.flat_map(|(chunk, row, durable, epoch)| {
            let slots = self.slots().filter(move |slot| durable[usize::from(*slot)]);
            slots.map(move |slot| (Place::new(chunk, slot, row[usize::from(slot)]), epoch))
        });
        acknowledged
            .find(|(place, epoch)| is_lost(*place, *epoch))
            .map(|(place, _)| format!("{place:?} was acknowledged, can be committed, and is gone"))
            .or_else(|| self.lost_before_late_commit(state))
    }

    /// The same for writers that have gone while their commit is under way.
    fn lost_before_late_commit(&self, state: &State) -> Option<String> {
        let commits = state.network.iter().filter_map(|message| match message {
            Message::Commit { chunk, row, epoch } => Some((chunk, row, epoch)),
            Message::Put { .. }
            | Message::Copy { .. }
            | Message::Delete { .. }
            | Message::Heartbeat { .. }
            | Message::MoveDone { .. }
            | Message::Replaced { .. }
            | Message::Missing(_)
            | Message::Surveyed { .. } => None,
        });
        let open = commits.filter(|(chunk, _, _)| {
            let record = state.metadata.records[usize::from(*chunk)];
            self.can_ever_commit(&state.metadata, *chunk) && record.references.is_none()
        });
        let mut named = open.flat_map(|(chunk, row, epoch)| {
            self.slots()
                .map(move |slot| (Place::new(chunk, slot, row[usize::from(slot)]), epoch))
        });
        let lost = named.find(|(place, epoch)| {
            !state.devices.stored.contains(*place) && !Self::is_lost_with_device(state, place.device, *epoch)
        });
        lost.map(|(place, _)| format!("{place:?} is gone, and its commit is under way"))
    }

    /// Whether what was stored on the device by the map of `epoch` went with an earlier life of it.
    fn is_lost_with_device(state: &State, device: u8, epoch: u8) -> bool {
        !Self::is_known_life(state, device) || Self::is_of_former_life(&state.metadata, device, epoch)
    }

    /// No read in progress loses its chunk while its session is alive.
    fn released_under_reader(&self, state: &State) -> Option<String> {
        let Reader::Reading { session, chunk, .. } = state.clients.reader else {
            return None;
        };
        let is_alive = matches!(state.metadata.sessions[usize::from(session)], Session::Alive { .. });
        let is_held = state.metadata.is_referenced(chunk);
        (is_alive && !is_held).then(|| format!("chunk {chunk} was released while it is read"))
    }

    /// Where every message comes once and nothing is made again, a chunk that was forgotten is gone from all devices, by the
    /// garbage worker alone.
    fn forgotten_and_there(&self, state: &State) -> Option<String> {
        let is_forgotten = |chunk: u8| {
            let record = state.metadata.records[usize::from(chunk)];
            record.committed && record.references.is_none()
        };
        let mut left = state.devices.stored.iter().filter(|place| is_forgotten(place.chunk));
        let place = left
            .next()
            .filter(|_| self.scenario.deliver_once && self.scenario.losses == 0)?;
        Some(format!("{place:?} is stored and its chunk forgotten"))
    }

    /// No garbage: what is stored is what is referenced, where the row wants it; nothing waits to be done.
    pub(super) fn nothing_is_left(&self, state: &State) -> bool {
        let metadata = &state.metadata;
        let in_place = |place: Place| {
            let group = metadata.groups[usize::from(self.group_of(place.chunk))];
            metadata.is_referenced(place.chunk) && group.row[usize::from(place.slot)] == place.device
        };
        let records_are_in_use = self.chunks().all(|chunk| !metadata.is_garbage(chunk));
        state.devices.stored.iter().all(in_place)
            && records_are_in_use
            && self.chunks().all(|chunk| self.is_placed(state, chunk))
            && metadata.queue.iter().all(Option::is_none)
            && metadata.groups.iter().all(|group| group.moving_from.is_none())
            && !metadata.deletion_held
            && state.workers.page.is_none()
            && state.workers.survey.is_none()
            && self.is_full(state)
            && state.network.is_empty()
    }

    /// Whether nothing of the chunk is left to be copied: it lies in its row, or has nothing left to copy from.
    fn is_placed(&self, state: &State, chunk: u8) -> bool {
        let group = state.metadata.groups[usize::from(self.group_of(chunk))];
        let in_row = |slot: u8| {
            let place = Place::new(chunk, slot, group.row[usize::from(slot)]);
            !state.metadata.is_marked(chunk, slot) && state.devices.stored.contains(place)
        };
        let is_lost =
            |slot| state.restored[usize::from(chunk)] == Restored::Lost && !state.devices.hold_any(chunk, slot);
        !state.metadata.is_referenced(chunk) || self.slots().all(|slot| in_row(slot) || is_lost(slot))
    }
}
