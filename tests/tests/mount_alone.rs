//! Directories that one mount uses alone: what is made there is told to the service later, and to whoever asks at once. Needs root and
//! /dev/fuse.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use cairn_tests::content::bytes;
use cairn_tests::mount::{BUCKET, Mounted, Store};
use cairn_tests::s3::Request;
use cairn_tests::wait;

/// What may pass until something waits for a mount that is gone no longer, and a little.
const LEASE_AND_SOME: Duration = Duration::from_secs(8);

fn make(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let made = options.read(true).write(true).create_new(true).open(path);
    made.with_context(|| format!("making {}", path.display()))
}

/// Whether S3 knows of a file: it sees what the service was told of.
fn is_told(store: &Store, key: &str) -> Result<bool> {
    Ok(store.client()?.send(&Request::object("GET", BUCKET, key))?.status == 200)
}

/// A directory `name` that a mount uses alone: files that it makes there are told of later.
fn alone(store: &Store, mounted: &Mounted, name: &str) -> Result<()> {
    let path = mounted.path(name);
    fs::create_dir_all(&path)?;
    let mut number = 0;
    wait::until("the directory is used alone", Duration::from_secs(20), || {
        number += 1;
        let file = format!("probe-{number}");
        let open = make(&path.join(&file))?;
        let is_told = is_told(store, &format!("{name}/{file}"))?;
        drop(open);
        fs::remove_file(path.join(&file))?;
        Ok((!is_told).then_some(()))
    })
}

fn names(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

#[test]
fn what_a_mount_made_alone_others_find_at_once() -> Result<()> {
    let store = Store::start("alone-found")?;
    let (one, two) = (store.mount("one", "")?, store.mount("two", "")?);

    // By its name.
    alone(&store, &one, "d")?;
    let mut open = make(&one.path("d/open"))?;
    open.write_all(b"some bytes")?;
    ensure!(fs::read(two.path("d/open"))? == b"some bytes");
    ensure!(is_told(&store, "d/open")?);
    open.write_all(b", and more")?;
    drop(open);
    ensure!(fs::read(two.path("d/open"))? == b"some bytes, and more");

    // By listing the directory.
    alone(&store, &one, "list")?;
    let _open = make(&one.path("list/open"))?;
    ensure!(names(&two.path("list"))? == ["open"]);

    // By making the same: one is first, and both know which.
    alone(&store, &one, "lock")?;
    let _open = make(&one.path("lock/file"))?;
    let second = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(two.path("lock/file"));
    ensure!(
        matches!(&second, Err(error) if error.kind() == ErrorKind::AlreadyExists),
        "{second:?}"
    );

    // By removing the directory that it is in.
    alone(&store, &one, "full")?;
    let _open = make(&one.path("full/file"))?;
    let removed = fs::remove_dir(two.path("full"));
    ensure!(
        matches!(&removed, Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty),
        "{removed:?}"
    );

    // By putting an object there, which comes after it.
    alone(&store, &one, "put")?;
    let mut open = make(&one.path("put/file"))?;
    open.write_all(b"before")?;
    store.client()?.put(BUCKET, "put/file", b"after".to_vec())?.success()?;
    drop(open);
    ensure!(fs::read(one.path("put/file"))? == b"after");
    ensure!(fs::read(two.path("put/file"))? == b"after");
    Ok(())
}

#[test]
fn a_file_made_alone_is_what_a_local_one_would_be() -> Result<()> {
    let store = Store::start("alone-whole")?;
    let (one, two) = (store.mount("one", "")?, store.mount("two", "")?);
    alone(&store, &one, "d")?;
    let data = bytes(5, 100_000);
    let path = one.path("d/file");

    // As tar makes one.
    let mut file = make(&path)?;
    let inode = file.metadata()?.ino();
    file.write_all(&data)?;
    let time = UNIX_EPOCH + Duration::new(1_000_000, 5);
    file.set_times(FileTimes::new().set_modified(time))?;
    fchown(&file, Some(11), Some(12))?;
    file.set_permissions(fs::Permissions::from_mode(0o4751))?;
    drop(file);
    for mounted in [&one, &two] {
        let path = mounted.path("d/file");
        let status = fs::metadata(&path)?;
        let seen = (
            status.ino(),
            status.mode() & 0o7777,
            status.uid(),
            status.gid(),
            status.nlink(),
        );
        ensure!(seen == (inode, 0o4751, 11, 12, 1), "{seen:?}");
        ensure!(status.modified()? == time, "{:?}", status.modified());
        ensure!(fs::read(&path)? == data);
    }

    Ok(())
}

#[test]
fn what_comes_after_the_making_of_a_file_stays_so() -> Result<()> {
    let store = Store::start("alone-order")?;
    let (one, two) = (store.mount("one", "")?, store.mount("two", "")?);
    let time = UNIX_EPOCH + Duration::new(1_000_000, 5);

    // Larger ones, whose data comes after their making, and one that is read through what made it.
    alone(&store, &one, "large")?;
    let large = bytes(6, 3 << 20);
    let mut file = make(&one.path("large/file"))?;
    file.write_all(&large)?;
    file.set_times(FileTimes::new().set_modified(time))?;
    file.set_permissions(fs::Permissions::from_mode(0o4755))?;
    drop(file);
    let status = fs::metadata(two.path("large/file"))?;
    ensure!(
        status.mode() & 0o7777 == 0o4755 && status.modified()? == time,
        "{status:?}"
    );
    ensure!(fs::read(two.path("large/file"))? == large);
    alone(&store, &one, "reread")?;
    let mut file = make(&one.path("reread/file"))?;
    file.write_all(b"0123456789")?;
    let mut part = [0; 4];
    file.read_exact_at(&mut part, 3)?;
    ensure!(&part == b"3456");

    // Its directory's times and list come after it.
    alone(&store, &one, "times")?;
    let open = make(&one.path("times/file"))?;
    File::open(one.path("times"))?.set_times(FileTimes::new().set_modified(time))?;
    drop(open);
    ensure!(fs::metadata(one.path("times"))?.modified()? == time);

    // Written after its times were set.
    alone(&store, &one, "e")?;
    let mut file = make(&one.path("e/late"))?;
    file.set_times(FileTimes::new().set_modified(time))?;
    file.write_all(b"now")?;
    drop(file);
    ensure!(fs::metadata(one.path("e/late"))?.modified()? > time + Duration::from_secs(1000));
    Ok(())
}

#[test]
fn a_new_file_is_settled_before_it_is_moved_or_removed() -> Result<()> {
    let store = Store::start("alone-moved")?;
    let (one, two) = (store.mount("one", "")?, store.mount("two", "")?);

    // Moved, linked, cut, read and removed while nobody was told of it.
    alone(&store, &one, "f")?;
    let mut file = make(&one.path("f/old"))?;
    file.write_all(b"0123456789")?;
    fs::rename(one.path("f/old"), one.path("f/new"))?;
    fs::hard_link(one.path("f/new"), one.path("f/link"))?;
    file.set_len(4)?;
    ensure!(fs::read(one.path("f/link"))? == b"0123");
    fs::remove_file(one.path("f/new"))?;
    fs::remove_file(one.path("f/link"))?;
    ensure!(names(&two.path("f"))?.is_empty());
    file.write_all(b"still open")?;
    ensure!(file.metadata()?.len() == 20);
    alone(&store, &one, "g")?;
    let mut file = make(&one.path("g/file"))?;
    file.write_all(b"twice open")?;
    let mut again = String::new();
    File::open(one.path("g/file"))?.read_to_string(&mut again)?;
    ensure!(again == "twice open");
    Ok(())
}

#[test]
fn a_new_file_costs_one_command() -> Result<()> {
    const FILES: usize = 200;
    let store = Store::start("alone-cost")?;
    let mounted = store.mount("mnt", "")?;
    alone(&store, &mounted, "d")?;
    let proposals = || store.server.metric("cairn_metadata_proposals_total");
    let before = proposals()?;
    for number in 0..FILES {
        let mut file = make(&mounted.path(format!("d/{number}")))?;
        file.write_all(b"a few bytes")?;
        file.set_times(FileTimes::new().set_modified(UNIX_EPOCH))?;
        fchown(&file, Some(3), Some(4))?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    let commands = proposals()? - before;
    ensure!(commands < 1.3 * FILES as f64, "{commands} commands for {FILES} files");
    ensure!(names(&mounted.path("d"))?.len() == FILES);
    Ok(())
}

#[test]
fn a_killed_mount_loses_only_what_was_not_synced() -> Result<()> {
    let store = Store::start("alone-killed")?;
    let (mut one, two) = (store.mount("one", "")?, store.mount("two", "")?);
    alone(&store, &one, "d")?;
    let mut synced = make(&one.path("d/synced"))?;
    synced.write_all(b"durable")?;
    synced.sync_all()?;
    let listed = make(&one.path("d/listed"))?;
    File::open(one.path("d"))?.sync_all()?;
    let closed = one.path("d/closed");
    fs::write(&closed, "closed")?;
    let open = make(&one.path("d/open"))?;
    one.kill()?;
    drop((synced, listed, open));
    let begun = Instant::now();
    let mut found = names(&two.path("d"))?;
    ensure!(begun.elapsed() < LEASE_AND_SOME, "{:?}", begun.elapsed());
    // Whether the last was told of in time is chance.
    found.retain(|name| name != "open");
    ensure!(found == ["closed", "listed", "synced"], "{found:?}");
    ensure!(fs::read(two.path("d/synced"))? == b"durable" && fs::read(two.path("d/closed"))? == b"closed");
    fs::write(two.path("d/open"), "another's")?;
    one.start()?;
    ensure!(fs::read(one.path("d/open"))? == b"another's");
    Ok(())
}

#[test]
fn what_nobody_asks_for_is_told_of_within_seconds() -> Result<()> {
    let store = Store::start("alone-later")?;
    let mounted = store.mount("mnt", "")?;
    alone(&store, &mounted, "d")?;
    let _open = make(&mounted.path("d/file"))?;
    wait::until("S3 sees the file", Duration::from_secs(20), || {
        Ok(is_told(&store, "d/file")?.then_some(()))
    })
}
