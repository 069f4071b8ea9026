//! The file store against its promises: durable before acknowledged, never replaced, and down for good reasons only.

use std::{
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use cairn_common::{
    checksum::{block_hashes, shard_hash},
    ids::{ChunkId, DeviceId, Incarnation, SessionId},
    limits::BLOCK_SIZE_BYTES,
    wire::shard::PutShard,
};
use parking_lot::Mutex;
use rustix::io::Errno;
use tempfile::TempDir;

use super::{
    FileStore, OpenConfig,
    disk::{Disk, Kernel},
};
use crate::{
    metrics::Metrics,
    shard::{NewShard, ShardKey},
    shard_directories::{directory_of, shard_path},
    store::{ShardStore, StoreError},
    superblock::{DeviceIdentity, SUPERBLOCK, format_device},
};

const IDENTITY: DeviceIdentity = DeviceIdentity {
    cluster_id: [7; 16],
    device: DeviceId::new(3),
    incarnation: Incarnation::new(1),
};

struct Folder {
    _folder: TempDir,
    path: PathBuf,
}

fn folder() -> Folder {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("device");
    format_device(&path, &IDENTITY).expect("a new directory");
    Folder { _folder: folder, path }
}

fn config(path: &Path) -> OpenConfig {
    OpenConfig::new(path.to_owned(), IDENTITY, 0, Metrics::default().of(IDENTITY.device))
}

fn open(path: &Path) -> FileStore {
    FileStore::open(config(path)).expect("a formatted device")
}

/// A shard of `len` bytes in two pieces; the same numbers give the same bytes.
fn shard(counter: u64, len: usize) -> NewShard {
    let bytes = Bytes::from_iter((0..len).map(|index| (index as u64 * 7 + counter) as u8));
    let blocks = block_hashes(&bytes);
    let joined = |hashes: &[cairn_common::checksum::Hash]| hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    let message = PutShard {
        device: 3,
        incarnation: 1,
        chunk_id: Bytes::copy_from_slice(
            &ChunkId {
                session: SessionId::new(1),
                counter,
            }
            .to_bytes(),
        ),
        shard_index: 0,
        shard_len: len as u32,
        chunk_len: len as u32,
        block_hashes: joined(&blocks),
        shard_hashes: joined(&[shard_hash(len, &blocks)]),
    };
    NewShard::new(message, vec![bytes.slice(..len / 2), bytes.slice(len / 2..)]).expect("its numbers agree")
}

fn bytes_of(shard: &NewShard) -> Vec<u8> {
    shard.payload.concat()
}

fn file_of(path: &Path, key: ShardKey) -> PathBuf {
    path.join("shards").join(shard_path(key))
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).expect("a shard file");
    bytes[offset] ^= 1;
    std::fs::write(path, bytes).expect("writable");
}

#[tokio::test]
async fn shards_are_read_back_by_blocks_and_after_a_restart() {
    let folder = folder();
    let sizes = [
        1,
        4096,
        BLOCK_SIZE_BYTES - 1,
        BLOCK_SIZE_BYTES,
        BLOCK_SIZE_BYTES + 1,
        5 * BLOCK_SIZE_BYTES + 77,
        8 << 20,
    ];
    for restart in [false, true] {
        let store = open(&folder.path);
        for (counter, len) in sizes.into_iter().enumerate() {
            let shard = shard(counter as u64 + 1, len);
            if !restart {
                store.put(shard.clone()).await.expect("stored");
            }
            let bytes = bytes_of(&shard);
            for (first, count) in [(0, 200), (0, 1), (1, 2), (5, 1), (500, 1), (u32::MAX, u32::MAX)] {
                let read = store.read(shard.key, first, count).await.expect("it is there");
                let limit = |block: u64| (block * BLOCK_SIZE_BYTES as u64).min(len as u64) as usize;
                let expected = &bytes[limit(first.into())..limit(u64::from(first) + u64::from(count))];
                assert!(read.payload == expected, "{len} bytes, blocks from {first}");
                assert_eq!(
                    (read.shard_len, read.block_hashes),
                    (len as u32, shard.block_hashes.clone())
                );
            }
        }
    }
}

#[tokio::test]
async fn deleted_shards_are_gone_and_deleting_again_succeeds() {
    let folder = folder();
    let store = open(&folder.path);
    let shard = shard(1, 5000);
    store.put(shard.clone()).await.expect("stored");
    for _ in 0..2 {
        store.delete(shard.key).await.expect("deleted");
        assert_eq!(store.read(shard.key, 0, 1).await, Err(StoreError::NotFound));
    }
    assert_eq!(store.status().await.down, None);
}

#[tokio::test]
async fn storing_again_succeeds_and_never_replaces() {
    let folder = folder();
    let store = open(&folder.path);
    let first = shard(1, 70_000);
    store.put(first.clone()).await.expect("stored");
    store.put(first.clone()).await.expect("the same");
    let other = NewShard {
        key: first.key,
        ..shard(2, 70_000)
    };
    assert_eq!(store.put(other).await, Err(StoreError::Conflict));
    let longer = NewShard {
        key: first.key,
        ..shard(1, 70_001)
    };
    assert_eq!(store.put(longer).await, Err(StoreError::Conflict));
    assert_eq!(
        store.read(first.key, 0, 9).await.expect("unchanged").payload,
        bytes_of(&first)
    );
    assert_eq!(
        std::fs::read_dir(folder.path.join("tmp")).expect("a directory").count(),
        0
    );
}

#[tokio::test]
async fn pages_hold_every_key_in_order() {
    let folder = folder();
    let store = open(&folder.path);
    let mut expected = Vec::new();
    for counter in 1..=600 {
        let shard = shard(counter, 1);
        expected.push(shard.key);
        store.put(shard).await.expect("stored");
    }
    std::fs::write(folder.path.join("shards/00/stray"), b"no shard").expect("writable");
    expected.sort_unstable();
    for limit in [1, 7, 599, 600, 1000] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(after, limit).await.expect("listed");
            assert!(page.keys.len() <= limit && (!page.more || !page.keys.is_empty()));
            listed.extend(page.keys);
            after = listed.last().copied();
            if !page.more {
                break;
            }
        }
        assert_eq!(listed, expected, "pages of {limit}");
    }
}

#[tokio::test]
async fn used_bytes_are_the_same_counted_or_kept() {
    let folder = folder();
    let store = open(&folder.path);
    store.put(shard(1, 100_000)).await.expect("stored");
    super::inventory::count_all(&Arc::downgrade(&store.device));
    store.put(shard(2, 50_000)).await.expect("stored");
    store.put(shard(3, 1)).await.expect("stored");
    store.delete(shard(1, 1).key).await.expect("deleted");
    let kept = store.status().await.used_bytes;
    assert_eq!(kept, 4096 + 50_000 + 4096 + 1);
    drop(store);
    let store = open(&folder.path);
    super::inventory::count_all(&Arc::downgrade(&store.device));
    assert_eq!(store.status().await.used_bytes, kept);
}

#[test]
fn leftovers_of_a_crash_are_removed_at_start_and_nothing_else() {
    let folder = folder();
    std::fs::write(folder.path.join("tmp/0000000000000000"), b"half a shard").expect("writable");
    let _store = open(&folder.path);
    assert_eq!(
        std::fs::read_dir(folder.path.join("tmp")).expect("a directory").count(),
        0
    );
}

#[test]
fn a_second_user_or_another_identity_is_refused() {
    let folder = folder();
    let store = open(&folder.path);
    let second = FileStore::open(config(&folder.path)).err().expect("it is locked");
    assert!(second.contains("another process"), "{second}");
    drop(store);
    let others = [
        DeviceIdentity {
            cluster_id: [8; 16],
            ..IDENTITY
        },
        DeviceIdentity {
            device: DeviceId::new(4),
            ..IDENTITY
        },
        DeviceIdentity {
            incarnation: Incarnation::new(2),
            ..IDENTITY
        },
    ];
    for identity in others {
        let refused = FileStore::open(OpenConfig {
            identity,
            ..config(&folder.path)
        });
        assert!(refused.is_err(), "{identity:?}");
    }
    drop(open(&folder.path));
    std::fs::remove_file(folder.path.join(SUPERBLOCK)).expect("it is there");
    assert!(
        FileStore::open(config(&folder.path))
            .err()
            .expect("no superblock")
            .contains("no device superblock")
    );
    assert!(!folder.path.join(SUPERBLOCK).exists(), "never made anew");
}

#[tokio::test]
async fn damaged_headers_and_short_files_are_corrupt_and_counted_once() {
    let folder = folder();
    let store = open(&folder.path);
    let mut damaged = 0;
    for (counter, offset) in [(1, 0), (2, 9), (3, 20), (4, 61), (5, 70), (6, 4095)] {
        let shard = shard(counter, 100_000);
        store.put(shard.clone()).await.expect("stored");
        flip(&file_of(&folder.path, shard.key), offset);
        for _ in 0..2 {
            assert!(
                matches!(store.read(shard.key, 0, 1).await, Err(StoreError::Corrupt(_))),
                "byte {offset}"
            );
        }
        damaged += 1;
    }
    for (counter, keep) in [(10, 0), (11, 100), (12, 4096), (13, 104_095)] {
        let shard = shard(counter, 100_000);
        store.put(shard.clone()).await.expect("stored");
        let file = std::fs::File::options()
            .write(true)
            .open(file_of(&folder.path, shard.key))
            .expect("a shard file");
        file.set_len(keep).expect("truncated");
        assert!(
            matches!(store.read(shard.key, 0, 9).await, Err(StoreError::Corrupt(_))),
            "{keep} bytes"
        );
        damaged += 1;
    }
    // A file under another's name.
    let (one, two) = (shard(20, 10), shard(21, 10));
    store.put(one.clone()).await.expect("stored");
    std::fs::copy(file_of(&folder.path, one.key), file_of(&folder.path, two.key)).expect("copied");
    assert!(matches!(store.read(two.key, 0, 1).await, Err(StoreError::Corrupt(_))));
    let status = store.status().await;
    assert_eq!((status.corrupt_shards, status.down), (damaged + 1, None));
}

#[tokio::test]
async fn a_vanished_directory_takes_the_device_down() {
    for vanish in ["all", "superblock", "replaced", "subdirectory"] {
        let folder = folder();
        let store = open(&folder.path);
        let shard = shard(1, 1000);
        store.put(shard.clone()).await.expect("stored");
        match vanish {
            "all" => std::fs::remove_dir_all(&folder.path).expect("removed"),
            "superblock" => {
                std::fs::remove_file(folder.path.join(SUPERBLOCK)).expect("removed");
                std::fs::remove_file(file_of(&folder.path, shard.key)).expect("removed");
            }
            "replaced" => {
                std::fs::remove_dir_all(&folder.path).expect("removed");
                format_device(&folder.path, &IDENTITY).expect("made anew");
            }
            _ => {
                let name = format!("{:02x}", directory_of(shard.key));
                std::fs::remove_dir_all(folder.path.join("shards").join(name)).expect("removed");
            }
        }
        let reason = match store.read(shard.key, 0, 1).await {
            Err(StoreError::Down(reason)) => reason,
            other => panic!("{vanish}: {other:?}"),
        };
        assert!(reason.contains("has vanished"), "{vanish}: {reason}");
        assert!(matches!(store.put(shard).await, Err(StoreError::Down(_))), "{vanish}");
        assert_eq!(store.status().await.down, Some(reason));
    }
}

#[tokio::test]
async fn the_status_alone_notices_a_vanished_directory_and_so_does_a_put() {
    let gone = folder();
    let store = open(&gone.path);
    std::fs::remove_dir_all(&gone.path).expect("removed");
    assert!(store.status().await.down.is_some());
    let gone = folder();
    let store = open(&gone.path);
    std::fs::remove_dir_all(&gone.path).expect("removed");
    assert!(matches!(store.put(shard(1, 1)).await, Err(StoreError::Down(reason)) if reason.contains("vanished")));
}

#[tokio::test]
async fn below_its_reserve_a_device_refuses_shards_and_still_reads_and_deletes() {
    let folder = folder();
    let kept = shard(1, 1000);
    open(&folder.path).put(kept.clone()).await.expect("stored");
    let store = FileStore::open(OpenConfig {
        reserve_bytes: 1 << 60,
        ..config(&folder.path)
    })
    .expect("it opens");
    assert_eq!(store.put(shard(2, 1000)).await, Err(StoreError::Full));
    assert_eq!(
        store.read(kept.key, 0, 1).await.expect("still there").payload,
        bytes_of(&kept)
    );
    store.delete(kept.key).await.expect("deleted");
    assert_eq!(store.status().await.down, None);
}

/// A disk that fails on demand and tells what was done.
#[derive(Default)]
struct Faulty {
    fail: Mutex<Option<(&'static str, Errno)>>,
    done: Mutex<Vec<&'static str>>,
    healed: AtomicBool,
}

#[derive(Clone, Default)]
struct FaultyDisk(Arc<Faulty>);

impl FaultyDisk {
    fn step(&self, name: &'static str) -> Result<(), Errno> {
        self.0.done.lock().push(name);
        match *self.0.fail.lock() {
            Some((at, errno)) if at == name && !self.0.healed.load(Ordering::SeqCst) => Err(errno),
            _ => Ok(()),
        }
    }
}

impl Disk for FaultyDisk {
    fn write_all(&self, file: BorrowedFd<'_>, pieces: &[Bytes]) -> Result<(), Errno> {
        self.step("write").and_then(|()| Kernel.write_all(file, pieces))
    }

    fn sync_data(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        self.step("sync data").and_then(|()| Kernel.sync_data(file))
    }

    fn sync_directory(&self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        self.step("sync directory")
            .and_then(|()| Kernel.sync_directory(directory))
    }
}

fn open_faulty(path: &Path, disk: &FaultyDisk) -> FileStore {
    FileStore::open(OpenConfig {
        disk: Box::new(disk.clone()),
        ..config(path)
    })
    .expect("a formatted device")
}

#[tokio::test]
async fn an_acknowledgement_comes_after_data_and_directory_were_synced() {
    let (folder, disk) = (folder(), FaultyDisk::default());
    let store = open_faulty(&folder.path, &disk);
    store.put(shard(1, 1000)).await.expect("stored");
    assert_eq!(*disk.0.done.lock(), ["write", "sync data", "sync directory"]);
    store.put(shard(1, 1000)).await.expect("the same");
    assert_eq!(
        disk.0.done.lock().last(),
        Some(&"sync directory"),
        "the first writer may not have got so far"
    );
    store.delete(shard(1, 1).key).await.expect("deleted");
    assert_eq!(
        disk.0
            .done
            .lock()
            .iter()
            .filter(|step| **step == "sync directory")
            .count(),
        3
    );
}

#[tokio::test]
async fn a_failed_write_or_sync_poisons_until_restart() {
    for step in ["write", "sync data", "sync directory"] {
        let (folder, disk) = (folder(), FaultyDisk::default());
        let store = open_faulty(&folder.path, &disk);
        let before = shard(1, 1000);
        store.put(before.clone()).await.expect("stored");
        *disk.0.fail.lock() = Some((step, Errno::IO));
        assert!(
            matches!(store.put(shard(2, 1000)).await, Err(StoreError::Down(_))),
            "{step}"
        );
        // The disk is well again: the device stays down, since the kernel tells of a lost write only once.
        disk.0.healed.store(true, Ordering::SeqCst);
        assert!(
            matches!(store.put(shard(3, 1000)).await, Err(StoreError::Down(_))),
            "{step}"
        );
        assert!(
            matches!(store.read(before.key, 0, 1).await, Err(StoreError::Down(_))),
            "{step}"
        );
        assert!(
            store.status().await.down.expect("down").contains("os error 5"),
            "{step}"
        );
        drop(store);
        assert_eq!(
            open(&folder.path).read(before.key, 0, 1).await.expect("kept").payload,
            bytes_of(&before)
        );
    }
}

#[tokio::test]
async fn a_full_disk_is_full_and_not_down() {
    for step in ["write", "sync data"] {
        let (folder, disk) = (folder(), FaultyDisk::default());
        let store = open_faulty(&folder.path, &disk);
        *disk.0.fail.lock() = Some((step, Errno::NOSPC));
        assert_eq!(store.put(shard(1, 1000)).await, Err(StoreError::Full));
        assert_eq!(store.read(shard(1, 1).key, 0, 1).await, Err(StoreError::NotFound));
        assert_eq!(
            std::fs::read_dir(folder.path.join("tmp")).expect("a directory").count(),
            0
        );
        disk.0.healed.store(true, Ordering::SeqCst);
        store.put(shard(1, 1000)).await.expect("room was made");
    }
}
