//! Programs that people use, on a mount: git, sqlite, rsync, tar, and locks between programs. Needs root and /dev/fuse.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_tests::content;
use cairn_tests::mount::{Mounted, Store};
use cairn_tests::place;
use cairn_tests::process::run;
use cairn_tests::wait;

const PATIENCE: Duration = Duration::from_secs(30);

fn store_and_mount(name: &str) -> Result<(Store, Mounted)> {
    let store = Store::start(name)?;
    let mounted = store.mount("mnt", "")?;
    Ok((store, mounted))
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments);
    for (name, value) in [
        ("GIT_AUTHOR_NAME", "A"),
        ("GIT_AUTHOR_EMAIL", "a@example.org"),
        ("GIT_COMMITTER_NAME", "A"),
        ("GIT_COMMITTER_EMAIL", "a@example.org"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("HOME", "/nonexistent"),
    ] {
        command.env(name, value);
    }
    Ok(run(&mut command)?.stdout)
}

fn python(script: &str, arguments: &[&Path]) -> Command {
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).args(arguments);
    command
}

#[test]
fn git_clones_commits_packs_and_checks() -> Result<()> {
    let (store, mounted) = store_and_mount("mount-git")?;
    let origin = store.server.folder().join("origin");
    fs::create_dir(&origin)?;
    git(&origin, &["init", "-q", "-b", "main"])?;
    for at in 0..120 {
        let folder = origin.join(format!("dir{}", at % 9));
        fs::create_dir_all(&folder)?;
        fs::write(
            folder.join(format!("file{at}")),
            content::bytes(at, 2000 + at as usize * 37),
        )?;
    }
    git(&origin, &["add", "."])?;
    git(&origin, &["commit", "-q", "-m", "first"])?;
    let origin = origin.to_str().context("a path in UTF-8")?;
    git(mounted.directory(), &["clone", "-q", "--no-local", origin, "clone"])?;
    let clone = mounted.path("clone");
    ensure!(
        git(&clone, &["status", "--porcelain"])?.is_empty(),
        "a fresh clone is clean"
    );
    fs::write(clone.join("new"), "new")?;
    git(&clone, &["add", "."])?;
    git(&clone, &["commit", "-q", "-m", "second"])?;
    git(&clone, &["gc", "-q"])?;
    git(&clone, &["fsck", "--full", "--strict"])?;
    git(&clone, &["checkout", "-q", "HEAD~1"])?;
    ensure!(!clone.join("new").exists() && git(&clone, &["status", "--porcelain"])?.is_empty());
    Ok(())
}

#[test]
fn sqlite_outlives_the_kill_of_its_program() -> Result<()> {
    let (_store, mounted) = store_and_mount("mount-sqlite")?;
    let database = mounted.path("db");
    let script = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute('pragma journal_mode=wal'); db.execute('pragma synchronous=full')
db.execute('create table if not exists t (id integer primary key, body blob)')
n = 0
while True:
    with db: db.execute('insert into t (body) values (?)', (bytes([n % 256]) * 700,))
    n += 1
    print(n, flush=True)
";
    let log = mounted.directory().with_extension("sqlite");
    let mut child = python(script, &[&database])
        .stdout(fs::File::create(&log)?)
        .stderr(Stdio::inherit())
        .spawn()?;
    let committed = || -> Result<u64> {
        let text = fs::read_to_string(&log)?;
        Ok(text.lines().rev().find_map(|line| line.parse().ok()).unwrap_or(0))
    };
    let grown = wait::until("rows are committed", PATIENCE, || {
        Ok((committed()? >= 150).then_some(()))
    });
    child.kill()?;
    child.wait()?;
    grown?;
    let check = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(db.execute('pragma integrity_check').fetchone()[0], db.execute('select count(*) from t').fetchone()[0])
";
    let printed = run(&mut python(check, &[&database]))?.stdout;
    let (word, rows) = printed.trim().split_once(' ').context("two words")?;
    ensure!(
        word == "ok" && rows.parse::<u64>()? >= committed()?,
        "{printed} after {} commits",
        committed()?
    );
    Ok(())
}

#[test]
fn rsync_and_tar_bring_a_tree_there_and_back() -> Result<()> {
    let (store, mounted) = store_and_mount("mount-tree")?;
    let tree = store.server.folder().join("tree");
    let docs = place::project().join("docs");
    run(Command::new("cp").arg("-r").arg(&docs).arg(&tree))?;
    std::os::unix::fs::symlink("semantics.md", tree.join("link"))?;
    let there = mounted.path("rsync");
    run(Command::new("rsync")
        .args(["-aX", "--delete"])
        .arg(format!("{}/", tree.display()))
        .arg(&there))?;
    let again = run(Command::new("rsync")
        .args(["-aX", "--delete", "--itemize-changes"])
        .arg(format!("{}/", tree.display()))
        .arg(&there))?;
    ensure!(
        again.stdout.is_empty(),
        "nothing is left to be brought:\n{}",
        again.stdout
    );
    run(Command::new("diff").arg("-r").arg(&tree).arg(&there))?;
    let archive = mounted.path("tree.tar");
    run(Command::new("tar")
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(&tree)
        .arg("."))?;
    fs::create_dir(mounted.path("untarred"))?;
    run(Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(mounted.path("untarred")))?;
    run(Command::new("diff").arg("-r").arg(&tree).arg(mounted.path("untarred")))?;
    run(Command::new("tar")
        .arg("--compare")
        .arg("-f")
        .arg(&archive)
        .arg("-C")
        .arg(mounted.path("untarred")))?;
    Ok(())
}

/// Takes a lock, says so before and after, and keeps it until its standard input ends.
const HOLD: &str = "
import fcntl, sys
f = open(sys.argv[1], 'r+')
print('asks', flush=True)
if sys.argv[2] == 'flock': fcntl.flock(f, fcntl.LOCK_EX)
else: fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
print('held', flush=True)
sys.stdin.read()
";

/// Takes a lock of an open file description, and closes that while the program goes on.
const HOLD_AND_CLOSE: &str = "
import fcntl, os, struct, sys
f = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(f, fcntl.F_OFD_SETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 10, 5, 0))
os.close(f)
print('held', flush=True)
sys.stdin.read()
";

/// Tries a lock without waiting: `free` or `taken`.
const TRY: &str = "
import fcntl, sys
f = open(sys.argv[1], 'r+')
try:
    if sys.argv[2] == 'flock': fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, int(sys.argv[3]), int(sys.argv[4]))
    print('free')
except BlockingIOError: print('taken')
";

fn is_free(path: &Path, what: &[&str]) -> Result<bool> {
    let mut command = python(TRY, &[path]);
    command.args(what);
    let printed = run(&mut command)?.stdout;
    Ok(printed.trim() == "free")
}

#[test]
fn locks_hold_between_two_mounts_and_end_with_their_holder() -> Result<()> {
    let (store, first) = store_and_mount("mount-locks")?;
    let mut second = store.mount("mnt2", "")?;
    fs::write(first.path("file"), "0123456789")?;
    for (kind, other) in [("flock", "lockf"), ("lockf", "flock")] {
        let log = first.directory().with_extension(kind);
        let mut command = python(HOLD, &[&second.path("file")]);
        command.arg(kind).stdin(Stdio::piped()).stdout(fs::File::create(&log)?);
        let mut holder = command.spawn()?;
        let held = || Ok(fs::read_to_string(&log)?.contains("held").then_some(()));
        let waited = wait::until("the lock is held", PATIENCE, held);
        let outcome = waited.and_then(|()| {
            ensure!(
                !is_free(&first.path("file"), &[kind, "10", "5"])?,
                "{kind} is held by the other mount"
            );
            ensure!(
                is_free(&first.path("file"), &[other, "10", "5"])?,
                "the other kind of lock does not see {kind}"
            );
            if kind == "lockf" {
                ensure!(
                    is_free(&first.path("file"), &[kind, "5", "15"])?,
                    "another range is free"
                );
            }
            Ok(())
        });
        // One that waits gets the lock when its holder ends.
        let mut waiter = python(HOLD, &[&first.path("file")]);
        waiter.arg(kind).stdin(Stdio::null()).stdout(Stdio::piped());
        let waiter = waiter.spawn()?;
        holder.kill()?;
        holder.wait()?;
        outcome?;
        let printed = waiter.wait_with_output()?;
        ensure!(printed.status.success() && printed.stdout == b"asks\nheld\n");
    }
    // A mount that ends leaves nothing locked.
    let log = first.directory().with_extension("last");
    let mut command = python(HOLD, &[&second.path("file")]);
    let mut holder = command
        .arg("flock")
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&log)?)
        .spawn()?;
    wait::until("the lock is held", PATIENCE, || {
        Ok(fs::read_to_string(&log)?.contains("held").then_some(()))
    })?;
    let stopped = second.stop();
    holder.kill()?;
    holder.wait()?;
    stopped?;
    ensure!(
        is_free(&first.path("file"), &["flock"])?,
        "the locks of a mount end with it"
    );
    Ok(())
}

#[test]
fn a_lock_of_an_open_file_description_ends_with_it() -> Result<()> {
    let (store, first) = store_and_mount("mount-description")?;
    let second = store.mount("mnt2", "")?;
    let path = first.path("file");
    fs::write(&path, "0123456789")?;
    let log = first.directory().with_extension("description");
    let mut command = python(HOLD_AND_CLOSE, &[&second.path("file")]);
    command.stdin(Stdio::piped()).stdout(fs::File::create(&log)?);
    let mut holder = command.spawn()?;
    let held = wait::until("the lock was held", PATIENCE, || {
        Ok(fs::read_to_string(&log)?.contains("held").then_some(()))
    });
    let freed = held.and_then(|()| {
        wait::until("the lock ends", PATIENCE, || {
            Ok(is_free(&path, &["lockf", "10", "5"])?.then_some(()))
        })
    });
    holder.kill()?;
    holder.wait()?;
    freed?;
    Ok(())
}

#[test]
fn one_that_waits_for_a_lock_can_be_killed() -> Result<()> {
    let (_store, mounted) = store_and_mount("mount-lock-kill")?;
    fs::write(mounted.path("file"), "0123456789")?;
    let log = mounted.directory().with_extension("held");
    let mut hold = python(HOLD, &[&mounted.path("file")]);
    let mut holder = hold
        .arg("flock")
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&log)?)
        .spawn()?;
    let held = wait::until("the lock is held", PATIENCE, || {
        Ok(fs::read_to_string(&log)?.contains("held").then_some(()))
    });
    let asks = mounted.directory().with_extension("asks");
    let mut hold = python(HOLD, &[&mounted.path("file")]);
    let mut waiter = hold
        .arg("flock")
        .stdin(Stdio::null())
        .stdout(fs::File::create(&asks)?)
        .spawn()?;
    // Behind this word it asks the mount for nothing but the lock.
    let waits = wait::until("it waits for the kernel's answer", PATIENCE, || {
        if !fs::read_to_string(&asks)?.contains("asks") {
            return Ok(None);
        }
        let waits_in = fs::read_to_string(format!("/proc/{}/wchan", waiter.id()))?;
        Ok((waits_in == "request_wait_answer").then_some(()))
    });
    waiter.kill()?;
    let ended = wait::until("the waiter ends", PATIENCE, || Ok(waiter.try_wait()?));
    holder.kill()?;
    holder.wait()?;
    held.and(waits)?;
    ensure!(!ended?.success());
    Ok(())
}

/// Writes as another user than root, sets the set-user-id bit of its own file, and closes it.
const SET_USER_ID: &str = "
import os, sys
f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o755)
os.fchown(f, 1000, 1000)
os.setegid(1000); os.seteuid(1000)
os.write(f, b'program')
os.fchmod(f, 0o4755)
os.close(f)
f = os.open(sys.argv[1], os.O_WRONLY)
print(oct(os.fstat(f).st_mode & 0o7777))
os.write(f, b'another')
os.close(f)
print(oct(os.stat(sys.argv[1]).st_mode & 0o7777))
";

#[test]
fn a_set_user_id_bit_is_cleared_by_what_is_written_after_it() -> Result<()> {
    let store = Store::start("mount-suid")?;
    let mounted = store.mount("mnt", "allow_other")?;
    // From within, since another user may have no way to the path of the mount.
    let mut program = python(SET_USER_ID, &[Path::new("file")]);
    let printed = run(program.current_dir(mounted.path(".")))?.stdout;
    ensure!(printed == "0o4755\n0o755\n", "{printed}");
    Ok(())
}

/// Takes the first byte, waits for a line, then wants the second; says what came of it.
const TAKE_TWO: &str = r"
import fcntl, sys
f = open(sys.argv[1], 'r+b')
first, second = (int(at) for at in sys.argv[2:4])
fcntl.lockf(f, fcntl.LOCK_EX, 1, first)
print('held', flush=True)
sys.stdin.readline()
try:
    fcntl.lockf(f, fcntl.LOCK_EX, 1, second)
    print('both', flush=True)
except OSError as error:
    print('refused', error.errno, flush=True)
";

#[test]
fn two_programs_that_wait_for_each_others_locks_are_not_left_waiting() -> Result<()> {
    let (_store, mounted) = store_and_mount("mount-deadlock")?;
    let file = mounted.path("file");
    fs::write(&file, "two bytes and more")?;
    let start = |first: &str, second: &str| -> Result<Child> {
        let mut command = python(TAKE_TWO, &[&file, Path::new(first), Path::new(second)]);
        Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
    };
    let mut programs = [start("0", "1")?, start("1", "0")?];
    let mut told: Vec<BufReader<ChildStdout>> = Vec::new();
    for program in &mut programs {
        told.push(BufReader::new(program.stdout.take().context("its output is piped")?));
    }
    let line = |from: &mut BufReader<ChildStdout>| -> Result<String> {
        let mut line = String::new();
        from.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    };
    for from in &mut told {
        ensure!(line(from)? == "held", "the first lock");
    }
    for program in &mut programs {
        program.stdin.as_mut().context("its input is piped")?.write_all(b"\n")?;
    }
    // One is refused and ends, which gives the other both.
    let mut ends: Vec<String> = told.iter_mut().map(line).collect::<Result<_>>()?;
    for mut program in programs {
        program.wait()?;
    }
    ends.sort_unstable();
    let refused = format!("refused {}", rustix::io::Errno::DEADLK.raw_os_error());
    ensure!(ends == ["both".to_owned(), refused], "{ends:?}");
    Ok(())
}
