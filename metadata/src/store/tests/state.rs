//! The state: what a kill leaves, checkpoints, installing one, and damage.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{copy_tree, newest_file};
use crate::{
    core::view::{Family, View, ViewError, Write},
    store::{LogPosition, MemberRecord, MembershipRecord, SharedCache, StateStore, StoreError, VoterSet},
};

struct Opened {
    store: StateStore,
    flushed: Arc<AtomicU64>,
}

fn try_open(directory: &Path) -> Result<Opened, StoreError> {
    let flushed = Arc::new(AtomicU64::new(0));
    Ok(Opened {
        store: StateStore::open(directory, &SharedCache::new(256 << 20), Arc::clone(&flushed))?,
        flushed,
    })
}

fn open(directory: &Path) -> Opened {
    try_open(directory).expect("the state opens")
}

fn key(index: u64) -> Vec<u8> {
    format!("key {index}").into_bytes()
}

/// Each entry writes to two families and removes what the entry before wrote to one of them.
fn commit(store: &StateStore, index: u64) {
    let write = |family, index: u64, value: Option<&str>| Write {
        family,
        key: key(index),
        value: value.map(|value| value.as_bytes().to_vec()),
    };
    let writes = [
        write(Family::Inode, index, Some("inode")),
        write(Family::Dentry, index, Some("dentry")),
        write(Family::Dentry, index.wrapping_sub(1), None),
    ];
    let position = LogPosition {
        term: 1,
        node: 1,
        index,
    };
    store
        .commit(position, 1000 + index, writes.to_vec(), None)
        .expect("a commit");
}

fn keys(store: &StateStore, family: Family) -> Vec<String> {
    let mut keys = Vec::new();
    let read: Result<(), ViewError> = store.read(|view, _| {
        view.scan(family, b"", &mut |key, _| {
            keys.push(String::from_utf8_lossy(key).into_owned());
            true
        })
    });
    read.expect("a scan");
    keys
}

#[test]
fn a_kill_leaves_the_state_of_one_flushed_entry_in_all_families() {
    let (directory, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let opened = open(directory.path());
    (0..5).for_each(|index| commit(&opened.store, index));
    opened.store.flush().unwrap();
    let flushed = opened.store.applied();
    assert_eq!(opened.flushed.load(Ordering::SeqCst), 4);
    (5..9).for_each(|index| commit(&opened.store, index));
    copy_tree(directory.path(), copy.path());
    let after = open(copy.path());
    assert_eq!(after.store.applied(), flushed);
    assert_eq!(after.flushed.load(Ordering::SeqCst), 4);
    assert_eq!(keys(&after.store, Family::Dentry), ["key 4"]);
    assert_eq!(keys(&after.store, Family::Inode).len(), 5);
    // Replayed from there, it is the same state with the same hash.
    (5..9).for_each(|index| commit(&after.store, index));
    assert_eq!(after.store.applied(), opened.store.applied());
}

#[test]
fn closing_flushes() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path());
    (0..5).for_each(|index| commit(&opened.store, index));
    let applied = opened.store.applied();
    opened.store.close().unwrap();
    assert_eq!(open(directory.path()).store.applied(), applied);
}

#[test]
fn a_read_sees_one_state_while_entries_are_applied() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path());
    commit(&opened.store, 0);
    let read: Result<(), ViewError> = opened.store.read(|view, applied| {
        commit(&opened.store, 1);
        assert_eq!(applied.index(), 0);
        assert_eq!(view.get(Family::Dentry, b"key 0")?, Some(b"dentry".to_vec()));
        assert_eq!(view.get(Family::Dentry, b"key 1")?, None);
        Ok(())
    });
    read.unwrap();
}

#[test]
fn the_applier_and_readers_see_what_the_database_was_not_given_yet() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path());
    (0..3).for_each(|index| commit(&opened.store, index));
    let newest = |find: &dyn Fn(&dyn View)| {
        let read: Result<(), ViewError> = opened.store.read_newest(|view| {
            find(view);
            Ok(())
        });
        read.unwrap();
    };
    newest(&|view| {
        assert_eq!(view.get(Family::Dentry, &key(2)), Ok(Some(b"dentry".to_vec())));
        assert_eq!(view.get(Family::Dentry, &key(1)), Ok(None), "removed by the next entry");
        assert_eq!(view.get(Family::Inode, &key(1)), Ok(Some(b"inode".to_vec())));
    });
    commit(&opened.store, 3);
    newest(&|view| {
        let mut found = Vec::new();
        view.scan(Family::Dentry, b"", &mut |key, _| {
            found.push(key.to_vec());
            true
        })
        .unwrap();
        assert_eq!(found, [key(3)]);
    });
    commit(&opened.store, 4);
    assert_eq!(keys(&opened.store, Family::Dentry), ["key 4"]);
    assert_eq!(opened.store.applied().index(), 4);
}

#[test]
fn a_checkpoint_keeps_its_state_and_replaces_older_ones() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path());
    let membership = MembershipRecord {
        position: None,
        voter_sets: vec![VoterSet { voters: vec![1] }],
        members: vec![MemberRecord {
            node: 1,
            address: String::new(),
        }],
    };
    let position = LogPosition {
        term: 1,
        node: 1,
        index: 0,
    };
    opened
        .store
        .commit(position, 0, Vec::new(), Some(membership.clone()))
        .unwrap();
    commit(&opened.store, 1);
    let first = opened.store.checkpoint().unwrap();
    assert_eq!(opened.flushed.load(Ordering::SeqCst), 1);
    commit(&opened.store, 2);
    assert_eq!(opened.store.newest_checkpoint().unwrap().as_ref(), Some(&first));
    assert_eq!(first.membership, membership);
    let second = opened.store.checkpoint().unwrap();
    assert_eq!(second.applied, opened.store.applied());
    assert_eq!(opened.store.newest_checkpoint().unwrap(), Some(second));
    assert!(!first.path.exists());
}

#[test]
fn an_installed_checkpoint_is_the_state_from_then_on() {
    let (leader, follower) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = open(leader.path());
    (0..5).for_each(|index| commit(&from.store, index));
    let checkpoint = from.store.checkpoint().unwrap();
    let to = open(follower.path());
    commit(&to.store, 0);
    to.store.install(&checkpoint).unwrap();
    commit(&to.store, 5);
    assert_eq!(keys(&to.store, Family::Dentry), ["key 5"]);
    to.store.close().unwrap();
    let after = open(follower.path());
    commit(&from.store, 5);
    assert_eq!(after.store.applied(), from.store.applied());
    assert_eq!(
        after.store.newest_checkpoint().unwrap().map(|kept| kept.applied),
        Some(checkpoint.applied)
    );
    assert_eq!(fs::read_dir(follower.path().join("state")).unwrap().count(), 1);
}

#[test]
fn half_made_directories_are_cleared_away() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).store.close().unwrap();
    let half = directory.path().join("snapshots/incomplete-7");
    fs::create_dir_all(&half).unwrap();
    open(directory.path());
    assert!(!half.exists());
}

#[test]
fn a_missing_table_file_and_a_damaged_one_are_told_apart_from_a_good_state() {
    for damage in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path());
        (0..50).for_each(|index| commit(&opened.store, index));
        opened.store.close().unwrap();
        let generation = fs::read_dir(directory.path().join("state"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let table = newest_file(&generation, "sst");
        if damage {
            let mut bytes = fs::read(&table).unwrap();
            let middle = bytes.len() / 2;
            bytes.iter_mut().skip(10).take(middle).for_each(|byte| *byte ^= 0x55);
            fs::write(&table, bytes).unwrap();
        } else {
            fs::remove_file(&table).unwrap();
        }
        let outcome = try_open(directory.path()).and_then(|opened| {
            opened.store.membership()?;
            opened.store.read(|view, _| {
                for family in Family::ALL {
                    view.scan(family, b"", &mut |_, _| true)
                        .map_err(|error| StoreError::Corrupt {
                            what: "the state",
                            detail: error.to_string(),
                        })?;
                }
                Ok(())
            })
        });
        assert!(
            matches!(outcome, Err(StoreError::Corrupt { .. })),
            "damage {damage}: {outcome:?}"
        );
    }
}
