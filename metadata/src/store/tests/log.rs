//! The log: order, bounds, torn tails, damage, and a second opener.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::Bytes;
use cairn_common::ids::NodeId;
use prost::Message;

use super::{copy_tree, newest_file};
use crate::store::{
    EntryKind, EntryRecord, LogPosition, LogStore, SharedCache, StoreError, VoteRecord, syncer::blocking_callback,
};

const SERVER: NodeId = NodeId::new(1);

fn open_as(directory: &Path, server: NodeId, flushed: u64) -> Result<LogStore, StoreError> {
    LogStore::open(
        directory,
        server,
        &SharedCache::new(256 << 20),
        Arc::new(AtomicU64::new(flushed)),
        Box::new(|_| {}),
    )
}

fn open(directory: &Path) -> Result<LogStore, StoreError> {
    open_as(directory, SERVER, u64::MAX)
}

fn position(index: u64) -> LogPosition {
    LogPosition {
        term: 1,
        node: 1,
        index,
    }
}

fn entry(index: u64) -> EntryRecord {
    let bytes = Bytes::from(format!("the commands of entry {index}"));
    EntryRecord {
        position: position(index),
        kind: Some(EntryKind::Batch(bytes)),
    }
}

fn append(log: &LogStore, indices: std::ops::Range<u64>) {
    for index in indices {
        log.append(&[entry(index)]).expect("an append");
    }
    sync(log);
}

fn sync(log: &LogStore) {
    let (callback, wait) = blocking_callback();
    log.sync_then(callback);
    assert_eq!(wait.recv(), Ok(Ok(())));
}

fn indices(log: &LogStore) -> Vec<u64> {
    let entries = log.entries(0..u64::MAX, usize::MAX).expect("entries");
    entries.iter().map(|entry| entry.position.index).collect()
}

#[test]
fn what_was_synced_is_there_after_a_kill() {
    let (directory, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open(directory.path()).unwrap();
    // It goes with the entries that come next.
    log.note_committed(position(8));
    append(&log, 0..10);
    log.put_vote(&VoteRecord {
        term: 3,
        node: 1,
        committed: true,
    })
    .unwrap();
    sync(&log);
    copy_tree(directory.path(), copy.path());
    let after = open(copy.path()).unwrap();
    assert_eq!(indices(&after), (0..10).collect::<Vec<_>>());
    assert_eq!(after.entries(3..5, usize::MAX), Ok(vec![entry(3), entry(4)]));
    assert_eq!(
        after.vote(),
        Ok(Some(VoteRecord {
            term: 3,
            node: 1,
            committed: true
        }))
    );
    assert_eq!(after.committed(), Ok(Some(position(8))));
    assert_eq!(after.bounds().last, Some(position(9)));
}

#[test]
fn a_torn_tail_is_cut_off_and_the_rest_stays() {
    let (directory, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open(directory.path()).unwrap();
    append(&log, 0..10);
    copy_tree(directory.path(), copy.path());
    // As if the last sync had not ended.
    fs::remove_file(copy.path().join("log.synced")).unwrap();
    let tail = newest_file(&copy.path().join("log"), "log");
    let length = fs::metadata(&tail).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&tail)
        .unwrap()
        .set_len(length - 7)
        .unwrap();
    let after = open(copy.path()).unwrap();
    assert_eq!(indices(&after), (0..9).collect::<Vec<_>>());
    assert_eq!(after.bounds().last, Some(position(8)));
    append(&after, 9..12);
    assert_eq!(indices(&after), (0..12).collect::<Vec<_>>());
}

#[test]
fn damage_before_the_tail_is_an_error_not_a_shorter_log() {
    let (directory, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open(directory.path()).unwrap();
    append(&log, 0..10);
    copy_tree(directory.path(), copy.path());
    let file = newest_file(&copy.path().join("log"), "log");
    let mut bytes = fs::read(&file).unwrap();
    let needle = b"the commands of entry 4";
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("the entry");
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let outcome = open(copy.path()).map(|_| ());
    assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{outcome:?}");
}

#[test]
fn a_second_opener_is_refused_until_the_first_has_closed() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).unwrap();
    let refused = open(directory.path()).map(|_| ());
    assert_eq!(refused, Err(StoreError::InUse(directory.path().join("log"))));
    first.close().unwrap();
    assert_eq!(first.vote(), Err(StoreError::Closed));
    open(directory.path()).unwrap();
}

#[test]
fn another_servers_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).unwrap().close().unwrap();
    let refused = open_as(directory.path(), NodeId::new(2), 0).map(|_| ());
    assert_eq!(
        refused,
        Err(StoreError::OtherServer {
            found: SERVER,
            asked: NodeId::new(2)
        })
    );
}

#[test]
fn nothing_is_purged_that_the_state_does_not_hold_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_as(directory.path(), SERVER, 4).unwrap();
    append(&log, 0..10);
    assert_eq!(
        log.purge(position(5)),
        Err(StoreError::NotFlushed { asked: 5, flushed: 4 })
    );
    log.purge(position(4)).unwrap();
    assert_eq!(indices(&log), [5, 6, 7, 8, 9]);
    log.close().unwrap();
    let after = open(directory.path()).unwrap();
    assert_eq!(indices(&after), [5, 6, 7, 8, 9]);
    assert_eq!(after.bounds().purged, Some(position(4)));
}

#[test]
fn a_truncated_log_goes_on_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).unwrap();
    append(&log, 0..10);
    log.truncate_from(6).unwrap();
    assert_eq!(log.bounds().last, Some(position(5)));
    append(&log, 6..8);
    log.close().unwrap();
    assert_eq!(indices(&open(directory.path()).unwrap()), (0..8).collect::<Vec<_>>());
}

#[test]
fn reads_are_bounded_by_bytes_but_never_empty() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).unwrap();
    append(&log, 0..10);
    assert_eq!(log.entries(2..9, 1).unwrap().len(), 1);
    let three = 3 * entry(2).encoded_len();
    assert_eq!(log.entries(2..9, three).unwrap().len(), 3);
}

#[test]
fn a_hole_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).unwrap();
    log.append(&[entry(0), entry(1), entry(3)]).unwrap();
    assert!(matches!(log.entries(0..9, usize::MAX), Err(StoreError::Corrupt { .. })));
}
