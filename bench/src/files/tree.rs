//! A tree of folders with small files, made, looked at and taken down again: what metadata costs (as mdtest measures it). Every
//! step goes once over all files or folders, and checks what the step before has made.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::place::{Place, failed};
use crate::failure::OpError;

/// Files in a folder, and folders in a folder above.
const FILES_EACH: u64 = 64;
const FOLDERS_EACH: u64 = 16;

/// One step, over the whole tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TreeStep {
    Mkdir,
    Create,
    Stat,
    Open,
    Rename,
    Readdir,
    Unlink,
    Rmdir,
}

/// So many files, two levels deep.
pub(crate) struct Tree<'a> {
    pub(crate) place: &'a Place,
    pub(crate) files: u64,
}

impl TreeStep {
    /// In this order.
    pub(crate) const ALL: [Self; 8] = [
        Self::Mkdir,
        Self::Create,
        Self::Stat,
        Self::Open,
        Self::Rename,
        Self::Readdir,
        Self::Unlink,
        Self::Rmdir,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Mkdir => "mkdir",
            Self::Create => "create",
            Self::Stat => "stat",
            Self::Open => "open",
            Self::Rename => "rename",
            Self::Readdir => "readdir",
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
        }
    }
}

impl Tree<'_> {
    /// Makes the folders above.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub(crate) fn make_top(&self) -> Result<(), OpError> {
        for number in 0..self.folders().div_ceil(FOLDERS_EACH) {
            let path = self.place.join(format!("d{number:05}"));
            fs::create_dir(&path).map_err(|error| failed(&path, "making a folder", error))?;
        }
        Ok(())
    }

    /// How many operations a step has.
    pub(crate) fn count(&self, step: TreeStep) -> u64 {
        match step {
            TreeStep::Mkdir | TreeStep::Readdir | TreeStep::Rmdir => self.folders(),
            TreeStep::Create | TreeStep::Stat | TreeStep::Open | TreeStep::Rename | TreeStep::Unlink => self.files,
        }
    }

    /// Does the step with its file or folder of that number; returns the bytes that it moved.
    pub(crate) fn perform(&self, step: TreeStep, number: u64) -> Result<u64, OpError> {
        match step {
            TreeStep::Mkdir => self.mkdir(number),
            TreeStep::Create => self.create(number),
            TreeStep::Stat => self.stat(number),
            TreeStep::Open => self.place.read_whole(&self.file('f', number), number),
            TreeStep::Rename => self.rename(number),
            TreeStep::Readdir => self.readdir(number),
            TreeStep::Unlink | TreeStep::Rmdir => self.remove(step, number),
        }
    }

    fn folders(&self) -> u64 {
        self.files.div_ceil(FILES_EACH)
    }

    fn folder(&self, number: u64) -> PathBuf {
        let (above, within) = (number / FOLDERS_EACH, number % FOLDERS_EACH);
        self.place.join(format!("d{above:05}/d{within:02}"))
    }

    /// A file before (`f`) and after (`r`) its renaming.
    fn file(&self, letter: char, number: u64) -> PathBuf {
        self.folder(number / FILES_EACH).join(format!("{letter}{number:09}"))
    }

    fn create(&self, number: u64) -> Result<u64, OpError> {
        let object = self.place.dataset.object(number, 0);
        self.place.create(&self.file('f', number), &object)?;
        Ok(object.size_bytes)
    }

    fn stat(&self, number: u64) -> Result<u64, OpError> {
        let path = self.file('f', number);
        let found = fs::metadata(&path).map_err(|error| failed(&path, "stat", error))?.len();
        let expected = self.place.dataset.object(number, 0).size_bytes;
        if found == expected {
            return Ok(0);
        }
        Err(OpError::Length {
            key: path.display().to_string(),
            expected,
            found,
        })
    }

    fn rename(&self, number: u64) -> Result<u64, OpError> {
        let path = self.file('f', number);
        fs::rename(&path, self.file('r', number)).map_err(|error| failed(&path, "renaming", error))?;
        Ok(0)
    }

    /// The names must be exactly those of the renamed files.
    fn readdir(&self, number: u64) -> Result<u64, OpError> {
        let folder = self.folder(number);
        let unreadable = |error| failed(&folder, "reading the folder", error);
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            found.insert(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
        }
        let files = number * FILES_EACH..((number + 1) * FILES_EACH).min(self.files);
        let expected: BTreeSet<_> = files.map(|number| format!("r{number:09}")).collect();
        let Some(odd) = expected.symmetric_difference(&found).next() else {
            return Ok(0);
        };
        let is_there = if found.contains(odd) { "is there" } else { "is missing" };
        Err(OpError::Listing {
            after: folder.display().to_string(),
            place: found.len(),
            expected: format!("{} names", expected.len()),
            found: format!("{odd}, which {is_there},"),
        })
    }

    fn remove(&self, step: TreeStep, number: u64) -> Result<u64, OpError> {
        let (path, removed) = if step == TreeStep::Unlink {
            let path = self.file('r', number);
            let removed = fs::remove_file(&path);
            (path, removed)
        } else {
            let path = self.folder(number);
            let removed = fs::remove_dir(&path);
            (path, removed)
        };
        removed.map(|()| 0).map_err(|error| failed(&path, "removing", error))
    }

    fn mkdir(&self, number: u64) -> Result<u64, OpError> {
        let path = self.folder(number);
        let made = fs::create_dir(&path);
        made.map(|()| 0)
            .map_err(|error| failed(&path, "making a folder", error))
    }
}
