//! Devices: they store and delete what they are told, and hold back deletes that the map has overtaken.
//!
//! Invariant: a device knows no metadata; all that it remembers besides shards is one epoch, and which life it is in.

use super::{
    model::ChunkLife,
    network::Proof,
    places::Place,
    state::{State, Write},
    weakening::Weakening,
};

impl ChunkLife {
    /// Whether a device heeds what is meant for this life of it. Lives only grow: what it does not heed it never will.
    pub(super) fn is_meant(&self, state: &State, device: u8, life: u8, weakening: Weakening) -> bool {
        state.devices.lives[usize::from(device)] == life || self.is_weak(weakening)
    }

    pub(super) fn store(&self, state: &mut State, place: Place) {
        state.devices.stored.insert(place);
        if let Write::Open { row, durable, .. } = &mut state.clients.writes[usize::from(place.chunk)] {
            durable[usize::from(place.slot)] |= row[usize::from(place.slot)] == place.device;
        }
    }

    /// Stores a copy and raises the fence: who wants the shard gone by an older map is not heeded any more.
    pub(super) fn store_copy(&self, state: &mut State, place: Place, epoch: u8) {
        state.devices.stored.insert(place);
        let fence = &mut state.devices.fences[usize::from(place.device)];
        if !self.is_weak(Weakening::StraysUnfenced) {
            *fence = epoch.max(*fence);
        }
        let placed = state.metadata.groups[usize::from(self.group_of(place.chunk))];
        if epoch >= placed.since && placed.row[usize::from(place.slot)] == place.device {
            state.workers.copied.insert(place);
        }
    }

    pub(super) fn delete(&self, state: &mut State, place: Place, proof: Proof) {
        match proof {
            Proof::Unreferenced => {
                state.devices.stored.remove(place);
                state.workers.deleted.insert(place);
            }
            Proof::Orphan => state.devices.stored.remove(place),
            Proof::Stray { epoch } => {
                if self.passes_fence(state, place.device, epoch) {
                    state.devices.stored.remove(place);
                }
            }
        }
    }

    pub(super) fn passes_fence(&self, state: &State, device: u8, epoch: u8) -> bool {
        epoch >= state.devices.fences[usize::from(device)]
    }
}
