//! How large a run is, and what happens in it.
//!
//! Owns the scenarios that tests check. Invariant: the bounds of a scenario cut off behaviour by counting only (so many
//! writes, so many messages at once); within them every order is visited.

use super::{
    network::Network,
    places::{CHUNKS, DEVICES, Places, SLOTS},
    state::{
        Budget, Clients, Devices, GROUPS, Group, KEYS, Life, Metadata, Record, Restored, SESSIONS, Session, State,
        Workers,
    },
    weakening::Weakening,
};

/// A run's bounds.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// For messages of tests.
    pub name: &'static str,
    /// Devices, up to 3.
    pub devices: u8,
    /// Shards of each chunk, up to 3: copies, any of which is enough to read.
    pub width: u8,
    /// Sessions, up to 2.
    pub sessions: u8,
    /// Placement groups, up to 2.
    pub groups: u8,
    /// The writes that may happen, up to 3.
    pub chunks: &'static [OneWrite],
    /// Deletes of a name, by anybody.
    pub deletes: u8,
    /// Copies of a name by reference, by anybody.
    pub copies: u8,
    /// Reads, by anybody.
    pub reads: u8,
    /// Moves of one slot of one group.
    pub moves: u8,
    /// Restores of a backup.
    pub restores: u8,
    /// Devices that lose all they hold, one at a time.
    pub losses: u8,
    /// Messages under way at once.
    pub in_flight: usize,
    /// Whether a message comes at most once. Then the garbage worker must do without the inventory.
    pub deliver_once: bool,
    /// Rules that are switched off.
    pub weakenings: &'static [Weakening],
}

/// A chunk id, and what it is used for.
#[derive(Clone, Copy, Debug)]
pub struct OneWrite {
    /// Half of the id.
    pub session: u8,
    /// The other half, from 1.
    pub counter: u8,
    /// The name that it is committed under.
    pub key: u8,
    /// What the id's hash comes to.
    pub group: u8,
}

/// One session writes twice under one name and reads.
pub const OVERWRITE: Scenario = Scenario {
    name: "overwrite",
    devices: 1,
    width: 1,
    sessions: 1,
    groups: 1,
    chunks: &[
        OneWrite {
            session: 0,
            counter: 1,
            key: 0,
            group: 0,
        },
        OneWrite {
            session: 0,
            counter: 2,
            key: 0,
            group: 0,
        },
    ],
    deletes: 1,
    copies: 0,
    reads: 1,
    moves: 0,
    restores: 0,
    losses: 0,
    in_flight: 3,
    deliver_once: false,
    weakenings: &[],
};

/// Two sessions write under one name, which is also copied and deleted; one of them reads.
pub const TWO_SESSIONS: Scenario = Scenario {
    name: "two sessions",
    sessions: 2,
    chunks: &[
        OneWrite {
            session: 0,
            counter: 1,
            key: 0,
            group: 0,
        },
        OneWrite {
            session: 1,
            counter: 1,
            key: 0,
            group: 0,
        },
    ],
    copies: 1,
    ..OVERWRITE
};

/// Chunks of two shards, each message once: the garbage worker alone leaves nothing of what was committed.
pub const TWO_SHARDS: Scenario = Scenario {
    name: "two shards",
    devices: 2,
    width: 2,
    reads: 0,
    in_flight: 4,
    deliver_once: true,
    ..OVERWRITE
};

/// One chunk, whose group moves away and back.
pub const MOVES: Scenario = Scenario {
    name: "moves",
    devices: 2,
    chunks: &[OneWrite {
        session: 0,
        counter: 1,
        key: 0,
        group: 0,
    }],
    reads: 0,
    moves: 2,
    ..OVERWRITE
};

/// The same, and away again: a report about the first move may come in the third.
pub const THREE_MOVES: Scenario = Scenario {
    name: "three moves",
    moves: 3,
    ..MOVES
};

/// A chunk of two shards over three devices, one of which moves, and then any.
pub const TWO_SHARDS_MOVE: Scenario = Scenario {
    name: "two shards move",
    devices: 3,
    width: 2,
    deletes: 0,
    ..MOVES
};

/// Two chunks under one name, and a group that moves once.
pub const MOVE_AND_OVERWRITE: Scenario = Scenario {
    name: "move and overwrite",
    devices: 2,
    deletes: 0,
    reads: 0,
    moves: 1,
    in_flight: 2,
    ..OVERWRITE
};

/// A backup is taken at some moment and restored at a later one.
pub const RESTORE: Scenario = Scenario {
    name: "restore",
    deletes: 0,
    reads: 0,
    restores: 1,
    in_flight: 2,
    ..OVERWRITE
};

/// The same around a move of one chunk's group.
pub const RESTORE_AND_MOVE: Scenario = Scenario {
    name: "restore and move",
    deletes: 0,
    moves: 2,
    restores: 1,
    in_flight: 2,
    ..MOVES
};

/// A chunk of two shards whose devices are lost, the second when all is said to be made again.
pub const LOSSES: Scenario = Scenario {
    name: "losses",
    devices: 2,
    width: 2,
    deletes: 0,
    reads: 0,
    moves: 0,
    losses: 2,
    in_flight: 2,
    ..MOVES
};

/// One device is lost, and the chunk is read and deleted.
pub const LOSS_AND_DELETE: Scenario = Scenario {
    name: "loss and delete",
    deletes: 1,
    reads: 1,
    losses: 1,
    ..LOSSES
};

/// The same where a second chunk takes the name.
pub const LOSS_AND_OVERWRITE: Scenario = Scenario {
    name: "loss and overwrite",
    chunks: OVERWRITE.chunks,
    losses: 1,
    deliver_once: true,
    ..LOSSES
};

/// Three copies, two of which a commit may do with.
pub const THREE_SHARDS_LOST: Scenario = Scenario {
    name: "three shards lost",
    devices: 3,
    width: 3,
    in_flight: 3,
    deliver_once: true,
    ..LOSSES
};

/// A device is lost around a move of one slot.
pub const LOSS_AND_MOVE: Scenario = Scenario {
    name: "loss and move",
    devices: 3,
    moves: 1,
    losses: 1,
    deliver_once: true,
    ..LOSSES
};

/// A device is lost, and a backup is restored.
pub const LOSS_AND_RESTORE: Scenario = Scenario {
    name: "loss and restore",
    restores: 1,
    losses: 1,
    ..LOSSES
};

impl Scenario {
    /// The same with these rules switched off.
    #[must_use]
    pub const fn without(self, weakenings: &'static [Weakening]) -> Self {
        Self { weakenings, ..self }
    }

    /// Nothing written, group `g` of slot `s` on device `g + s`.
    pub(super) fn initial(&self) -> State {
        let fits = usize::from(self.devices) <= DEVICES
            && usize::from(self.width) <= SLOTS
            && usize::from(self.sessions) <= SESSIONS
            && usize::from(self.groups) <= GROUPS
            && self.chunks.len() <= CHUNKS;
        assert!(fits, "scenario {:?} is larger than a state can hold", self.name);
        let mut groups = [Group::default(); GROUPS];
        for (number, group) in (0..self.groups).zip(&mut groups) {
            for (slot, device) in (0..self.width).zip(&mut group.row) {
                *device = (number + slot) % self.devices;
            }
        }
        State {
            metadata: Metadata {
                deletion_held: false,
                epoch: 0,
                groups,
                lives: [Life::FIRST; DEVICES],
                sessions: [Session::NotOpened; SESSIONS],
                records: [Record::default(); CHUNKS],
                keys: [None; KEYS],
                index: 0,
                queue: Default::default(),
            },
            clients: Clients::default(),
            devices: Devices {
                stored: Places::default(),
                fences: [0; DEVICES],
                lives: [0; DEVICES],
            },
            workers: Workers::default(),
            network: Network::default(),
            budget: Budget {
                deletes: self.deletes,
                copies: self.copies,
                reads: self.reads,
                moves: self.moves,
                restores: self.restores,
                losses: self.losses,
            },
            backup: None,
            restored: [Restored::default(); CHUNKS],
            ailing: None,
            breach: None,
        }
    }
}
