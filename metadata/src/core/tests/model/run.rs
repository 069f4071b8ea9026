//! Runs a sequence of steps against the model and the replicas, and compares.

use bytes::Bytes;
use cairn_common::{
    limits,
    wire::{
        chunk::ChunkChange,
        command::{
            Command, CreateBucket, EntryBatch, ForgetChunks, Heartbeat, HoldDeletion, InstallMap, OpenSession, Outcome,
            RaiseFeatureLevel, ReleaseStep, WriteReply, WriteRequest,
        },
        file::FileId,
        map::MapMessage,
    },
};
use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::harness,
    check,
    generate::{Generator, Profile, Step},
    replicas::Replicas,
    rng::Rng,
    world::{Expected, World},
};
use crate::core::deletable_chunks;

/// Requests that may be sent again.
const SENT_MAX: usize = 60;

/// How model and code differ.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    /// What kind of thing differs: kept the same while a sequence is made shorter.
    pub(super) kind: String,
    pub(super) detail: String,
    /// The requests up to there, entry by entry.
    pub(super) trace: Vec<String>,
}

/// A run.
pub(super) struct Run {
    world: World,
    replicas: Replicas,
    profile: Profile,
    sent: Vec<(u64, WriteRequest)>,
    replies: BTreeMap<(u64, u64), WriteReply>,
    followers: BTreeMap<u64, check::Follower>,
    trace: Vec<String>,
}

impl Run {
    /// Carries out the steps. Gives how many commands that were.
    pub(super) fn steps(profile: Profile, steps: &[Step], on_disk: bool) -> Result<u64, Difference> {
        let mut run = Self {
            world: World::default(),
            replicas: Replicas::new(on_disk),
            profile,
            sent: Vec::new(),
            replies: BTreeMap::new(),
            followers: BTreeMap::new(),
            trace: Vec::new(),
        };
        let done = run.all(steps);
        done.map_err(|(kind, detail)| Difference {
            kind,
            detail,
            trace: run.trace,
        })
    }

    fn all(&mut self, steps: &[Step]) -> Result<u64, (String, String)> {
        self.set_up()?;
        let mut commands = 0;
        let mut rest = steps;
        while !rest.is_empty() {
            // Where entries end depends on the steps alone, so that it stays when others are taken out.
            let ends = |step: &Step| Rng::new(step.seed ^ 1).percent(20);
            let length = rest.iter().position(ends).map_or(rest.len(), |at| at + 1);
            let (entry, behind) = rest.split_at(length);
            rest = behind;
            commands += entry.len() as u64;
            self.entry(entry)?;
            let mut rng = Rng::new(entry[length - 1].seed ^ 2);
            if rng.percent(15) {
                let disturbed = self.replicas.disturb(rng.next());
                disturbed.map_err(|detail| ("restart".to_owned(), detail))?;
            }
            if rng.percent(12) {
                self.compare(&mut rng, false)?;
            }
            if rng.percent(1) {
                self.drain()?;
            }
        }
        self.compare(&mut Rng::new(3), true)?;
        self.drain()?;
        Ok(commands)
    }

    /// A map, two sessions and a bucket.
    fn set_up(&mut self) -> Result<(), (String, String)> {
        let unnumbered = |command| WriteRequest {
            command: Some(command),
            ..WriteRequest::default()
        };
        let map = Some(MapMessage::from(&harness::map()));
        let open = |mounts| unnumbered(Command::OpenSession(OpenSession { mounts }));
        let create = CreateBucket {
            name: harness::BUCKET.to_owned(),
            data_shards: 4,
            parity_shards: 2,
            ..CreateBucket::default()
        };
        let requests = vec![
            unnumbered(Command::InstallMap(InstallMap { map })),
            unnumbered(Command::RaiseFeatureLevel(RaiseFeatureLevel {
                level: limits::FEATURE_LEVEL,
            })),
            open(false),
            open(true),
            WriteRequest {
                session: 1,
                sequence: 1,
                answered_below: 1,
                command: Some(Command::CreateBucket(create)),
                ..WriteRequest::default()
            },
        ];
        self.fixed(requests)
    }

    fn entry(&mut self, steps: &[Step]) -> Result<(), (String, String)> {
        let time_ms = self.next_time(steps[0].seed);
        self.world.begin(self.replicas.log_index() + 1, time_ms);
        let deletable = deletable_chunks(self.replicas.view(), 50).map_err(|error| view_error(&error))?;
        let deletable: Vec<Bytes> = deletable
            .iter()
            .map(|chunk| Bytes::copy_from_slice(&chunk.id.to_bytes()))
            .collect();
        let (mut requests, mut expected) = (Vec::new(), Vec::new());
        for step in steps {
            self.world.tag = Rng::new(step.id).next();
            let request = Generator::new(&self.world, self.profile, *step, &deletable, &self.sent).request();
            expected.push(self.world.apply(&request));
            if is_the_same_later(&request) {
                self.sent.push((self.world.tag, request.clone()));
            }
            requests.push(request);
        }
        let old = self.sent.len().saturating_sub(SENT_MAX);
        self.sent.drain(..old);
        self.send(time_ms, requests, &expected)
    }

    /// An entry of given requests.
    fn fixed(&mut self, requests: Vec<WriteRequest>) -> Result<(), (String, String)> {
        let time_ms = self.world.time_ms + 1;
        self.world.begin(self.replicas.log_index() + 1, time_ms);
        let mut expected = Vec::new();
        for (request, nth) in requests.iter().zip(1..) {
            self.world.tag = Rng::new(u64::MAX - nth).next();
            expected.push(self.world.apply(request));
        }
        self.send(time_ms, requests, &expected)
    }

    /// The leader's clock: it runs, stands, leaps, and goes back a little.
    fn next_time(&self, seed: u64) -> u64 {
        let mut rng = Rng::new(seed ^ 4);
        let now = self.world.time_ms.max(1_700_000_000_000);
        match rng.below(40) {
            0 => now + 2 * 24 * 3600 * 1000,
            1 | 2 => now - 1000,
            3..6 => now,
            _ => now + rng.below(3000),
        }
    }

    fn send(
        &mut self,
        time_ms: u64,
        requests: Vec<WriteRequest>,
        expected: &[Expected],
    ) -> Result<(), (String, String)> {
        let batch = EntryBatch { time_ms, requests };
        self.trace
            .push(format!("entry {} at {time_ms} ms", self.replicas.log_index() + 1));
        self.trace.extend(batch.requests.iter().map(in_short));
        let replies = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.replicas.apply(&batch)));
        let replies = match replies {
            Ok(Ok(replies)) => replies,
            Ok(Err(detail)) => return Err((format!("apply: {}", kind_of(&detail)), detail)),
            Err(_) => return Err(("panic".to_owned(), "the state machine panics".to_owned())),
        };
        for ((request, expected), reply) in batch.requests.iter().zip(expected).zip(&replies) {
            if !self.agrees(expected, reply) {
                let kind = format!("reply to {}", kind_of(&format!("{:?}", request.command)));
                let detail = format!(
                    "to the last{}\n  expected {expected:?}\n  but was  {reply:?}",
                    in_short(request)
                );
                return Err((kind, detail));
            }
            let numbered = request.sequence > 0 && !matches!(expected, Expected::Repeated(..));
            if numbered {
                self.replies.insert((request.session, request.sequence), reply.clone());
            }
        }
        self.world.find_lost();
        Ok(())
    }

    /// Whether a reply is what the model says.
    fn agrees(&self, expected: &Expected, reply: &WriteReply) -> bool {
        let Some(outcome) = &reply.outcome else { return false };
        let is_new = reply.log_index == self.replicas.log_index();
        match (expected, outcome) {
            (Expected::Repeated(session, sequence), _) => self.replies.get(&(*session, *sequence)) == Some(reply),
            (Expected::Refused(codes), Outcome::Refused(refusal)) => is_new && codes.contains(&refusal.code()),
            (Expected::Outcome(Outcome::ReleaseLeft(_)), Outcome::ReleaseLeft(_)) => is_new,
            // How many records changed is the code's own affair: where shards lie is compared.
            (Expected::Outcome(Outcome::Chunk(expected)), Outcome::Chunk(outcome)) => {
                is_new && expected.settled == outcome.settled
            }
            (Expected::Outcome(Outcome::Orphans(expected)), Outcome::Orphans(page)) => {
                // Told are all that lost their names; beside these what waits for release again, and directories.
                let (told, others): (BTreeSet<&FileId>, BTreeSet<&FileId>) =
                    page.orphans.iter().partition(|file| expected.orphans.contains(file));
                is_new
                    && told.len() == expected.orphans.len()
                    && others.into_iter().all(|file| !self.has_name(file))
                    && (page.reached, page.more) == (expected.reached, expected.more)
            }
            (Expected::Outcome(expected), outcome) => is_new && expected == outcome,
            (Expected::Refused(_), _) => false,
        }
    }

    fn has_name(&self, file: &FileId) -> bool {
        let bucket = self.world.buckets.values().find(|bucket| bucket.id == file.bucket);
        let inode = bucket.and_then(|bucket| bucket.inodes.get(&file.inode));
        inode.is_some_and(|inode| inode.unlinked_at.is_none())
    }

    fn compare(&mut self, rng: &mut Rng, whole: bool) -> Result<(), (String, String)> {
        let log_index = self.replicas.log_index();
        let seed = rng.next();
        let before = self.followers.clone();
        self.replicas
            .each_view(&mut |view| {
                let mut questions = check::Questions::new(&self.world, view, log_index, Rng::new(seed));
                self.followers = before.clone();
                questions.feeds(&mut self.followers)?;
                if whole { questions.all() } else { questions.some() }
            })
            .map_err(|detail| (format!("state: {}", kind_of(&detail)), detail))
    }

    /// Nobody needs anything any more: all garbage goes, and nothing else.
    fn drain(&mut self) -> Result<(), (String, String)> {
        let now = self.replicas.log_index() + 1;
        let unnumbered = |session, command| WriteRequest {
            session,
            command: Some(command),
            ..WriteRequest::default()
        };
        let settle = |id: &u64| {
            let heartbeat = Heartbeat {
                settled_below: 0,
                reads_from: now,
                orphans_seen: now,
                held: Vec::new(),
            };
            unnumbered(*id, Command::Heartbeat(heartbeat))
        };
        let mut requests: Vec<WriteRequest> = self.world.sessions.keys().map(settle).collect();
        let hold = HoldDeletion {
            held: false,
            generation: 0,
        };
        requests.push(unnumbered(0, Command::HoldDeletion(hold)));
        self.fixed(requests)?;
        for _ in 0..200 {
            self.fixed(vec![unnumbered(0, Command::ReleaseStep(ReleaseStep { steps: 128 }))])?;
            let pending = crate::core::release_pending(self.replicas.view()).map_err(|error| view_error(&error))?;
            if !pending {
                break;
            }
        }
        self.world.prune();
        let drained = check::drained(&self.world, self.replicas.view());
        drained.map_err(|detail| (format!("garbage: {}", kind_of(&detail)), detail))?;
        let pinned = self.world.pinned_chunks();
        let chunk_ids = self
            .world
            .lost
            .keys()
            .filter(|id| !pinned.contains(*id))
            .cloned()
            .collect();
        self.fixed(vec![unnumbered(0, Command::ForgetChunks(ForgetChunks { chunk_ids }))])?;
        let clean = check::clean(&self.world, self.replicas.view());
        clean.map_err(|detail| (format!("garbage: {}", kind_of(&detail)), detail))
    }
}

fn view_error(error: &crate::core::view::ViewError) -> (String, String) {
    ("unreadable state".to_owned(), error.to_string())
}

/// Whether it means the same when it is sent again. What could be forgotten may not be yet; and shards may be those of a chunk that
/// nobody needs any more by then, of which the model does not know whether its record is still there.
fn is_the_same_later(request: &WriteRequest) -> bool {
    match &request.command {
        Some(Command::ForgetChunks(_)) => false,
        Some(Command::Chunk(command)) => {
            !matches!(command.change, Some(ChunkChange::Report(_) | ChunkChange::Repaired(_)))
        }
        _ => true,
    }
}

/// A request for a person.
fn in_short(request: &WriteRequest) -> String {
    let command = match &request.command {
        Some(Command::InstallMap(InstallMap { map: Some(map) })) => format!("InstallMap epoch {}", map.epoch),
        Some(command) => without_defaults(format!("{command:?}")),
        None => "nothing".to_owned(),
    };
    let WriteRequest {
        session,
        sequence,
        answered_below,
        ..
    } = request;
    format!("  session {session} sequence {sequence} answered below {answered_below}: {command}")
}

/// A printed message without what is nearly always the same.
fn without_defaults(mut text: String) -> String {
    let hash = format!(", hash: b\"{}\"", "\\x07".repeat(32));
    let defaults = [
        hash.as_str(),
        ", explicit_devices: []",
        ", inline: b\"\"",
        ", extents: []",
        ", missing: 0",
        ", checksums: []",
        ", user_metadata: []",
        ", headers: []",
        ", condition: None",
        ", chunk_offset: 0",
        "b\"\\0\\0\\0\\0\\0\\0\\0",
        "\\0\\0\\0\\0",
    ];
    for default in defaults {
        text = text.replace(default, "");
    }
    text
}

/// The first words of a text, numbers left out.
fn kind_of(text: &str) -> String {
    let words = text
        .split(|character: char| !character.is_alphabetic())
        .filter(|word| !word.is_empty());
    words.take(6).collect::<Vec<_>>().join(" ")
}
