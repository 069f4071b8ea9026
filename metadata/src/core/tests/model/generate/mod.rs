//! Random commands.
//!
//! A step is a number and a seed; what command it stands for is drawn from the seed and the model at hand. Things are picked
//! by what made them, not by their place in a list, so most steps keep their meaning when others are taken out.
//! Invariant: names and numbers are few, so that commands meet each other.

mod body;
mod files;
mod objects;
mod others;

use bytes::Bytes;
use cairn_common::wire::command::{Command, WriteRequest};

use super::{rng::Rng, world::World};

/// What a sequence is mostly about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    Objects,
    Files,
    Mixed,
}

impl Profile {
    pub(super) const ALL: [Self; 3] = [Self::Objects, Self::Files, Self::Mixed];

    /// How often each family of commands comes.
    const fn weights(self) -> [(Family, u64); 11] {
        let (objects, files) = match self {
            Self::Objects => (40, 4),
            Self::Files => (6, 40),
            Self::Mixed => (24, 24),
        };
        [
            (Family::Objects, objects),
            (Family::Uploads, objects / 2),
            (Family::Names, files),
            (Family::Data, files),
            (Family::Attributes, files / 3),
            (Family::Sessions, 8),
            (Family::Buckets, 3),
            (Family::Locks, 4),
            (Family::Accounts, 3),
            (Family::Space, 8),
            (Family::Again, 3),
        ]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Objects,
    Uploads,
    Names,
    Data,
    Attributes,
    Sessions,
    Buckets,
    Locks,
    Accounts,
    Space,
    Again,
}

/// One step of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its place in the sequence as it was first drawn.
    pub(super) id: u64,
    pub(super) seed: u64,
}

/// Chunk counters that a step may use.
const CHUNKS_PER_STEP: u64 = 1000;

/// Draws the command of a step.
pub(super) struct Generator<'a> {
    pub(super) world: &'a World,
    pub(super) profile: Profile,
    pub(super) step: Step,
    /// Garbage chunks that may be forgotten.
    pub(super) deletable: &'a [Bytes],
    /// Requests sent before, with their steps.
    pub(super) sent: &'a [(u64, WriteRequest)],
    rng: Rng,
    session: u64,
    chunks: u64,
}

impl<'a> Generator<'a> {
    pub(super) fn new(
        world: &'a World,
        profile: Profile,
        step: Step,
        deletable: &'a [Bytes],
        sent: &'a [(u64, WriteRequest)],
    ) -> Self {
        Self {
            world,
            profile,
            step,
            deletable,
            sent,
            rng: Rng::new(step.seed),
            session: 0,
            chunks: 0,
        }
    }

    /// The request of the step.
    pub(super) fn request(mut self) -> WriteRequest {
        self.session = self.pick_session();
        match self.family() {
            Family::Objects => {
                let command = self.object_command();
                self.numbered(command)
            }
            Family::Uploads => {
                let command = self.upload_command();
                self.numbered(command)
            }
            Family::Names => {
                let command = self.name_command();
                self.numbered(command)
            }
            Family::Data => {
                let command = self.data_command();
                self.numbered(command)
            }
            Family::Attributes => {
                let command = self.attribute_command();
                self.numbered(command)
            }
            Family::Buckets => {
                let command = self.bucket_command();
                self.numbered(command)
            }
            Family::Locks => {
                let command = self.lock_command();
                self.numbered(command)
            }
            Family::Accounts => {
                let command = self.account_command();
                self.numbered(command)
            }
            Family::Sessions => self.session_request(),
            Family::Space => self.space_request(),
            Family::Again => self.again(),
        }
    }

    fn family(&mut self) -> Family {
        let weights = self.profile.weights();
        let mut draw = self.rng.below(weights.iter().map(|(_, weight)| weight).sum());
        for (family, weight) in weights {
            if draw < weight {
                return family;
            }
            draw -= weight;
        }
        Family::Again
    }

    fn pick_session(&mut self) -> u64 {
        if self.rng.percent(1) {
            return self.rng.below(self.world.last_session + 2);
        }
        let sessions = self.world.sessions.iter().map(|(id, session)| (session.tag, *id));
        self.rng.pick_tagged(sessions).unwrap_or(1)
    }

    /// A request of the session that happens once; now and then under a sequence that it must not have.
    fn numbered(&mut self, command: Command) -> WriteRequest {
        let (next, watermark) = match self.world.sessions.get(&self.session) {
            Some(session) => (session.next_sequence, session.watermark),
            None => (1, 1),
        };
        let sequence = match self.rng.below(200) {
            0 => 0,
            1 | 2 => 1 + self.rng.below(next),
            3 => next + 4095 + self.rng.below(3),
            // A leap that leaves room for more of them.
            4 => next + (1 << 40) + self.rng.below(2),
            5..10 => next + self.rng.below(4),
            _ => next,
        };
        let answered_below = match self.rng.below(100) {
            0 => sequence.saturating_add(self.rng.below(5)),
            1 => 0,
            2..60 => sequence.min(next),
            _ => watermark + self.rng.below(next.saturating_sub(watermark) + 1),
        };
        let command = Some(command).filter(|_| !self.rng.percent(1));
        WriteRequest {
            sequence,
            answered_below,
            resent: self.rng.percent(5),
            ..self.request_of(command)
        }
    }

    /// A request that may be repeated without harm.
    fn unnumbered(&mut self, command: Command) -> WriteRequest {
        WriteRequest {
            sequence: if self.rng.percent(1) { self.next_sequence() } else { 0 },
            ..self.request_of(Some(command))
        }
    }

    fn request_of(&self, command: Option<Command>) -> WriteRequest {
        WriteRequest {
            session: self.session,
            command,
            ..WriteRequest::default()
        }
    }

    fn next_sequence(&self) -> u64 {
        self.world
            .sessions
            .get(&self.session)
            .map_or(1, |session| session.next_sequence)
    }

    /// A request that was sent before.
    fn again(&mut self) -> WriteRequest {
        let sent = self.sent.iter().map(|(tag, request)| (*tag, request));
        match self.rng.pick_tagged(sent) {
            Some(request) => WriteRequest {
                resent: true,
                ..request.clone()
            },
            None => WriteRequest::default(),
        }
    }

    fn pick_bucket(&mut self) -> String {
        if self.rng.percent(2) {
            return "missing".to_owned();
        }
        let buckets = self
            .world
            .buckets
            .iter()
            .map(|(name, bucket)| (bucket.tag, name.as_str()));
        self.rng.pick_tagged(buckets).unwrap_or("missing").to_owned()
    }

    fn bytes(&mut self, length: u64) -> Bytes {
        (0..length).map(|_| self.rng.next() as u8).collect::<Vec<u8>>().into()
    }
}
