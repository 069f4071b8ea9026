//! A bucket as files: what programs do with a mount, beside S3 and beside another mount. Needs root and /dev/fuse.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use cairn_tests::content;
use cairn_tests::mount::{BUCKET, Mounted, Store};
use cairn_tests::place;
use cairn_tests::process::run;
use cairn_tests::wait;
use rustix::fs::{FallocateFlags, RenameFlags};
use rustix::io::Errno;
use rustix::process::Signal;

/// More than a session's lease.
const SESSION_PATIENCE: Duration = Duration::from_secs(60);

/// Removed data stays until every client has said that it reads none of it.
const RELEASE_PATIENCE: Duration = Duration::from_secs(90);

/// Inline, small copies, coded, and several chunks.
const SIZES: [usize; 5] = [0, 1000, 50_000, 700_000, 18 << 20];

fn store_and_mount(name: &str) -> Result<(Store, Mounted)> {
    let store = Store::start(name)?;
    let mounted = store.mount("mnt", "")?;
    Ok((store, mounted))
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn errno<T>(outcome: std::io::Result<T>) -> Option<i32> {
    outcome.err().and_then(|error| error.raw_os_error())
}

#[test]
fn s3_and_a_mount_see_the_same_bytes_at_once() -> Result<()> {
    let (store, mounted) = store_and_mount("mount-s3")?;
    let mut client = store.client()?;
    for (at, size) in SIZES.into_iter().enumerate() {
        let body = content::bytes(at as u64, size);
        client.put(BUCKET, format!("by-s3/{at}"), body.clone())?.success()?;
        ensure!(
            fs::read(mounted.path(format!("by-s3/{at}")))? == body,
            "S3's object of {size} bytes"
        );
        fs::create_dir_all(mounted.path("by-mount"))?;
        fs::write(mounted.path(format!("by-mount/{at}")), &body)?;
        ensure!(
            client.get(BUCKET, format!("by-mount/{at}"))? == body,
            "the mount's file of {size} bytes"
        );
    }
    let found = fs::metadata(mounted.path("by-s3/1"))?;
    ensure!((found.len(), found.mode() & 0o7777, found.uid()) == (1000, 0o644, 0));
    ensure!(names(mounted.directory())? == ["by-mount", "by-s3"]);
    ensure!(
        client.keys_under(BUCKET, "by-mount/")?.len() == SIZES.len() + 1,
        "each file, and the directory itself"
    );

    // A key that S3 put anew is another file: who opened the old one before goes on to read that.
    let mut open = File::open(mounted.path("by-s3/2"))?;
    client.put(BUCKET, "by-s3/2", "another")?.success()?;
    ensure!(fs::read(mounted.path("by-s3/2"))? == b"another");
    let mut old = Vec::new();
    open.read_to_end(&mut old)?;
    ensure!(old == content::bytes(2, SIZES[2]), "an open file keeps its bytes");
    Ok(())
}

#[test]
fn two_mounts_see_what_the_other_closed() -> Result<()> {
    let (store, first) = store_and_mount("mount-two")?;
    let second = store.mount("mnt2", "")?;
    fs::write(first.path("shared"), b"one")?;
    let mut reader = File::open(second.path("shared"))?;
    let mut seen = String::new();
    reader.read_to_string(&mut seen)?;
    ensure!(seen == "one");
    // The same length, and read again through a file that is open already.
    for word in ["two", "thr", "fou", "fiv"] {
        fs::write(first.path("other"), word)?;
        let writer = OpenOptions::new().write(true).open(first.path("shared"))?;
        writer.write_all_at(word.as_bytes(), 0)?;
        writer.sync_all()?;
        let mut seen = [0; 3];
        reader.read_exact_at(&mut seen, 0)?;
        ensure!(seen == word.as_bytes(), "{word} was synced and {seen:?} is read");
    }
    fs::rename(first.path("shared"), first.path("moved"))?;
    ensure!(errno(fs::metadata(second.path("shared"))) == Some(libc_enoent()));
    ensure!(fs::read(second.path("moved"))? == b"fiv");
    fs::remove_file(second.path("moved"))?;
    ensure!(names(first.directory())? == ["other"]);
    Ok(())
}

fn libc_enoent() -> i32 {
    Errno::NOENT.raw_os_error()
}

#[test]
fn appends_of_two_mounts_lose_no_byte() -> Result<()> {
    let (store, first) = store_and_mount("mount-append")?;
    let second = store.mount("mnt2", "")?;
    const LINES: usize = 300;
    let append = |mounted: &Mounted, name: &str| -> Result<()> {
        let mut log = OpenOptions::new().append(true).create(true).open(mounted.path("log"))?;
        for line in 0..LINES {
            writeln!(log, "{name} {line:05}")?;
            if line % 7 == 0 {
                log.sync_data()?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| append(&second, "second"));
        append(&first, "first")?;
        other.join().expect("the thread ends")
    })?;
    let log = fs::read_to_string(first.path("log"))?;
    for name in ["first", "second"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.starts_with(name)).collect();
        let expected: Vec<String> = (0..LINES).map(|line| format!("{name} {line:05}")).collect();
        ensure!(lines == expected, "{name} has {} lines in order", lines.len());
    }
    ensure!(log.lines().count() == 2 * LINES);
    Ok(())
}

#[test]
fn what_was_synced_outlives_the_mount() -> Result<()> {
    let (store, mut mounted) = store_and_mount("mount-kill")?;
    let body = content::bytes(7, 3 << 20);
    let mut file = File::create(mounted.path("synced"))?;
    file.write_all(&body)?;
    file.sync_all()?;
    let small = File::create(mounted.path("small"))?;
    small.write_all_at(b"few", 0)?;
    small.sync_data()?;
    mounted.kill()?;
    drop((file, small));
    ensure!(store.client()?.get(BUCKET, "synced")? == body);
    mounted.start()?;
    ensure!(fs::read(mounted.path("synced"))? == body);
    ensure!(fs::read(mounted.path("small"))? == b"few");

    // Told to end, and unmounted, it stores what was not synced; a file that is still open does not hold it up.
    let busy = File::create(mounted.path("busy"))?;
    busy.write_all_at(b"not synced", 0)?;
    mounted.stop()?;
    drop(busy);
    ensure!(store.client()?.get(BUCKET, "busy")? == b"not synced");
    mounted.start()?;
    fs::write(mounted.path("last"), b"closed")?;
    ensure!(mounted.unmount()?.success());
    ensure!(store.client()?.get(BUCKET, "last")? == b"closed");
    Ok(())
}

#[test]
fn names_do_what_posix_says() -> Result<()> {
    let (_store, mounted) = store_and_mount("mount-names")?;
    let path = |name: &str| mounted.path(name);
    fs::create_dir(path("d"))?;
    fs::write(path("d/a"), b"a")?;
    fs::hard_link(path("d/a"), path("d/b"))?;
    symlink("a", path("d/l"))?;
    ensure!(fs::metadata(path("d/b"))?.nlink() == 2);
    ensure!(fs::read(path("d/l"))? == b"a" && fs::read_link(path("d/l"))? == Path::new("a"));
    ensure!(errno(fs::remove_dir(path("d"))) == Some(Errno::NOTEMPTY.raw_os_error()));
    let rename = |from: &str, to: &str, flags| {
        let (from, to) = (path(from), path(to));
        rustix::fs::renameat_with(rustix::fs::CWD, &from, rustix::fs::CWD, &to, flags)
    };
    fs::write(path("d/c"), b"c")?;
    ensure!(rename("d/a", "d/c", RenameFlags::NOREPLACE) == Err(Errno::EXIST));
    rename("d/a", "d/c", RenameFlags::EXCHANGE)?;
    ensure!(fs::read(path("d/a"))? == b"c" && fs::read(path("d/c"))? == b"a");
    rename("d", "e", RenameFlags::empty())?;
    ensure!(names(&path("e"))? == ["a", "b", "c", "l"]);
    let exclusive = OpenOptions::new().write(true).create_new(true).open(path("e/a"));
    ensure!(errno(exclusive) == Some(Errno::EXIST.raw_os_error()));
    fs::set_permissions(path("e/a"), fs::Permissions::from_mode(0o600))?;
    ensure!(fs::metadata(path("e/a"))?.mode() & 0o7777 == 0o600);
    let time =
        fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123_456_789));
    File::options().write(true).open(path("e/a"))?.set_times(time)?;
    let found = fs::metadata(path("e/a"))?;
    ensure!((found.mtime(), found.mtime_nsec()) == (1_234_567_890, 123_456_789));
    rustix::fs::setxattr(path("e/a"), "user.colour", b"red", rustix::fs::XattrFlags::empty())?;
    let mut value = [0; 8];
    ensure!(rustix::fs::getxattr(path("e/a"), "user.colour", &mut value)? == 3 && &value[..3] == b"red");
    fs::remove_dir_all(path("e"))?;
    ensure!(names(mounted.directory())?.is_empty());
    Ok(())
}

#[test]
fn a_file_without_a_name_stays_while_it_is_open() -> Result<()> {
    let (store, mounted) = store_and_mount("mount-unlinked")?;
    let body = content::bytes(3, 1 << 20);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(mounted.path("gone"))?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::remove_file(mounted.path("gone"))?;
    ensure!(file.metadata()?.nlink() == 0);
    // One that nobody has open loses its name afterwards: once its shards are gone the store has come by both.
    fs::write(mounted.path("free"), content::bytes(4, 1 << 20))?;
    fs::remove_file(mounted.path("free"))?;
    wait::until(
        "the shards of a file that nobody has open are removed",
        RELEASE_PATIENCE,
        || {
            let deleted = store.server.metric("cairn_chunkserver_deleted_shards_total")?;
            Ok((deleted >= 3.0).then_some(()))
        },
    )?;
    let mut seen = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut seen)?;
    ensure!(seen == body, "an open file is read after its name is gone");
    file.write_all_at(b"new", 5)?;
    file.sync_all()?;
    let mut seen = [0; 3];
    file.read_exact_at(&mut seen, 5)?;
    ensure!(&seen == b"new");
    Ok(())
}

#[test]
fn sparse_files_have_holes_and_ranges_are_copied_by_reference() -> Result<()> {
    let (_store, mounted) = store_and_mount("mount-sparse")?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(mounted.path("sparse"))?;
    let body = content::bytes(9, 1 << 20);
    let at = 1_u64 << 40;
    file.write_all_at(&body, at)?;
    ensure!(file.metadata()?.len() == at + (1 << 20));
    ensure!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0))? == at);
    ensure!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(at))? == at + (1 << 20));
    rustix::fs::fallocate(
        &file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        at + 4096,
        8192,
    )?;
    let mut seen = vec![1; 1 << 20];
    file.read_exact_at(&mut seen, at)?;
    let mut expected = body;
    expected[4096..4096 + 8192].fill(0);
    ensure!(seen == expected);
    file.set_len(at + 100)?;
    file.set_len(at + 200)?;
    let mut seen = [1; 200];
    file.read_exact_at(&mut seen, at)?;
    ensure!(seen[..100] == expected[..100] && seen[100..] == [0; 100]);

    let copy = File::create(mounted.path("copy"))?;
    let (mut from, mut to) = (at, 0);
    let copied = rustix::fs::copy_file_range(&file, Some(&mut from), &copy, Some(&mut to), 200)?;
    ensure!(copied == 200);
    drop(copy);
    ensure!(fs::read(mounted.path("copy"))?[..] == seen);
    Ok(())
}

#[test]
fn a_directory_of_many_files_is_listed_and_removed() -> Result<()> {
    let (store, mounted) = store_and_mount("mount-many")?;
    const FILES: usize = 2500;
    fs::create_dir(mounted.path("many"))?;
    for at in 0..FILES {
        File::create(mounted.path(format!("many/{at:05}")))?;
    }
    let expected: Vec<String> = (0..FILES).map(|at| format!("{at:05}")).collect();
    ensure!(names(&mounted.path("many"))? == expected);
    let mut client = store.client()?;
    for at in 0..200 {
        client
            .put(BUCKET, format!("tree/{}/{}/{at}", at % 7, at % 3), "x")?
            .success()?;
    }
    // While it is read: what is removed moves no other entry.
    fs::remove_dir_all(mounted.path("many"))?;
    fs::remove_dir_all(mounted.path("tree"))?;
    ensure!(names(mounted.directory())?.is_empty());
    ensure!(client.keys(BUCKET)?.is_empty());
    Ok(())
}

#[test]
fn a_directory_of_a_bucket_is_mounted_and_a_read_only_mount_changes_nothing() -> Result<()> {
    let store = Store::start("mount-part")?;
    store.client()?.put(BUCKET, "a/b/c", "c")?.success()?;
    let part = store.mount_source("part", &format!("{BUCKET}/a/b"), "")?;
    ensure!(names(part.directory())? == ["c"]);
    fs::write(part.path("d"), b"d")?;
    ensure!(store.client()?.get(BUCKET, "a/b/d")? == b"d");
    let read_only = store.mount("ro", "ro")?;
    ensure!(fs::read(read_only.path("a/b/d"))? == b"d");
    ensure!(errno(fs::write(read_only.path("a/b/e"), b"e")) == Some(Errno::ROFS.raw_os_error()));
    let space = rustix::fs::statvfs(read_only.directory())?;
    ensure!(space.f_blocks > 0 && space.f_bavail > 0);
    ensure!(
        part.path("c").file_name() == Some(OsStr::new("c")),
        "the mount's own names"
    );
    Ok(())
}

#[test]
fn a_store_that_is_gone_for_a_while_is_waited_for_and_then_an_error() -> Result<()> {
    let mut store = Store::start("mount-gone")?;
    let mounted = store.mount("mnt", "timeout=15")?;
    fs::write(mounted.path("before"), b"before")?;
    let open = File::create(mounted.path("open"))?;
    store.server.kill()?;
    open.write_all_at(b"lost", 0)?;
    let failed = open.sync_all();
    ensure!(
        errno(failed) == Some(Errno::IO.raw_os_error()),
        "a sync that stored nothing says so"
    );
    ensure!(open.sync_all().is_ok(), "it says so once");
    Ok(())
}

#[test]
fn a_session_that_ends_under_written_bytes_loses_none() -> Result<()> {
    let (store, mounted) = store_and_mount("mount-session")?;
    let body = content::bytes(11, 9 << 20);
    let open = File::create(mounted.path("open"))?;
    let mut log = OpenOptions::new().append(true).create(true).open(mounted.path("log"))?;
    log.write_all(b"before ")?;
    log.sync_all()?;
    open.write_all_at(&body, 0)?;
    log.write_all(b"meanwhile")?;
    let expired = || store.server.metric("cairn_metadata_sessions_expired_total");
    let before = expired()?;
    mounted.signal(Signal::STOP)?;
    let ended = wait::until("the silent mount's session ends", SESSION_PATIENCE, || {
        Ok((expired()? > before).then_some(()))
    });
    mounted.signal(Signal::CONT)?;
    ended?;
    open.sync_all()?;
    log.sync_all()?;
    ensure!(fs::read(mounted.path("open"))? == body);
    ensure!(fs::read(mounted.path("log"))? == b"before meanwhile");
    Ok(())
}

#[test]
fn an_error_is_not_lost_to_a_close_that_nobody_looks_at() -> Result<()> {
    let store = Store::start("mount-untold")?;
    let mut set = Command::new(place::cairn_binary()?);
    set.args(["bucket", "set", BUCKET, "--quota-bytes", "200000", "--data"])
        .arg(store.server.data());
    run(&mut set)?;
    let mounted = store.mount("mnt", "")?;
    for (name, by_program) in [("duplicate", false), ("program", true)] {
        let mut file = File::create(mounted.path(name))?;
        file.write_all(&content::bytes(1, 300_000))?;
        if by_program {
            // It gets all descriptors, and closes them where nobody looks at what that gives.
            run(&mut Command::new("true"))?;
        } else {
            drop(file.try_clone()?);
        }
        let synced = file.sync_all();
        let code = synced.as_ref().err().and_then(std::io::Error::raw_os_error);
        ensure!(code == Some(Errno::DQUOT.raw_os_error()), "{name}: {synced:?}");
        ensure!(file.sync_all().is_ok(), "{name}: it is told once");
    }
    Ok(())
}
