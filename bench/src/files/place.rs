//! Where a run's files lie under the mount, and how the content of one is written and held against what it should be.
//!
//! Invariant: nothing outside of the run's own folder is written, and what is deleted was made by this tool, by its name.

use std::fs::{self, File};
use std::io::{ErrorKind as IoKind, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::content::{Dataset, Object};
use crate::failure::OpError;
use crate::limits::MAX_RECEIVE_BUFFER_BYTES;
use crate::load::Sizes;
use crate::reading::{Reading, Versions};
use crate::target::{Fact, Facts};

/// The folder of one run.
pub(crate) struct Place {
    mount: PathBuf,
    folder: PathBuf,
    pub(crate) dataset: Dataset,
    pub(crate) verify: bool,
}

impl Place {
    /// # Errors
    /// A mount that is no folder, a prefix that leads out of it.
    pub(crate) fn new(mount: &Path, prefix: &str, seed: u64, sizes: &Sizes, verify: bool) -> Result<Self> {
        let above = folder_above(mount, prefix)?;
        Ok(Self {
            mount: mount.to_owned(),
            folder: above.join(format!("{seed:016x}")),
            dataset: Dataset::new(prefix, seed, sizes),
            verify,
        })
    }

    /// Makes the folder.
    ///
    /// # Errors
    /// One that exists, of a run with the same seed; whatever the file system says.
    pub(crate) fn make(&self) -> Result<()> {
        let context = || format!("cannot make {}", self.folder.display());
        if let Some(above) = self.folder.parent() {
            fs::create_dir_all(above).with_context(context)?;
        }
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() == IoKind::AlreadyExists => bail!(
                "{} is left of a run with the same seed; --cleanup deletes it",
                self.folder.display()
            ),
            result => result.with_context(context),
        }
    }

    /// Deletes the folder with all it holds.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub(crate) fn remove(&self) -> Result<()> {
        let context = || format!("cannot delete {}; --cleanup does it later", self.folder.display());
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() == IoKind::NotFound => {}
            result => result.with_context(context)?,
        }
        // Fails where another run has left something, which is as it should be.
        let _ = self
            .folder
            .parent()
            .filter(|above| *above != self.mount)
            .map(fs::remove_dir);
        Ok(())
    }

    /// What the kernel says of the file system.
    pub(crate) fn facts(&self) -> Facts {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let path = fs::canonicalize(&self.mount).unwrap_or_else(|_| self.mount.clone());
        Facts {
            kind: "mount".to_owned(),
            address: self.mount.display().to_string(),
            version: Fact::first(file_system(&mounts, &path), None),
            ..Facts::default()
        }
    }

    /// The file that holds object `index`.
    pub(super) fn path(&self, index: u64) -> PathBuf {
        self.folder.join(format!("{index:010}"))
    }

    pub(super) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    /// Writes the object to a new file; nothing is synced.
    pub(super) fn create(&self, path: &Path, object: &Object) -> Result<File, OpError> {
        let created = File::options().write(true).create_new(true).open(path);
        let mut file = created.map_err(|error| failed(path, "creating", error))?;
        let mut at = 0;
        while at < object.size_bytes {
            let window = self.dataset.window(object, at..object.size_bytes);
            let mut bytes = Vec::with_capacity(window.bytes as usize);
            window.pieces().for_each(|piece| bytes.extend_from_slice(piece));
            file.write_all(&bytes).map_err(|error| failed(path, "writing", error))?;
            at += window.bytes;
        }
        Ok(file)
    }

    /// Holds bytes at `offset` of a file against that version of an object.
    pub(super) fn check(
        &self,
        path: &Path,
        (index, version): (u64, u32),
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), OpError> {
        let versions = || Versions::only(version);
        let (name, end) = (path.display().to_string(), offset + bytes.len() as u64);
        let mut reading = Reading::new(&self.dataset, name, index, &versions, offset..end);
        reading.take(bytes)?;
        reading.finish()
    }

    /// Reads a whole file, and holds it against object `index`; returns its length.
    pub(super) fn read_whole(&self, path: &Path, index: u64) -> Result<u64, OpError> {
        let mut file = File::open(path).map_err(|error| failed(path, "opening", error))?;
        let size = self.dataset.object(index, 0).size_bytes;
        let versions = || Versions::only(0);
        let mut reading = Reading::new(&self.dataset, path.display().to_string(), index, &versions, 0..size);
        if !self.verify {
            reading = reading.without_verification();
        }
        let wanted = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1);
        let mut buffer = vec![0; wanted.min(MAX_RECEIVE_BUFFER_BYTES)];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return reading.finish().map(|()| size),
                Ok(received) => reading.take(&buffer[..received])?,
                Err(error) if error.kind() == IoKind::Interrupted => {}
                Err(error) => return Err(failed(path, "reading", error)),
            }
        }
    }
}

/// Deletes what runs have left under the prefix: one by its seed, or all; returns how many there were.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn delete_earlier(mount: &Path, prefix: &str, seed: Option<u64>) -> Result<u64> {
    let above = folder_above(mount, prefix)?;
    let mut deleted = 0;
    let entries = match fs::read_dir(&above) {
        Err(error) if error.kind() == IoKind::NotFound => return Ok(0),
        entries => entries.with_context(|| format!("cannot read {}", above.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", above.display()))?;
        let name = entry.file_name();
        // Runs' folders are named by their seeds: sixteen digits.
        let found = name.to_str().filter(|name| name.len() == 16);
        let found = found.and_then(|name| u64::from_str_radix(name, 16).ok());
        if found.is_some() && (seed.is_none() || found == seed) {
            let path = entry.path();
            fs::remove_dir_all(&path).with_context(|| format!("cannot delete {}", path.display()))?;
            deleted += 1;
        }
    }
    // Fails where something else lies there, which is as it should be.
    let _ = fs::remove_dir(&above);
    Ok(deleted)
}

pub(super) fn failed(path: &Path, doing: &'static str, source: std::io::Error) -> OpError {
    OpError::File {
        path: path.display().to_string(),
        doing,
        source,
    }
}

fn folder_above(mount: &Path, prefix: &str) -> Result<PathBuf> {
    ensure!(mount.is_dir(), "{} is no folder", mount.display());
    let mut parts = Path::new(prefix).components();
    ensure!(
        !prefix.is_empty() && parts.all(|part| matches!(part, Component::Normal(_))),
        "the prefix {prefix:?} is no folder under the mount"
    );
    Ok(mount.join(prefix))
}

/// `TYPE from SOURCE` of the mount that holds `path`, by /proc/self/mountinfo.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let parsed = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        let mut after = after.split(' ');
        Some((point, after.next()?, after.next()?))
    });
    let (_, kind, source) = parsed
        .filter(|(point, ..)| path.starts_with(point))
        // Of two at one place the later one is seen.
        .max_by_key(|(point, ..)| point.len())?;
    Some(format!("{kind} from {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                      35 22 0:5 / /mnt/a rw shared:2 - fuse.cairn cairn rw,user_id=0\n";
        assert_eq!(
            file_system(mounts, Path::new("/mnt/a/b")).unwrap(),
            "fuse.cairn from cairn"
        );
        assert_eq!(
            file_system(mounts, Path::new("/mnt/ab")).unwrap(),
            "ext4 from /dev/sda1"
        );
        assert_eq!(file_system("", Path::new("/")), None);
    }

    #[test]
    fn a_prefix_stays_within_the_mount() {
        let mount = tempfile::tempdir().unwrap();
        for prefix in ["", "/", "../x", "a/../..", "/etc/"] {
            assert!(folder_above(mount.path(), prefix).is_err(), "{prefix}");
        }
        assert_eq!(folder_above(mount.path(), "a/b/").unwrap(), mount.path().join("a/b"));
    }

    #[test]
    fn a_wrong_byte_of_a_file_is_found() {
        let mount = tempfile::tempdir().unwrap();
        let place = Place::new(mount.path(), "b/", 1, &"9000".parse().unwrap(), true).unwrap();
        place.make().unwrap();
        let path = place.path(0);
        place.create(&path, &place.dataset.object(0, 0)).unwrap();
        assert_eq!(place.read_whole(&path, 0).unwrap(), 9000);
        let mut bytes = fs::read(&path).unwrap();
        assert!(place.check(&path, (0, 0), 5000, &bytes[5000..6000]).is_ok());
        bytes[5123] ^= 1;
        fs::write(&path, &bytes).unwrap();
        for error in [
            place.read_whole(&path, 0).unwrap_err(),
            place.check(&path, (0, 0), 5000, &bytes[5000..6000]).unwrap_err(),
        ] {
            assert!(matches!(error, OpError::Corrupt { offset: 5123, .. }), "{error}");
        }
        place.remove().unwrap();
        assert!(!mount.path().join("b").exists());
    }

    #[test]
    fn only_what_runs_have_left_is_deleted() {
        let mount = tempfile::tempdir().unwrap();
        let above = mount.path().join("bench");
        for folder in ["0000000000000001/x", "00000000000000ff", "mine", "000000000000000g"] {
            fs::create_dir_all(above.join(folder)).unwrap();
        }
        assert_eq!(delete_earlier(mount.path(), "bench/", Some(255)).unwrap(), 1);
        assert_eq!(delete_earlier(mount.path(), "bench/", None).unwrap(), 1);
        assert!(above.join("mine").exists() && above.join("000000000000000g").exists());
        assert_eq!(delete_earlier(mount.path(), "other/", None).unwrap(), 0);
    }
}
