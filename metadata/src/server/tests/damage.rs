//! What becomes of a killed server's files: each kind of damage is either recovered from with all that was acknowledged, or
//! stops the start with an error that says what is wrong; nothing is ever answered from what is left by chance.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_common::wire::{
    command::Outcome::CommittedMs as Committed,
    failure::FailureCode,
    query::{Answer, ObjectQuery, Query},
};
use cairn_transport::CallError;

use super::support::{BUCKET, Rig};
use crate::store::{OfflineLog, tests::copy_tree};

/// Enough that the log is purged, and that its first entries lie in table files.
const OBJECTS: usize = 300;
const RESTART_AFTER: usize = 260;

/// What must come of a kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The server starts and has everything.
    Recovers,
    /// It does not start; the error names this.
    Stops(&'static str),
    /// It does not start, or whatever it answers is right: the damaged part may never be needed.
    NeverGuesses,
}

use Outcome::{NeverGuesses, Recovers, Stops};

/// A kind of damage, done to the files of a killed server.
struct Case {
    name: &'static str,
    damage: fn(&Image),
    outcome: Outcome,
}

/// The files of a server that was killed after all objects were acknowledged.
struct Image {
    directory: PathBuf,
    /// The log's newest file as it was after one more object.
    longer: Vec<u8>,
}

impl Image {
    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn state(&self) -> PathBuf {
        only_directory(&self.directory.join("state"))
    }

    fn newest_wal(&self) -> PathBuf {
        files(&self.log(), |name| name.ends_with(".log"))
            .pop()
            .expect("a log file")
    }
}

const CASES: &[Case] = &[
    Case {
        name: "nothing but the kill",
        damage: |_| {},
        outcome: Recovers,
    },
    Case {
        name: "log: a torn record behind what was acknowledged",
        damage: |image| {
            let wal = image.newest_wal();
            let whole = fs::read(&wal).expect("read").len();
            let torn = whole + (image.longer.len() - whole) / 2;
            fs::write(wal, &image.longer[..torn]).expect("written");
        },
        outcome: Recovers,
    },
    Case {
        name: "log: the last bytes cut, which are the last entry's",
        damage: |image| keep(&image.newest_wal(), |length| length - 7),
        outcome: Stops("its end is lost"),
    },
    Case {
        name: "log: the last entry cut",
        damage: |image| {
            let wal = image.newest_wal();
            let (bytes, last) = (fs::read(&wal).expect("read"), key(OBJECTS - 1));
            let at = bytes.windows(last.len()).rposition(|window| window == last.as_bytes());
            fs::write(wal, &bytes[..at.expect("the last object")]).expect("written");
        },
        outcome: Stops("its end is lost"),
    },
    Case {
        name: "log: cut in the middle",
        damage: |image| keep(&image.newest_wal(), |length| length / 2),
        outcome: Stops("its end is lost"),
    },
    Case {
        name: "log: newest file empty",
        damage: |image| keep(&image.newest_wal(), |_| 0),
        outcome: Stops("the Raft log"),
    },
    Case {
        name: "log: a flipped byte",
        damage: |image| flip(&image.newest_wal()),
        outcome: Stops("the Raft log"),
    },
    Case {
        name: "log: newest file missing",
        damage: |image| remove(&image.newest_wal()),
        outcome: Stops("the Raft log"),
    },
    Case {
        name: "log: a flipped byte in a table",
        damage: |image| flip(&table(&image.log())),
        outcome: NeverGuesses,
    },
    Case {
        name: "log: a table missing",
        damage: |image| remove(&table(&image.log())),
        outcome: Stops("the Raft log"),
    },
    Case {
        name: "log: flipped bytes in the manifest",
        damage: |image| flip(&manifest(&image.log())),
        outcome: Stops("the Raft log"),
    },
    Case {
        name: "log: the manifest missing",
        damage: |image| remove(&manifest(&image.log())),
        outcome: Stops("the Raft log"),
    },
    Case {
        name: "log: CURRENT missing",
        damage: |image| remove(&image.log().join("CURRENT")),
        outcome: Stops("CURRENT is missing"),
    },
    Case {
        name: "log: CURRENT of rubbish",
        damage: |image| fs::write(image.log().join("CURRENT"), "rubbish").expect("written"),
        outcome: Stops("the Raft log"),
    },
    Case {
        name: "log: all of it missing",
        damage: |image| fs::remove_dir_all(image.log()).expect("removed"),
        outcome: Stops("missing or empty"),
    },
    Case {
        name: "log: the note of its end missing",
        damage: |image| remove(&image.directory.join("log.synced")),
        outcome: Recovers,
    },
    Case {
        name: "state: flipped bytes in a table",
        damage: |image| flip(&table(&image.state())),
        outcome: NeverGuesses,
    },
    Case {
        name: "state: a table missing",
        damage: |image| remove(&table(&image.state())),
        outcome: Stops("the metadata state"),
    },
    Case {
        name: "state: flipped bytes in the manifest",
        damage: |image| flip(&manifest(&image.state())),
        outcome: Stops("the metadata state"),
    },
    Case {
        name: "state: CURRENT missing",
        damage: |image| remove(&image.state().join("CURRENT")),
        outcome: Stops("CURRENT is missing"),
    },
    Case {
        name: "state: its generation missing",
        damage: |image| fs::remove_dir_all(image.state()).expect("removed"),
        outcome: Stops("are nowhere"),
    },
    Case {
        name: "state: all of it missing",
        damage: |image| fs::remove_dir_all(image.directory.join("state")).expect("removed"),
        outcome: Stops("are nowhere"),
    },
    Case {
        name: "snapshots missing",
        damage: |image| fs::remove_dir_all(image.directory.join("snapshots")).expect("removed"),
        outcome: Recovers,
    },
];

#[tokio::test]
async fn damage_is_recovered_from_or_stops_the_start() {
    let (image, longer) = killed().await;
    let mut wrong = Vec::new();
    for case in CASES {
        let directory = tempfile::tempdir().expect("a directory");
        copy_tree(image.path(), directory.path());
        (case.damage)(&Image {
            directory: directory.path().to_owned(),
            longer: longer.clone(),
        });
        let started = Rig::on(directory, Arc::default(), |_| {}).await;
        let verdict = match started {
            Ok(rig) => match (served(&rig).await, case.outcome) {
                (Ok(OBJECTS), Recovers) | (Ok(_), NeverGuesses) => continue,
                (Ok(_), Stops(_)) => "it has started".to_owned(),
                (Ok(right), Recovers) => format!("only {right} objects are there"),
                (Err(guess), _) => guess,
            },
            Err(error) => match (error.to_string(), case.outcome) {
                (text, NeverGuesses) if text.contains("restore") => continue,
                (text, Stops(what)) if text.contains(what) && text.contains("restore") => continue,
                (text, _) => text,
            },
        };
        wrong.push(format!("{}: {verdict}", case.name));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The files of a killed server, and its newest log file after one more object.
async fn killed() -> (tempfile::TempDir, Vec<u8>) {
    let rig = Rig::with(|config| config.snapshot_commands = 20).await;
    for number in 0..RESTART_AFTER {
        let put = rig.put_inline(&key(number)).await;
        assert!(matches!(put.outcome, Some(Committed(_))), "{put:?}");
    }
    rig.server.shutdown().await.expect("stopped");
    let session = rig.session;
    let (chunkserver, directory) = (Arc::clone(&rig.chunkserver), rig.directory);
    let mut rig = Rig::on(directory, chunkserver, |_| {}).await.expect("a start");
    rig.go_on_with(session, 1_000);
    for number in RESTART_AFTER..OBJECTS {
        let put = rig.put_inline(&key(number)).await;
        assert!(matches!(put.outcome, Some(Committed(_))), "{put:?}");
    }
    let image = tempfile::tempdir().expect("a directory");
    copy_tree(rig.directory.path(), image.path());
    let wal = |directory: &Path| files(&directory.join("log"), |name| name.ends_with(".log")).pop();
    assert!(!files(&image.path().join("log"), |name| name.ends_with(".sst")).is_empty());
    let log = OfflineLog::open(image.path()).expect("a log");
    assert!(log.bounds().expect("bounds").purged.is_some(), "the log was purged");
    rig.put_inline("one more").await;
    let longer = fs::read(wal(rig.directory.path()).expect("a log file")).expect("read");
    (image, longer)
}

fn key(number: usize) -> String {
    format!("directory{}/object{number}", number % 7)
}

/// How many objects are served as they were put. An error that says so is no guess; any other answer is one.
async fn served(rig: &Rig) -> Result<usize, String> {
    let mut right = 0;
    for number in 0..OBJECTS {
        let key = key(number);
        let query = Query::Object(ObjectQuery {
            bucket: BUCKET.to_owned(),
            key: key.clone().into(),
            with_plan: true,
            plan_from: 0,
        });
        match rig.try_ask(query).await.map(|reply| reply.answer) {
            Ok(Some(Answer::Object(object))) => {
                if object.plan.is_none_or(|plan| plan.inline != key.as_bytes()) {
                    return Err(format!("{key} has other bytes"));
                }
                right += 1;
            }
            Ok(other) => return Err(format!("{key} is answered with {other:?}")),
            Err(CallError::Failed(failure))
                if matches!(failure.code(), FailureCode::Corrupt | FailureCode::Internal) => {}
            Err(error) => return Err(format!("{key}: {error}")),
        }
    }
    Ok(right)
}

/// The files in a directory that are wanted, in the order of their names.
fn files(directory: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .expect("a listing")
        .map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = entries
        .filter(|path| path.file_name().is_some_and(|name| wanted(&name.to_string_lossy())))
        .collect();
    found.sort();
    found
}

/// The largest table: flipping bytes in the middle of it meets records.
fn table(directory: &Path) -> PathBuf {
    let tables = files(directory, |name| name.ends_with(".sst"));
    let largest = tables
        .into_iter()
        .max_by_key(|path| fs::metadata(path).expect("a file").len());
    largest.expect("a table")
}

fn manifest(directory: &Path) -> PathBuf {
    files(directory, |name| name.starts_with("MANIFEST-"))
        .pop()
        .expect("a manifest")
}

fn only_directory(parent: &Path) -> PathBuf {
    files(parent, |name| name.parse::<u64>().is_ok())
        .pop()
        .expect("a generation")
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("removed");
}

fn keep(path: &Path, length: impl Fn(u64) -> u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("opened");
    let found = file.metadata().expect("a file").len();
    file.set_len(length(found)).expect("cut");
}

/// Changes some bytes in the first third of a file, where records are.
fn flip(path: &Path) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("opened");
    let at = file.metadata().expect("a file").len() / 3;
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).expect("read");
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    file.write_all_at(&bytes, at).expect("written");
}
