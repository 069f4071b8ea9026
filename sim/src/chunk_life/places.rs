//! Places: where a shard may be. Owns the set of them.
//!
//! Invariant: a set holds every place of the largest scenario.

use std::{fmt, iter};

/// Devices at most.
pub(super) const DEVICES: usize = 3;
/// Chunks at most; each is one write under one id.
pub(super) const CHUNKS: usize = 3;
/// Shards of a chunk at most.
pub(super) const SLOTS: usize = 3;

const PLACES: usize = CHUNKS * SLOTS * DEVICES;

/// A shard of a chunk on a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub(super) chunk: u8,
    pub(super) slot: u8,
    pub(super) device: u8,
}

/// A set of places.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Places(u32);

impl Place {
    pub(super) const fn new(chunk: u8, slot: u8, device: u8) -> Self {
        Self { chunk, slot, device }
    }

    const fn bit(self) -> u32 {
        1 << ((self.chunk as usize * SLOTS + self.slot as usize) * DEVICES + self.device as usize)
    }

    /// The place with this bit.
    fn at(index: usize) -> Self {
        let narrow = |number: usize| u8::try_from(number).expect("places are few");
        let (chunk_and_slot, device) = (index / DEVICES, index % DEVICES);
        Self::new(
            narrow(chunk_and_slot / SLOTS),
            narrow(chunk_and_slot % SLOTS),
            narrow(device),
        )
    }

    /// Every place there is.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        const { assert!(PLACES <= 32, "a set of places fits its bits") };
        (0..PLACES).map(Self::at)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "c{}.{}@d{}", self.chunk, self.slot, self.device)
    }
}

impl Places {
    pub(super) const fn contains(self, place: Place) -> bool {
        self.0 & place.bit() != 0
    }

    pub(super) const fn insert(&mut self, place: Place) {
        self.0 |= place.bit();
    }

    pub(super) const fn remove(&mut self, place: Place) {
        self.0 &= !place.bit();
    }

    /// Keeps the places that `keep` says.
    pub(super) fn retain(&mut self, keep: impl Fn(Place) -> bool) {
        for place in self.iter().filter(|place| !keep(*place)) {
            self.remove(place);
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Place> + use<> {
        let mut left = self.0;
        iter::from_fn(move || {
            let index = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(Place::at(index))
        })
    }
}

impl FromIterator<Place> for Places {
    fn from_iter<I: IntoIterator<Item = Place>>(places: I) -> Self {
        let mut set = Self::default();
        places.into_iter().for_each(|place| set.insert(place));
        set
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}
