//! kill -9 under load, again and again: after each restart every acknowledged write reads back with its hash, every
//! unacknowledged one is there as a whole or not at all, and the listing says the same.
//!
//! Not shown here: a power cut. The kernel keeps what a killed process wrote; that syncs happen before acknowledgements
//! is for fault-injected disks to show.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_tests::content::{self, Sequence};
use cairn_tests::s3::{Client, Request, complete_request};
use cairn_tests::server::Server;
use cairn_tests::{place, wait};

const BUCKET: &str = "crash";
const WRITERS: usize = 4;
/// Few keys per writer, so that overwrites and deletes are common.
const KEYS: u64 = 12;
const ROUND_BOUND: Duration = Duration::from_secs(60);
/// Inlined; a small chunk of few copies; one chunk; several chunks.
const LENGTHS: &[usize] = &[0, 700, 3_000, 60_000, 500_000, 3 << 20, 18 << 20];
const PART: usize = 5 << 20;

/// What a key may hold after a crash: a hash, or nothing.
type Content = Option<String>;

#[derive(Debug, Default)]
struct KeyState {
    acknowledged: Content,
    /// Sent and not answered: it may have happened or not.
    pending: Option<Content>,
}

/// One client with keys of its own.
struct Writer {
    name: usize,
    sequence: Sequence,
    keys: BTreeMap<String, KeyState>,
}

#[test]
fn acknowledged_writes_survive_kills_under_load() -> Result<()> {
    let rounds = if place::is_long() { 100 } else { 20 };
    let mut server = Server::start("crash")?;
    server.client()?.make_bucket(BUCKET)?;
    let mut writers: Vec<Writer> = (0..WRITERS).map(Writer::new).collect();
    let mut sequence = Sequence::new(2);
    for round in 0..rounds {
        // From "hardly begun" to "well under way".
        let target = usize::try_from(sequence.below(60))?;
        let acknowledged = load_and_kill(&mut server, &mut writers, target)?;
        server.start_again().with_context(|| format!("restart {round}"))?;
        verify(&server, &mut writers).with_context(|| format!("round {round}, {acknowledged} acknowledged"))?;
    }
    Ok(())
}

/// Lets the writers work until `target` writes are acknowledged, then kills the server in the middle of others.
fn load_and_kill(server: &mut Server, writers: &mut Vec<Writer>, target: usize) -> Result<usize> {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let returned = Arc::new(Mutex::new(Vec::new()));
    let mut threads = Vec::new();
    for mut writer in writers.drain(..) {
        let mut client = server.client()?;
        let (acknowledged, returned) = (Arc::clone(&acknowledged), Arc::clone(&returned));
        threads.push(thread::spawn(move || {
            // Ends with the server: a request without an answer.
            while writer.step(&mut client).is_ok() {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            returned.lock().expect("no writer panics").push(writer);
        }));
    }
    let reached = wait::until("the writers make progress", ROUND_BOUND, || {
        Ok((acknowledged.load(Ordering::Relaxed) >= target).then_some(()))
    });
    server.kill()?;
    for thread in threads {
        thread.join().expect("a writer does not panic");
    }
    writers.append(&mut returned.lock().expect("no writer panics"));
    reached?;
    Ok(acknowledged.load(Ordering::Relaxed))
}

fn verify(server: &Server, writers: &mut [Writer]) -> Result<()> {
    let mut client = server.client()?;
    let mut expected = Vec::new();
    for writer in writers {
        for (key, state) in &mut writer.keys {
            let found = stored(&mut client, key)?;
            let is_pending = state.pending.take().is_some_and(|pending| pending == found);
            ensure!(
                is_pending || found == state.acknowledged,
                "{key} holds {found:?}, acknowledged was {:?}",
                state.acknowledged
            );
            // What is seen once stays.
            state.acknowledged = found;
            if state.acknowledged.is_some() {
                expected.push(key.clone());
            }
        }
    }
    expected.sort();
    ensure!(
        client.keys(BUCKET)? == expected,
        "the listing differs from what can be read"
    );
    Ok(())
}

/// The hash of what a key holds; an error if it is neither there nor absent.
fn stored(client: &mut Client, key: &str) -> Result<Content> {
    let response = client.send(&Request::object("GET", BUCKET, key))?;
    match response.status {
        200 => Ok(Some(content::sha256(&response.body))),
        404 => Ok(None),
        _ => anyhow::bail!("GET {key}: {}", response.verdict()),
    }
}

impl Writer {
    fn new(name: usize) -> Self {
        Self {
            name,
            sequence: Sequence::new(name as u64 + 100),
            keys: BTreeMap::new(),
        }
    }

    /// One write, with what it may leave behind noted before it is sent.
    fn step(&mut self, client: &mut Client) -> Result<()> {
        let key = format!("writer{}/{}", self.name, self.sequence.below(KEYS));
        let kind = self.sequence.below(10);
        let length = *self.sequence.pick(LENGTHS);
        let seed = self.sequence.next_u64();
        match kind {
            0 => self.expect(&key, None, |key| client.delete(BUCKET, key).map(drop)),
            1 => {
                let parts = [content::bytes(seed, PART), content::bytes(seed + 1, 100_000)];
                let hash = content::sha256(&parts.concat());
                self.expect(&key, Some(hash), |key| multipart(client, key, parts))
            }
            _ => {
                let body = content::bytes(seed, length);
                let hash = content::sha256(&body);
                self.expect(&key, Some(hash), |key| client.put(BUCKET, key, body).map(drop))
            }
        }
    }

    fn expect(&mut self, key: &str, content: Content, write: impl FnOnce(&str) -> Result<()>) -> Result<()> {
        let state = self.keys.entry(key.to_owned()).or_default();
        state.pending = Some(content.clone());
        write(key)?;
        *state = KeyState {
            acknowledged: content,
            pending: None,
        };
        Ok(())
    }
}

fn multipart(client: &mut Client, key: &str, parts: [Vec<u8>; 2]) -> Result<()> {
    let upload = client.create_upload(BUCKET, key)?;
    let mut tags = Vec::new();
    for (number, part) in (1..).zip(parts) {
        let request = Request::object("PUT", BUCKET, key)
            .query("partNumber", number)
            .query("uploadId", &upload);
        let response = client.send(&request.body(part))?.success()?;
        tags.push((
            number,
            response.header("etag").context("a part has an ETag")?.to_owned(),
        ));
    }
    client
        .send(&complete_request(BUCKET, key, &upload, &tags))?
        .success()
        .map(drop)
}
