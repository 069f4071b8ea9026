//! One client under faults: it puts, gets, deletes and lists its own objects, one thing after the other, and believes nothing.
//!
//! *Invariant*: an answer that is wrong ends the trial at once; no answer is repeated until the bound of its kind has passed, which
//! ends the trial too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, bail};

use super::measure::{Kind, Measures};
use super::objects::{Objects, Right, Version};
use crate::content::Sequence;
use crate::http::Response;
use crate::s3::{Client, Request};
use crate::server::credentials;
use crate::wait;

/// An attempt of which nothing is heard for so long is given up.
const ATTEMPT_BOUND: Duration = Duration::from_secs(20);

/// A read succeeds within this, whatever happens to one metadata server and two chunkservers.
const READ_BOUND: Duration = Duration::from_secs(30);

/// So does a write: silence is noticed within 5 s, a leader is elected within a few more.
const WRITE_BOUND: Duration = Duration::from_secs(30);

/// Between two attempts, and between the beginnings of two operations.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const PACE: Duration = Duration::from_millis(150);

/// Objects of a client that may be written again.
const OPEN_MAX: usize = 40;

/// The least that a part of an upload but the last may hold.
const PART_BYTES: usize = 5 << 20;

pub(super) const BUCKET: &str = "chaos";

/// What all clients share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    gateways: Vec<String>,
    pub(super) measures: Measures,
    is_over: AtomicBool,
    failure: Mutex<Option<String>>,
}

/// A client and what it knows.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    number: u64,
    clients: Vec<Client>,
    /// Attempts so far: each goes to the next gateway.
    turn: usize,
    sequence: Sequence,
    objects: Objects,
}

/// What came of an attempt that is not done.
enum Missed {
    /// Nobody answered, or it was refused: it may be repeated.
    Unanswered(Error),
    /// What was answered cannot be right.
    Wrong(Error),
}

impl Shared {
    pub(super) fn new(gateways: Vec<String>) -> Self {
        Self {
            gateways,
            ..Self::default()
        }
    }

    /// Lets all clients finish what they do.
    pub(super) fn stop(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn fail(&self, error: &Error) {
        let at = self.measures.now().as_secs_f64();
        let mut failure = self.failure.lock().expect("no holder of the lock panics");
        failure.get_or_insert(format!("at {at:.1} s: {error:#}"));
        self.stop();
    }

    /// # Errors
    /// A client has failed.
    pub(super) fn check(&self) -> Result<()> {
        match &*self.failure.lock().expect("no holder of the lock panics") {
            Some(failure) => bail!("{failure}"),
            None => Ok(()),
        }
    }
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, number: u64, seed: u64) -> Self {
        let client = |address: &String| Client::new(address, credentials()).with_timeout(ATTEMPT_BOUND);
        Self {
            clients: shared.gateways.iter().map(client).collect(),
            shared,
            number,
            turn: usize::try_from(number).unwrap_or_default(),
            sequence: Sequence::new(seed ^ (number + 1) << 40),
            objects: Objects::new(format!("client-{number}/")),
        }
    }

    /// Works until the load is over, or something is wrong.
    pub(super) fn run(mut self) -> Self {
        while !self.shared.is_over() {
            let next = Instant::now() + PACE;
            if let Err(error) = self.operate() {
                self.shared.fail(&error.context(format!("client {}", self.number)));
                break;
            }
            pause_until(next);
        }
        self
    }

    /// Reads everything that must be there, and lists it. How many objects that were.
    pub(super) fn verify(&mut self) -> Result<usize> {
        let all: Vec<_> = self.objects.all().map(|(key, right)| (key.to_owned(), right)).collect();
        for (key, right) in &all {
            self.read(key, *right)?;
        }
        self.list()?;
        Ok(all.len())
    }

    fn operate(&mut self) -> Result<()> {
        let choice = self.sequence.below(100);
        let open = self.objects.pick_open(&mut self.sequence);
        let any = self.objects.pick(&mut self.sequence);
        match (choice, open, any) {
            (0..35, Some(open), _) if choice < 18 || self.objects.open_count() >= OPEN_MAX => self.put(open),
            (0..35, _, _) => {
                let key = self.objects.fresh_key();
                self.put(key)
            }
            (35..70, _, Some((key, right))) => self.read(&key, right),
            (70..80, _, Some((key, right))) => self.read_range(&key, right),
            (80..92, Some(open), _) => self.delete(&open),
            (92..97, _, _) => self.list(),
            (97.., Some(open), _) => self.put_parts(open),
            _ => Ok(()),
        }
    }

    fn put(&mut self, key: String) -> Result<()> {
        let size = self.size();
        let version = Version::new(&mut self.sequence, size);
        let request = Request::object("PUT", BUCKET, &key).body(version.content());
        let what = format!("PUT {key} of {size} bytes");
        let ((), certain) = self.until_done(Kind::Write, &what, size, |client| {
            let response = sent(client, &request)?;
            accepted(response).map(|_| ())
        })?;
        self.objects.acknowledged(&key, Right::Stored(version), certain);
        Ok(())
    }

    fn put_parts(&mut self, key: String) -> Result<()> {
        let size = PART_BYTES + usize::try_from(self.sequence.below(1 << 20))?;
        let version = Version::new(&mut self.sequence, size);
        let content = version.content();
        let parts = [content[..PART_BYTES].to_vec(), content[PART_BYTES..].to_vec()];
        let what = format!("multipart PUT {key} of {size} bytes");
        // Each attempt is a new upload. One that was completed without an answer has written the same.
        let ((), certain) = self.until_done(Kind::Write, &what, size, |client| {
            client
                .put_parts(BUCKET, &key, &parts)
                .map(|_| ())
                .map_err(Missed::Unanswered)
        })?;
        self.objects.acknowledged(&key, Right::Stored(version), certain);
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<()> {
        let request = Request::object("DELETE", BUCKET, key);
        let ((), certain) = self.until_done(Kind::Write, &format!("DELETE {key}"), 0, |client| {
            accepted(sent(client, &request)?).map(|_| ())
        })?;
        self.objects.acknowledged(key, Right::Deleted, certain);
        Ok(())
    }

    fn read(&mut self, key: &str, right: Right) -> Result<()> {
        let request = Request::object("GET", BUCKET, key);
        let size = size_of(right);
        let what = format!("GET {key}, {right:?}");
        self.until_done(Kind::Read, &what, size, |client| {
            let response = sent(client, &request)?;
            checked(&response, right, 0, size)
        })?;
        Ok(())
    }

    fn read_range(&mut self, key: &str, right: Right) -> Result<()> {
        let size = size_of(right);
        if size == 0 {
            return self.read(key, right);
        }
        let from = usize::try_from(self.sequence.below(size as u64))?;
        let length = 1 + usize::try_from(self.sequence.below((size - from) as u64))?;
        let range = format!("bytes={from}-{}", from + length - 1);
        let request = Request::object("GET", BUCKET, key).header("range", &range);
        let what = format!("GET {range} of {key}, {right:?}");
        self.until_done(Kind::Read, &what, length, |client| {
            let response = sent(client, &request)?;
            checked(&response, right, from, length)
        })?;
        Ok(())
    }

    fn list(&mut self) -> Result<()> {
        let (prefix, right) = (self.objects.prefix().to_owned(), self.objects.listed());
        self.until_done(Kind::Read, &format!("listing of {prefix}"), 0, |client| {
            let listed = client.keys_under(BUCKET, &prefix).map_err(Missed::Unanswered)?;
            if listed == right {
                return Ok(());
            }
            let missing: Vec<_> = right.iter().filter(|key| !listed.contains(key)).collect();
            let strange: Vec<_> = listed.iter().filter(|key| !right.contains(key)).collect();
            Err(Missed::Wrong(anyhow!("without {missing:?} and with {strange:?}")))
        })?;
        Ok(())
    }

    /// Repeats an attempt until it is done, at one gateway after the other: what it gave, and whether it was the first.
    fn until_done<T>(
        &mut self,
        kind: Kind,
        what: &str,
        bytes: usize,
        mut attempt: impl FnMut(&mut Client) -> Result<T, Missed>,
    ) -> Result<(T, bool)> {
        let bound = match kind {
            Kind::Read => READ_BOUND,
            Kind::Write => WRITE_BOUND,
        };
        let (start, begun) = (Instant::now(), self.shared.measures.begin(kind));
        let mut is_first = true;
        loop {
            self.turn += 1;
            let gateway = self.turn % self.clients.len();
            let context = || format!("{what} at gateway {}", gateway + 1);
            match attempt(&mut self.clients[gateway]) {
                Ok(done) => {
                    self.shared.measures.succeed(begun, bytes);
                    if start.elapsed() > bound {
                        bail!("{what} took {:.1?}, longer than {bound:?}", start.elapsed());
                    }
                    return Ok((done, is_first));
                }
                Err(Missed::Wrong(error)) => return Err(error.context("WRONG").context(context())),
                Err(Missed::Unanswered(error)) if start.elapsed() > bound => {
                    let waited = format!("no success within {bound:?}; the last attempt");
                    return Err(error.context(waited)).with_context(context);
                }
                Err(Missed::Unanswered(_)) => self.shared.measures.repeat(kind),
            }
            is_first = false;
            pause_until(Instant::now() + RETRY_PAUSE);
        }
    }

    /// Nothing, within the record, copies, coded, several chunks.
    fn size(&mut self) -> usize {
        let below = match self.sequence.below(100) {
            0..8 => 1,
            8..35 => 4 << 10,
            35..60 => 128 << 10,
            60..92 => 1 << 20,
            92..98 => 4 << 20,
            _ => 12 << 20,
        };
        usize::try_from(self.sequence.below(below)).unwrap_or_default()
    }
}

fn size_of(right: Right) -> usize {
    match right {
        Right::Stored(version) => version.size,
        Right::Deleted => 0,
    }
}

fn sent(client: &mut Client, request: &Request) -> Result<Response, Missed> {
    client.send(request).map_err(Missed::Unanswered)
}

fn accepted(response: Response) -> Result<Response, Missed> {
    response.success().map_err(Missed::Unanswered)
}

/// Judges what a read was answered.
fn checked(response: &Response, right: Right, from: usize, length: usize) -> Result<(), Missed> {
    match (response.status, right) {
        (200 | 206, Right::Stored(version)) => version.check(from, &response.body, length).map_err(Missed::Wrong),
        (404, Right::Deleted) => Ok(()),
        (404, Right::Stored(_)) => Err(Missed::Wrong(anyhow!("it is not there: {}", response.verdict()))),
        (200 | 206, Right::Deleted) => Err(Missed::Wrong(anyhow!("it was deleted and is there"))),
        _ => Err(Missed::Unanswered(anyhow!(
            "{}: {}",
            response.verdict(),
            response.text()
        ))),
    }
}

fn pause_until(until: Instant) {
    let bound = until.saturating_duration_since(Instant::now());
    // Both end at the same time, and either is right.
    let _ = wait::until("time passes", bound, || Ok((Instant::now() >= until).then_some(())));
}
