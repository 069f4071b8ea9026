//! The kernel's disk: around the cache and through it, names, what was never written.

use cairn_common::aligned::is_aligned;

use super::*;
use crate::engine::payload::in_pages;

fn disk() -> (tempfile::TempDir, KernelDisk) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join(SEGMENTS)).expect("writable");
    let disk = KernelDisk::open(folder.path()).expect("a directory");
    (folder, disk)
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index / 11) as u8).collect()
}

#[test]
fn what_is_written_is_read_whatever_way_it_takes() {
    let (_folder, disk) = disk();
    let file = disk.create("file", 8 << 20).expect("room");
    let large = content(DIRECT_LEN_MIN + ALIGNMENT);
    for (offset, bytes) in [
        (4096, in_pages(&large)),
        (1 << 20, Bytes::from(large.clone())),
        ((2 << 20) + 64, Bytes::from(large.clone())),
        (3 << 20, in_pages(&content(4096))),
    ] {
        file.write_at(offset, std::slice::from_ref(&bytes)).expect("written");
        file.sync().expect("synced");
        for (from, len) in [
            (0, bytes.len()),
            (0, 100),
            (4096, bytes.len() - 4096),
            (64, bytes.len() - 64),
        ] {
            let read = file.read_at(offset + from as u32, len).expect("read");
            assert!(read == bytes[from..from + len], "{len} bytes at {offset} and {from}");
        }
    }
    assert!(!is_aligned(&Bytes::from(large).slice(1..)));
    assert_eq!(
        file.read_at((8 << 20) - 10, 100).expect("read").len(),
        10,
        "the file ends"
    );
}

#[test]
fn what_was_never_written_is_told_apart_where_the_file_system_can() {
    let (_folder, disk) = disk();
    let file = disk.create("file", 1 << 20).expect("room");
    file.write_at(8192, &[in_pages(&content(4096))]).expect("written");
    file.sync().expect("synced");
    assert!(file.next_data(8192).expect("told").is_some());
    // A file system that does not tell says that all of it may be data.
    assert!(matches!(file.next_data(512 << 10), Ok(None | Some(524_288))));
}

#[test]
fn names_are_taken_once_and_followed_when_they_change() {
    let (folder, disk) = disk();
    disk.create("a", 4096).expect("room");
    assert_eq!(disk.create("a", 4096).err(), Some(Errno::EXIST));
    disk.create("b", 4096).expect("room");
    assert_eq!(disk.rename("a", "b"), Err(Errno::EXIST));
    disk.rename("a", "c").expect("free");
    disk.remove("b").expect("there");
    assert_eq!(disk.names(), Ok(vec!["c".to_owned()]));
    assert!(disk.space().expect("told").total_bytes > 0);
    std::fs::write(folder.path().join(SUPERBLOCK), b"x").expect("writable");
    assert!(disk.is_there());
    std::fs::rename(folder.path().join(SEGMENTS), folder.path().join("other")).expect("writable");
    assert!(!disk.is_there());
}
