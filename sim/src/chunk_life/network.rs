//! Messages under way. One that was sent may arrive at any later moment, any number of times, or never.
//!
//! Owns the bag of them. Invariant: the bag is sorted and holds no message twice, so equal bags are equal states.

use std::fmt;

use super::places::{Place, SLOTS};

/// Messages under way at most, in any scenario.
const CAPACITY: usize = 8;

/// The devices that the shards of a chunk were sent to, by slot.
pub(super) type Row = [u8; SLOTS];

/// A message, or a command on its way to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// Writer to device in this life: store this shard.
    Put { place: Place, life: u8 },
    /// Mover or repair to device in this life: store this copy, which the map of `epoch` wants there.
    Copy { place: Place, epoch: u8, life: u8 },
    /// Worker to device in this life: delete this shard.
    Delete { place: Place, proof: Proof, life: u8 },
    /// Client: make the chunk visible; its shards went to `row`, the row of `epoch`.
    Commit { chunk: u8, row: Row, epoch: u8 },
    /// Client: what is settled and what is still read.
    Heartbeat {
        session: u8,
        settled_below: u8,
        reads_from: u8,
    },
    /// Mover: the move that began at `since` has copied everything.
    MoveDone { group: u8, since: u8 },
    /// Repair: a copy lies where the row wants it; row and life of the device are what they are since `since`. (The code asks
    /// for the present epoch, which refuses more.)
    Replaced { place: Place, since: u8 },
    /// Survey: the device does not list a shard that it should have.
    Missing(Place),
    /// Survey: what the device lost before this life is reported.
    Surveyed { device: u8, life: u8 },
}

/// Why a shard may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// Its chunk has no references left. True for ever.
    Unreferenced,
    /// Its chunk was not committed and cannot be any more. True for ever.
    Orphan,
    /// Its chunk is kept elsewhere by the map of this epoch. True until the map changes.
    Stray { epoch: u8 },
}

/// All messages under way.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Network {
    messages: [Option<Message>; CAPACITY],
}

impl Network {
    pub(super) fn iter(&self) -> impl Iterator<Item = Message> + '_ {
        self.messages.iter().flatten().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub(super) fn contains(&self, message: Message) -> bool {
        self.iter().any(|other| other == message)
    }

    /// How many more messages may be sent where `limit` may be under way.
    pub(super) fn room(&self, limit: usize) -> usize {
        limit.min(CAPACITY).saturating_sub(self.iter().count())
    }

    pub(super) fn send(&mut self, message: Message) {
        if self.contains(message) {
            return;
        }
        let free = self.messages.iter_mut().find(|place| place.is_none());
        *free.expect("senders look for room first") = Some(message);
        self.sort();
    }

    pub(super) fn drop_message(&mut self, message: Message) {
        self.messages.iter_mut().for_each(|place| {
            if *place == Some(message) {
                *place = None;
            }
        });
        self.sort();
    }

    fn sort(&mut self) {
        self.messages
            .sort_unstable_by_key(|message| (message.is_none(), *message));
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
