//! Mounts that go by what they know, and see all the same what others have changed at once. Needs root and /dev/fuse.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cairn_tests::content::{Sequence, bytes};
use cairn_tests::mount::{BUCKET, Mounted, Store};
use cairn_tests::s3::Client;
use cairn_tests::wait;
use rustix::process::Signal;

/// Changes of the long test, each looked at through two mounts.
const STEPS: usize = 400;

/// What a change may take that waits for a mount which is gone: the length of a lease, and a little.
const LEASE_AND_SOME: Duration = Duration::from_secs(8);

/// A file as it has to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    data: Vec<u8>,
}

fn look(path: &Path) -> Result<Option<Seen>> {
    match fs::symlink_metadata(path) {
        Ok(status) => {
            let data = fs::read(path)?;
            ensure!(
                status.len() == data.len() as u64,
                "{} bytes, {} read",
                status.len(),
                data.len()
            );
            Ok(Some(Seen {
                mode: status.mode() & 0o7777,
                data,
            }))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The one right state of a directory, and the ways to change it.
struct World {
    mounts: [Mounted; 2],
    s3: Client,
    rng: Sequence,
    files: BTreeMap<String, Seen>,
}

impl World {
    fn name(&mut self) -> String {
        format!("name-{}", self.rng.below(6))
    }

    fn path(&self, mount: usize, name: &str) -> std::path::PathBuf {
        self.mounts[mount].path("d").join(name)
    }

    /// Makes a change, by a mount or by S3, and tells which names it was about.
    fn change(&mut self) -> Result<(String, Vec<String>)> {
        let (name, other) = (self.name(), self.name());
        let mount = usize::try_from(self.rng.below(2))?;
        let path = self.path(mount, &name);
        let seed = self.rng.next_u64();
        let data = bytes(seed, usize::try_from(seed % 9000)?);
        let what = match self.rng.below(7) {
            0 => {
                self.s3.put(BUCKET, format!("d/{name}"), data.clone())?.success()?;
                self.files.insert(name.clone(), Seen { mode: 0o644, data });
                "put"
            }
            1 if self.files.remove(&name).is_some() => {
                self.s3.delete(BUCKET, format!("d/{name}"))?.success()?;
                "delete"
            }
            2 if self.files.remove(&name).is_some() => {
                fs::remove_file(&path)?;
                "unlink"
            }
            3 if name != other && self.files.contains_key(&name) => {
                fs::rename(&path, self.path(mount, &other))?;
                let moved = self.files.remove(&name).context("it is there")?;
                self.files.insert(other.clone(), moved);
                "rename"
            }
            4 if self.files.contains_key(&name) => {
                let mode = 0o600 + u32::try_from(self.rng.below(64))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
                self.files.get_mut(&name).context("it is there")?.mode = mode;
                "chmod"
            }
            5 if self.files.contains_key(&name) => {
                OpenOptions::new().append(true).open(&path)?.write_all(&data)?;
                let file = self.files.get_mut(&name).context("it is there")?;
                file.data.extend_from_slice(&data);
                "append"
            }
            _ => {
                let mode = self.files.get(&name).map_or(0o640, |file| file.mode);
                let mut options = OpenOptions::new();
                let mut file = options
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o640)
                    .open(&path)?;
                file.write_all(&data)?;
                self.files.insert(name.clone(), Seen { mode, data });
                "write"
            }
        };
        Ok((format!("{what} by {mount}"), vec![name, other]))
    }

    fn check(&self, names: &[String], after: &str) -> Result<()> {
        for mount in [0, 1] {
            for name in names {
                let seen = look(&self.path(mount, name)).with_context(|| format!("{name} at {mount} after {after}"))?;
                let wanted = self.files.get(name);
                ensure!(
                    seen.as_ref() == wanted,
                    "{name} at {mount} after {after}: {:?}, not {:?}",
                    seen.map(|seen| (seen.mode, seen.data.len())),
                    wanted.map(|seen| (seen.mode, seen.data.len()))
                );
            }
        }
        Ok(())
    }

    fn check_listing(&self, after: &str) -> Result<()> {
        for mount in [0, 1] {
            let mut listed = Vec::new();
            for entry in fs::read_dir(self.path(mount, "."))? {
                listed.push(entry?.file_name().to_string_lossy().into_owned());
            }
            listed.sort_unstable();
            let wanted: Vec<_> = self.files.keys().cloned().collect();
            ensure!(listed == wanted, "at {mount} after {after}: {listed:?}, not {wanted:?}");
        }
        Ok(())
    }
}

#[test]
fn whatever_one_changes_all_see_at_once() -> Result<()> {
    let store = Store::start("leases-coherence")?;
    let mounts = [store.mount("one", "")?, store.mount("two", "")?];
    fs::create_dir(mounts[0].path("d"))?;
    let mut world = World {
        mounts,
        s3: store.client()?,
        rng: Sequence::new(41),
        files: BTreeMap::new(),
    };
    let all: Vec<String> = (0..6).map(|number| format!("name-{number}")).collect();
    for step in 0..STEPS {
        let (what, names) = world.change()?;
        let after = format!("step {step}, {what}");
        world.check(&names, &after)?;
        if step % 5 == 0 {
            world.check(&all, &after)?;
            world.check_listing(&after)?;
        }
    }
    Ok(())
}

/// Directories of the test below, each looked at for the first time: what had to be waited for once is not gone by for a while.
const FRESH: usize = 21;

#[test]
fn names_that_the_kernel_goes_by_are_gone_once_another_has_changed_them() -> Result<()> {
    let store = Store::start("leases-names")?;
    let (one, two) = (store.mount("one", "")?, store.mount("two", "")?);
    let mut s3 = store.client()?;
    for round in 0..FRESH {
        let directory = format!("fresh-{round}/d");
        let at = |name: &str| format!("{directory}/{name}");
        fs::create_dir_all(one.path(&directory))?;
        for name in ["x", "y", "z"] {
            fs::write(one.path(at(name)), name)?;
        }
        let seen = |name: &str| look(&one.path(at(name))).map(|seen| seen.map(|seen| (seen.mode, seen.data)));
        let file = |mode, data: &str| Some((mode, data.as_bytes().to_vec()));
        ensure!(seen("x")? == file(0o644, "x") && seen("y")?.is_some() && seen("absent")?.is_none());
        let (name, wanted) = match round % 7 {
            0 => {
                fs::remove_file(two.path(at("x")))?;
                ("x", None)
            }
            1 => {
                fs::rename(two.path(at("y")), two.path(at("x")))?;
                ("x", file(0o644, "y"))
            }
            2 => {
                fs::set_permissions(two.path(at("x")), fs::Permissions::from_mode(0o600))?;
                ("x", file(0o600, "x"))
            }
            3 => {
                fs::write(two.path(at("absent")), "made")?;
                ("absent", file(0o644, "made"))
            }
            4 => {
                fs::rename(two.path(format!("fresh-{round}")), two.path(format!("moved-{round}")))?;
                ("x", None)
            }
            5 => {
                s3.put(BUCKET, at("absent"), b"put".to_vec())?.success()?;
                ("absent", file(0o644, "put"))
            }
            _ => {
                s3.delete(BUCKET, at("x"))?.success()?;
                ("x", None)
            }
        };
        let found = seen(name)?;
        ensure!(found == wanted, "{name} of round {round}: {found:?}, not {wanted:?}");
    }
    Ok(())
}

#[test]
fn a_directory_has_its_times_before_the_service_knows_what_is_new_in_it() -> Result<()> {
    let store = Store::start("leases-times")?;
    let (one, two) = (store.mount("one", "")?, store.mount("two", "")?);
    fs::create_dir(one.path("d"))?;
    fs::write(one.path("d/first"), "x")?;
    let times = |mount: &Mounted| -> Result<(i64, i64, i64, i64)> {
        let status = fs::metadata(mount.path("d"))?;
        Ok((status.mtime(), status.mtime_nsec(), status.ctime(), status.ctime_nsec()))
    };
    let (mut before, mut open) = (times(&one)?, Vec::new());
    for number in 0..20 {
        open.push(File::create(one.path(format!("d/{number}")))?);
        let after = times(&one)?;
        ensure!(after > before, "file {number} moves no time: {after:?}");
        before = after;
    }
    // The other is told once all of them are made, and they are the same times.
    ensure!(times(&two)? == before, "{:?} there, {before:?} here", times(&two)?);
    ensure!(times(&one)? == before);
    Ok(())
}

#[test]
fn what_is_known_is_not_asked_for_again() -> Result<()> {
    let store = Store::start("leases-known")?;
    let mounted = store.mount("mnt", "")?;
    fs::create_dir_all(mounted.path("a/b/c"))?;
    let path = mounted.path("a/b/c/file");
    fs::write(&path, bytes(1, 100_000))?;
    let look = || -> Result<()> {
        ensure!(fs::metadata(&path)?.len() == 100_000);
        ensure!(fs::metadata(mounted.path("a/b/absent")).is_err());
        Ok(())
    };
    look()?;
    let file = File::open(&path)?;
    let mut block = [0; 4096];
    file.read_exact_at(&mut block, 0)?;
    let before = store.server.metric("cairn_metadata_reads_total")?;
    for _ in 0..1000 {
        look()?;
        file.read_exact_at(&mut block, 0)?;
    }
    let asked = store.server.metric("cairn_metadata_reads_total")? - before;
    ensure!(asked < 100.0, "{asked} questions for 3,000 looks at what is known");
    // It is counted now and then.
    wait::until("the leases are counted", LEASE_AND_SOME, || {
        Ok((store.server.metric("cairn_metadata_file_leases")? >= 4.0).then_some(()))
    })?;

    // A whole directory comes with its attributes.
    for number in 0..200 {
        fs::write(mounted.path(format!("a/b/{number}")), "x")?;
    }
    let other = store.mount("other", "")?;
    let before = store.server.metric("cairn_metadata_reads_total")?;
    for entry in fs::read_dir(other.path("a/b"))? {
        entry?.metadata()?;
    }
    let asked = store.server.metric("cairn_metadata_reads_total")? - before;
    ensure!(asked < 50.0, "{asked} questions for a directory of 200");
    Ok(())
}

#[test]
fn a_mount_that_answers_nobody_is_waited_for_no_longer_than_its_lease() -> Result<()> {
    let store = Store::start("leases-stopped")?;
    let (one, two) = (store.mount("one", "")?, store.mount("two", "")?);
    fs::write(one.path("file"), "old")?;
    fs::set_permissions(one.path("file"), fs::Permissions::from_mode(0o600))?;
    for _ in 0..2 {
        ensure!(fs::metadata(two.path("file"))?.mode() & 0o777 == 0o600);
    }
    two.signal(Signal::STOP)?;
    let begun = Instant::now();
    fs::set_permissions(one.path("file"), fs::Permissions::from_mode(0o640))?;
    let waited = begun.elapsed();
    ensure!(waited < LEASE_AND_SOME, "{waited:?}");
    // The next one finds nobody to wait for.
    let begun = Instant::now();
    fs::write(one.path("file"), "new")?;
    ensure!(begun.elapsed() < LEASE_AND_SOME / 4, "{:?}", begun.elapsed());
    two.signal(Signal::CONT)?;
    ensure!(fs::metadata(two.path("file"))?.mode() & 0o777 == 0o640);
    ensure!(fs::read(two.path("file"))? == b"new");
    Ok(())
}

#[test]
fn a_mount_that_was_killed_is_waited_for_once() -> Result<()> {
    let store = Store::start("leases-killed")?;
    let (one, mut two) = (store.mount("one", "")?, store.mount("two", "")?);
    fs::create_dir(one.path("d"))?;
    ensure!(fs::read_dir(two.path("d"))?.next().is_none());
    two.kill()?;
    let begun = Instant::now();
    for number in 0..20 {
        fs::write(one.path(format!("d/{number}")), "x")?;
    }
    ensure!(begun.elapsed() < LEASE_AND_SOME, "{:?}", begun.elapsed());
    two.start()?;
    ensure!(fs::read_dir(two.path("d"))?.count() == 20);
    Ok(())
}
