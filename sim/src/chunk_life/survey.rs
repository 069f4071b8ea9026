//! The survey: what a device lost is found by asking it what it has, and is noted before the state is told that it is.
//!
//! It is the inventory's pass over one device, and like it belongs to the leader: its memory ends with it, and another begins
//! anew. What an old leader has sent may arrive at any time. Invariant: only a device in the life on record is looked through.

use super::{
    model::{Action, ChunkLife},
    network::Message,
    places::{Place, Places},
    state::{State, Survey},
    weakening::Weakening,
};

impl ChunkLife {
    pub(super) fn survey_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let devices = 0..self.scenario.devices;
        let is_reborn = |device: &u8| !Self::is_known_life(state, *device);
        actions.extend(devices.clone().filter(is_reborn).map(Action::NoteLoss));
        let is_unsurveyed = |device: &u8| !state.metadata.lives[usize::from(*device)].surveyed;
        let Some(survey) = state.workers.survey else {
            let is_listed = |device: &u8| is_unsurveyed(device) && Self::is_known_life(state, *device);
            // One worker does both.
            if state.workers.page.is_none() {
                actions.extend(devices.filter(is_listed).map(Action::Survey));
            }
            return;
        };
        actions.push(Action::NewLeader);
        let room = state.network.room(self.scenario.in_flight);
        match survey.unreported {
            None if state.devices.lives[usize::from(survey.device)] != survey.life => {}
            None => {
                let missing = self.missing_on(state, survey.device, survey.listed);
                if missing.iter().count() <= room {
                    actions.push(Action::ReportMissing);
                }
            }
            Some(unreported) => {
                let is_noted = unreported.iter().next().is_none();
                if room > 0 && (is_noted || self.is_weak(Weakening::SurveyedBeforeNoted)) {
                    actions.push(Action::SendSurveyed);
                }
            }
        }
    }

    /// Receives all pages of the device in its present life.
    pub(super) fn survey(&self, state: &mut State, device: u8) {
        let on_device = |place: &Place| place.device == device;
        let listed = if self.is_weak(Weakening::MissingAskedBeforeListed) {
            // What is not expected yet is not looked for later.
            let expected = self.expected_on(state, device);
            Place::all().filter(|place| !expected.contains(*place)).collect()
        } else {
            state.devices.stored.iter().filter(on_device).collect()
        };
        state.workers.survey = Some(Survey {
            device,
            life: state.metadata.life_of(device),
            listed,
            unreported: None,
        });
    }

    /// What should be on the device by the state, and is neither listed nor found by another look.
    fn missing_on(&self, state: &State, device: u8, listed: Places) -> Places {
        let is_missing = |place: &Place| !listed.contains(*place) && !state.devices.stored.contains(*place);
        let expected = self.expected_on(state, device);
        expected.iter().filter(is_missing).collect()
    }

    /// Shards that are on record as lying on the device, of groups in whose row it stands.
    fn expected_on(&self, state: &State, device: u8) -> Places {
        let stands_in = |chunk: u8| {
            let row = state.metadata.groups[usize::from(self.group_of(chunk))].row;
            row[..usize::from(self.scenario.width)].contains(&device)
        };
        let chunks = self
            .chunks()
            .filter(|chunk| state.metadata.is_referenced(*chunk) && stands_in(*chunk));
        let shards = chunks.flat_map(|chunk| self.slots().map(move |slot| (chunk, slot)));
        let is_noted = |chunk: u8, slot: u8| state.metadata.records[usize::from(chunk)].missing[usize::from(slot)];
        let here =
            shards.filter(|(chunk, slot)| self.location(state, *chunk, *slot) == device && !is_noted(*chunk, *slot));
        here.map(|(chunk, slot)| Place::new(chunk, slot, device)).collect()
    }

    pub(super) fn report_missing(&self, state: &mut State) {
        let Some(mut survey) = state.workers.survey else {
            return;
        };
        let missing = self.missing_on(state, survey.device, survey.listed);
        missing
            .iter()
            .for_each(|place| state.network.send(Message::Missing(place)));
        survey.unreported = Some(missing);
        state.workers.survey = Some(survey);
    }

    /// The report of one shard was carried out, and the survey gets to know it.
    pub(super) fn confirm_missing(state: &mut State, place: Place) {
        let survey = state.workers.survey.as_mut();
        if let Some(unreported) = survey.and_then(|survey| survey.unreported.as_mut()) {
            unreported.remove(place);
        }
    }

    pub(super) fn send_surveyed(state: &mut State) {
        if let Some(Survey { device, life, .. }) = state.workers.survey.take() {
            state.network.send(Message::Surveyed { device, life });
        }
    }

    /// Another leader knows only what the state says.
    pub(super) fn new_leader(&self, state: &mut State) {
        state.workers.survey = None;
        if self.is_weak(Weakening::SurveyKeptByLeader) {
            state.metadata.lives.iter_mut().for_each(|life| life.surveyed = true);
        }
    }
}
