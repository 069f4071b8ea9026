//! A device on a real disk: filled, stopped, damaged in many ways, looked at, and mended.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use cairn_common::{
    checksum::{block_hashes, shard_hash},
    ids::{ChunkId, DeviceId, Incarnation, SessionId},
};
use cairn_transport::Body;

use super::*;
use crate::{
    core::location::Location,
    device::{DeviceSettings, DeviceStore, OpenConfig},
    engine::index::IndexBatch,
    shard::{ShardDescription, ShardKey},
    superblock::format_device,
};

const SHARD_LENS: [usize; 4] = [100, 5000, 70_000, 400_000];

/// A device whose store was filled and stopped.
struct Filled {
    folder: tempfile::TempDir,
    keys: Vec<ShardKey>,
}

impl Filled {
    /// Shards of different lengths, one of which was deleted.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let filled = Self {
            keys: (0..SHARD_LENS.len() as u64).map(key).collect(),
            folder,
        };
        format_device(&filled.path(), &identity()).expect("formatted");
        filled.run(async |store| {
            for (counter, len) in SHARD_LENS.into_iter().enumerate() {
                put(store, key(counter as u64), len).await;
            }
            put(store, key(99), 3000).await;
            store.delete(key(99)).await.expect("deleted");
        });
        filled
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("device")
    }

    /// Runs the device for a moment.
    fn run(&self, act: impl AsyncFnOnce(&DeviceStore)) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let store = DeviceStore::open(config(&self.path())).expect("it opens");
        runtime.block_on(act(&store));
    }

    fn stopped(&self) -> StoppedDevice {
        StoppedDevice::open(&self.path()).expect("nobody uses it")
    }

    fn verify(&self) -> (Verified, Vec<Finding>) {
        let scratch = tempfile::tempdir().expect("a folder");
        let mut findings = Vec::new();
        let verified = self.stopped().verify(
            scratch.path(),
            &mut |finding| findings.push(finding.clone()),
            &|_, _| {},
        );
        (verified.expect("it can be read"), findings)
    }

    fn lines(&self, filter: &Filter) -> Vec<Line> {
        let mut lines = Vec::new();
        let shown = self.stopped().inspect(filter, &mut |line| {
            lines.push(line);
            true
        });
        shown.expect("it can be read");
        lines
    }

    /// Flips a bit of a shard's payload.
    fn damage(&self, key: ShardKey) {
        let lines = self.lines(&Filter::default());
        let line = lines.iter().find(|line| line.chunk == key.chunk.to_string());
        let line = line.expect("it is there");
        let end = u64::from(line.offset) + line.record_len;
        let path = self.path().join(format!("segments/{:020}.segment", line.segment));
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .expect("a segment");
        let at = end - line.record_len + (line.record_len - u64::from(line.shard_len)) / 64 * 64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at + 10).expect("read");
        file.write_all_at(&[byte[0] ^ 1], at + 10).expect("written");
    }

    /// Changes the index behind the store's back.
    fn change_index(&self, change: impl FnOnce(&RocksIndex, &mut IndexBatch)) {
        let index = RocksIndex::open(&RocksIndex::path(&self.path()), 8 << 20).expect("it opens");
        let mut batch = IndexBatch::default();
        change(&index, &mut batch);
        index.apply(&batch).expect("applied");
        index.flush().expect("flushed");
    }

    fn is_whole(&self) {
        self.run(async |store| {
            for (key, len) in self.keys.iter().zip(SHARD_LENS) {
                let (read, _share) = store.read(*key, 0, u32::MAX).await.expect("it is there");
                assert!(read.payload == bytes_of(*key, len));
            }
            assert!(store.read(key(99), 0, 1).await.is_err(), "it was deleted");
        });
    }
}

fn config(path: &Path) -> OpenConfig {
    OpenConfig {
        path: path.to_owned(),
        identity: identity(),
        settings: DeviceSettings {
            reserve_bytes: 0,
            segment_bytes: Some(16 << 20),
            // Whatever is damaged is found by whom the test asks.
            scrub_period: Duration::from_secs(u64::MAX / 2000),
            scrub_bytes_per_second: 1,
            ..DeviceSettings::default()
        },
        metrics: Metrics::default().of(identity().device),
    }
}

fn identity() -> DeviceIdentity {
    DeviceIdentity {
        cluster_id: [7; 16],
        device: DeviceId::new(1),
        incarnation: Incarnation::new(1),
    }
}

fn key(counter: u64) -> ShardKey {
    ShardKey {
        chunk: ChunkId {
            session: SessionId::new(5),
            counter,
        },
        index: 0,
    }
}

fn bytes_of(key: ShardKey, len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index as u64 / 3 + key.chunk.counter) as u8)
        .collect()
}

async fn put(store: &DeviceStore, key: ShardKey, len: usize) {
    let bytes = bytes_of(key, len);
    let blocks = block_hashes(&bytes);
    let own = shard_hash(len, &blocks);
    let shard = ShardDescription {
        key,
        chunk_len: len as u32,
        shard_len: len as u32,
        block_hashes: blocks.iter().flat_map(|hash| *hash.as_bytes()).collect(),
        shard_hashes: Bytes::copy_from_slice(own.as_bytes()),
    };
    store.put(shard, Body::from(Bytes::from(bytes))).await.expect("stored");
}

#[test]
fn a_sound_device_has_no_findings_and_stays_as_it_is() {
    let filled = Filled::new();
    let (verified, findings) = filled.verify();
    assert_eq!(findings, []);
    assert_eq!((verified.shards, verified.cut), (SHARD_LENS.len() as u64, 0));
    assert!(verified.live_bytes >= SHARD_LENS.iter().sum::<usize>() as u64);
    filled.is_whole();
}

#[test]
fn a_device_in_use_and_what_is_no_device_are_refused() {
    let filled = Filled::new();
    filled.run(async |_| {
        let refused = StoppedDevice::open(&filled.path()).err().expect("it is in use");
        assert!(refused.to_string().contains("another process"), "{refused}");
    });
    let refused = StoppedDevice::open(filled.folder.path())
        .err()
        .expect("it is no device");
    assert!(matches!(refused, MaintenanceError::Device { .. }), "{refused}");
}

#[test]
fn records_are_shown_with_what_holds_of_them() {
    let filled = Filled::new();
    let lines = filled.lines(&Filter::default());
    let shown: Vec<_> = lines
        .iter()
        .map(|line| (line.kind, line.shard_len, line.state.name()))
        .collect();
    assert_eq!(
        shown,
        [
            ("shard", 100, "live"),
            ("shard", 5000, "live"),
            ("shard", 70_000, "live"),
            ("shard", 400_000, "live"),
            ("shard", 3000, "garbage"),
            ("tombstone", 0, "garbage"),
        ]
    );
    let one = Filter {
        chunk: Some(lines[1].chunk.clone()),
        ..Filter::default()
    };
    assert_eq!(filled.lines(&one).len(), 1);
    let few = Filter {
        limit: Some(2),
        ..Filter::default()
    };
    assert_eq!(filled.lines(&few), lines[..2]);
    let summary = filled.stopped().summarize().expect("it can be read");
    let [segment] = summary.segments.as_slice() else {
        panic!("{summary:?}")
    };
    assert_eq!(
        (segment.shards, segment.tombstones, segment.error.as_ref()),
        (5, 1, None)
    );
    assert!(summary.indexed.is_ok_and(|end| end.is_some()));
}

#[test]
fn damaged_bytes_are_found_wherever_they_lie_and_stay_known_to_a_new_index() {
    let filled = Filled::new();
    for key in [key(1), key(3)] {
        filled.damage(key);
    }
    let (verified, findings) = filled.verify();
    let subjects: Vec<_> = findings.iter().map(|finding| finding.subject.clone()).collect();
    assert_eq!(verified.findings, 2, "{findings:?}");
    for key in [key(1), key(3)] {
        assert!(subjects.contains(&format!("shard {key}")), "{findings:?}");
    }
    filled.run(async |store| {
        let read = store.read(key(3), 0, u32::MAX).await;
        assert!(
            read.is_ok(),
            "the store gives what is there, and its reader verifies it"
        );
    });
    filled.change_index(|index, batch| {
        let location = index.find(&key(1)).expect("it answers").expect("it is there");
        let damaged = Location {
            is_damaged: true,
            ..location
        };
        batch.changes.entries.insert(key(1), Some(damaged));
    });
    let rebuilt = filled.stopped().rebuild_index(&|_, _| {}).expect("made");
    assert_eq!((rebuilt.damaged, rebuilt.records), (1, 6));
    let lines = filled.lines(&Filter::default());
    assert_eq!(lines[1].state, State::Damaged);
}

#[test]
fn an_index_that_says_something_else_than_the_segments_is_found_and_made_anew() {
    let filled = Filled::new();
    filled.change_index(|index, batch| {
        let moved = index.find(&key(2)).expect("it answers").expect("it is there");
        batch.changes.entries.insert(key(0), None);
        batch.changes.entries.insert(key(1), Some(moved));
        batch.changes.entries.insert(key(50), Some(moved));
    });
    let (verified, findings) = filled.verify();
    assert_eq!(verified.findings, 3, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.advice.contains("rebuild-index")));
    let rebuilt = filled.stopped().rebuild_index(&|_, _| {}).expect("made");
    assert_eq!((rebuilt.cut, rebuilt.unreadable), (0, 0));
    assert_eq!(filled.verify().1, []);
    filled.is_whole();
}

#[test]
fn an_index_that_cannot_be_opened_is_a_finding_and_is_made_anew() {
    let filled = Filled::new();
    let index = RocksIndex::path(&filled.path());
    fs::write(index.join("CURRENT"), b"MANIFEST-999999\n").expect("written");
    let (verified, findings) = filled.verify();
    assert_eq!((verified.findings, findings[0].subject.as_str()), (1, "index"));
    filled.stopped().rebuild_index(&|_, _| {}).expect("made");
    assert_eq!(filled.verify().1, []);
    fs::remove_dir_all(index).expect("removed");
    assert_eq!(filled.verify().1, [], "a start makes one");
    filled.is_whole();
}

/// The files of a directory, with their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn flipped_bits_in_the_index_are_never_an_answer() {
    let filled = Filled::new();
    let index = RocksIndex::path(&filled.path());
    let whole: Vec<_> = files(&index)
        .into_iter()
        .map(|path| (fs::read(&path).expect("read"), path))
        .collect();
    for number in 0..whole.len() * 4 {
        let (bytes, path) = &whole[number / 4];
        if bytes.is_empty() {
            continue;
        }
        let mut flipped = bytes.clone();
        let at = (number * 7919) % flipped.len();
        flipped[at] ^= 1 << (number % 8);
        fs::write(path, flipped).expect("written");
        if let Ok(store) = DeviceStore::open(config(&filled.path())) {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            for (key, len) in filled.keys.iter().zip(SHARD_LENS) {
                // An error is an answer too: others have the chunk.
                if let Ok((read, _share)) = runtime.block_on(store.read(*key, 0, u32::MAX)) {
                    assert!(read.payload == bytes_of(*key, len), "{} at {at}", path.display());
                }
            }
        }
        filled.stopped().rebuild_index(&|_, _| {}).expect("made");
        filled.is_whole();
        fs::remove_dir_all(&index).expect("removed");
        fs::create_dir(&index).expect("made");
        whole
            .iter()
            .for_each(|(bytes, path)| fs::write(path, bytes).expect("written"));
    }
}

#[test]
fn a_segment_without_a_header_is_a_finding() {
    let filled = Filled::new();
    let path = filled.path().join(format!("segments/{:020}.segment", 1));
    let file = fs::File::options().write(true).open(path).expect("a segment");
    file.write_all_at(&[0; 4096], 0).expect("written");
    let (verified, findings) = filled.verify();
    assert!(
        verified.findings > 0 && findings[0].subject == "segment 1",
        "{findings:?}"
    );
    let summary = filled.stopped().summarize().expect("it can be read");
    assert!(summary.segments[0].error.is_some());
}
