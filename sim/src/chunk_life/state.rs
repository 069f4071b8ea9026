//! Everything that is known at one moment, by who knows it.
//!
//! Owns the data only; the steps are in the modules named after who takes them. Invariant: what nobody can act on any more is
//! reset, so that states that cannot be told apart are equal.

use super::{
    network::{Network, Row},
    places::{CHUNKS, DEVICES, Place, Places, SLOTS},
};

/// Sessions at most.
pub(super) const SESSIONS: usize = 2;
/// Names at most.
pub(super) const KEYS: usize = 2;
/// Placement groups at most.
pub(super) const GROUPS: usize = 2;
/// Entries of the release queue at most, over a whole run.
pub(super) const QUEUE: usize = 6;

/// The whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) metadata: Metadata,
    pub(super) clients: Clients,
    pub(super) devices: Devices,
    pub(super) workers: Workers,
    pub(super) network: Network,
    /// What clients and operators may still do.
    pub(super) budget: Budget,
    /// What an operator has kept to go back to.
    pub(super) backup: Option<Metadata>,
    /// By chunk: what the restore of a backup has met.
    pub(super) restored: [Restored; CHUNKS],
    /// The device that was lost and of which the state has not said yet that all is made again. Another is not lost meanwhile.
    pub(super) ailing: Option<u8>,
    /// A rule that a step has broken and that cannot be seen in the state behind it.
    pub(super) breach: Option<&'static str>,
}

/// The replicated state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Metadata {
    /// After a restore, until an operator lets go: nothing is deleted.
    pub(super) deletion_held: bool,
    /// The cluster map's version.
    pub(super) epoch: u8,
    pub(super) groups: [Group; GROUPS],
    /// By device.
    pub(super) lives: [Life; DEVICES],
    pub(super) sessions: [Session; SESSIONS],
    pub(super) records: [Record; CHUNKS],
    /// The chunk that is the body under each name.
    pub(super) keys: [Option<u8>; KEYS],
    /// Commands so far that freed something: as much of the log index as any rule asks for.
    pub(super) index: u8,
    /// The body that the command with index `n + 1` freed, until it is released.
    pub(super) queue: [Option<u8>; QUEUE],
}

/// The row of a placement group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Group {
    /// The devices that new shards go to, by slot.
    pub(super) row: Row,
    /// Where one slot is moving from, while it is: (slot, device).
    pub(super) moving_from: Option<(u8, u8)>,
    /// The epoch in which `row` last changed.
    pub(super) since: u8,
}

/// The life of a device that the map names. A device that loses all comes back in the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Life {
    /// The incarnation.
    pub(super) number: u8,
    /// The epoch of the first map with this life.
    pub(super) since: u8,
    /// Whether all that was lost with the life before is marked missing.
    pub(super) surveyed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Session {
    #[default]
    NotOpened,
    Alive {
        /// Counters below this are committed or given up.
        settled_below: u8,
        /// No read of the session sees a state older than this index.
        reads_from: u8,
    },
    Ended,
    /// Only with a weakening: opened before a restore, by a generation that nobody remembers.
    Unknown,
}

/// The chunk record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Record {
    /// `None` where there is no record; a record without references is garbage.
    pub(super) references: Option<u8>,
    /// Devices of shards that lie outside of the row, by slot, until repaired.
    pub(super) misplaced: [Option<u8>; SLOTS],
    /// Shards that were lost with their device, by slot, until repaired.
    pub(super) missing: [bool; SLOTS],
    /// The commit was carried out once. Its (session, sequence) is answered from then on.
    pub(super) committed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Clients {
    /// Each chunk id is used for at most one write.
    pub(super) writes: [Write; CHUNKS],
    pub(super) reader: Reader,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Write {
    #[default]
    Unused,
    /// Shards were sent to the row of `epoch`; `durable` says which were acknowledged.
    Open {
        row: Row,
        epoch: u8,
        durable: [bool; SLOTS],
    },
    /// Committed, or given up by its writer; which of them the writer need not know.
    Settled,
}

/// A chunk that a restored backup names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Restored {
    /// Its shards are where readers look, as if there had been no restore.
    #[default]
    Whole,
    /// Its shards have moved in the time that is undone: the inventory finds them.
    Elsewhere,
    /// It was deleted in the time that is undone. No rule can bring that back.
    Lost,
}

/// One read at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Reader {
    #[default]
    Idle,
    /// Registered with its session, no plan yet.
    Registered { session: u8, from: u8 },
    /// Reading a chunk by its plan.
    Reading { session: u8, from: u8, chunk: u8 },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Devices {
    /// Shards that are durable.
    pub(super) stored: Places,
    /// By device: strays judged under an older epoch are not deleted.
    pub(super) fences: [u8; DEVICES],
    /// By device: how often it has lost all that it held.
    pub(super) lives: [u8; DEVICES],
}

/// What workers remember. All of it may be lost and gathered again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Workers {
    /// Shards of garbage whose deletion was confirmed.
    pub(super) deleted: Places,
    /// Copies that were acknowledged while their group's row is what it is.
    pub(super) copied: Places,
    pub(super) page: Option<Page>,
    pub(super) survey: Option<Survey>,
}

/// A device in a new life that is looked through for what it lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Survey {
    pub(super) device: u8,
    pub(super) life: u8,
    /// What it has listed.
    pub(super) listed: Places,
    /// What is missing and was not yet noted, once the state was asked.
    pub(super) unreported: Option<Places>,
}

/// A page of a device's inventory on its way to being judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Page {
    /// What the device has listed.
    Listed(Places),
    /// Only with a weakening: judged before anything was listed.
    JudgedFirst { orphans: Places, strays: Places, epoch: u8 },
}

/// Steps of clients and operators that a run may still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) deletes: u8,
    pub(super) copies: u8,
    pub(super) reads: u8,
    pub(super) moves: u8,
    pub(super) restores: u8,
    pub(super) losses: u8,
}

impl Life {
    /// The one that every device begins with: nothing was lost before it.
    pub(super) const FIRST: Self = Self {
        number: 0,
        since: 0,
        surveyed: true,
    };
}

impl Metadata {
    /// Where readers look for a shard: the row, then where its slot moves from, then where its record says.
    pub(super) fn homes(&self, group: u8, chunk: u8, slot: u8) -> impl Iterator<Item = Place> + use<> {
        let placed = self.groups[usize::from(group)];
        let new = placed.row[usize::from(slot)];
        let old = placed
            .moving_from
            .filter(|(moving, _)| *moving == slot)
            .map(|(_, from)| from);
        let misplaced = self.records[usize::from(chunk)].misplaced[usize::from(slot)];
        let devices = [Some(new), old, misplaced].into_iter().flatten();
        devices.map(move |device| Place::new(chunk, slot, device))
    }

    pub(super) fn is_referenced(&self, chunk: u8) -> bool {
        self.records[usize::from(chunk)]
            .references
            .is_some_and(|references| references > 0)
    }

    /// The life of a device that the map names.
    pub(super) fn life_of(&self, device: u8) -> u8 {
        self.lives[usize::from(device)].number
    }

    /// Whether a shard is on record as lost or as lying outside of its row.
    pub(super) fn is_marked(&self, chunk: u8, slot: u8) -> bool {
        let (record, slot) = (self.records[usize::from(chunk)], usize::from(slot));
        record.missing[slot] || record.misplaced[slot].is_some()
    }

    pub(super) fn is_garbage(&self, chunk: u8) -> bool {
        self.records[usize::from(chunk)].references == Some(0)
    }
}

impl Devices {
    /// Whether the shard is anywhere at all.
    pub(super) fn hold_any(&self, chunk: u8, slot: u8) -> bool {
        let is_it = |place: Place| place.chunk == chunk && place.slot == slot;
        self.stored.iter().any(is_it)
    }
}
