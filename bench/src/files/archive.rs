//! Unpacking an archive: folders as they are met, files with content, mode and time, nothing synced, as tar does it.

use std::fs::{self, Permissions};
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, UNIX_EPOCH};

use super::place::{Place, failed};
use crate::engine::{Worker, Workload};
use crate::failure::OpError;

/// Files in a folder of the archive, and folders in one above.
const FILES_EACH: u64 = 24;
const FOLDERS_EACH: u64 = 12;

/// Sets the times of files apart, in seconds since 1970.
const FIRST_TIME: u64 = 1_500_000_000;

/// A phase that unpacks files.
pub(crate) struct ArchiveWork<'a> {
    place: &'a Place,
    unpacked: Mutex<Vec<u64>>,
}

/// A phase that looks at what was unpacked.
pub(crate) struct ArchiveCheck<'a> {
    place: &'a Place,
    files: Vec<u64>,
}

struct Unpacking<'a> {
    work: &'a ArchiveWork<'a>,
    number: u64,
}

struct Checking<'a> {
    work: &'a ArchiveCheck<'a>,
    number: u64,
}

impl<'a> ArchiveWork<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        let unpacked = Mutex::default();
        Self { place, unpacked }
    }

    pub(crate) fn into_check(self) -> ArchiveCheck<'a> {
        let files = self.unpacked.into_inner().unwrap_or_else(PoisonError::into_inner);
        let place = self.place;
        ArchiveCheck { place, files }
    }
}

impl ArchiveCheck<'_> {
    pub(crate) fn count(&self) -> u64 {
        self.files.len() as u64
    }
}

impl Unpacking<'_> {
    fn unpack(&self) -> Result<u64, OpError> {
        let (place, number) = (self.work.place, self.number);
        let path = path(place, number);
        if number.is_multiple_of(FILES_EACH) {
            self.make_folder()?;
        }
        let object = place.dataset.object(number, 0);
        let file = match place.create(&path, &object) {
            // Another slot is about to make the folder, or has met the archive's next one first.
            Err(OpError::File { source, .. }) if source.kind() == IoKind::NotFound => {
                self.make_folder()?;
                place.create(&path, &object)?
            }
            created => created?,
        };
        let set = file.set_permissions(Permissions::from_mode(mode(number)));
        set.map_err(|error| failed(&path, "setting the mode", error))?;
        let time = UNIX_EPOCH + Duration::from_secs(FIRST_TIME + number);
        let set = file.set_modified(time);
        set.map_err(|error| failed(&path, "setting the time", error))?;
        Ok(object.size_bytes)
    }

    fn make_folder(&self) -> Result<(), OpError> {
        let folder = folder(self.work.place, self.number);
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, "making a folder", error))
    }
}

impl Checking<'_> {
    fn check(&self) -> Result<u64, OpError> {
        let (place, number) = (self.work.place, self.work.files[self.number as usize]);
        let path = path(place, number);
        let bytes = place.read_whole(&path, number)?;
        let found = fs::metadata(&path).map_err(|error| failed(&path, "stat", error))?;
        let differs = |what, expected: String, found: String| {
            Err(OpError::Attribute {
                path: path.display().to_string(),
                what,
                expected,
                found,
            })
        };
        let time = FIRST_TIME + number;
        if found.mode() & 0o7777 != mode(number) {
            return differs(
                "mode",
                format!("{:o}", mode(number)),
                format!("{:o}", found.mode() & 0o7777),
            );
        }
        if found.mtime() != time as i64 {
            return differs("time", time.to_string(), found.mtime().to_string());
        }
        Ok(bytes)
    }
}

impl Workload for ArchiveWork<'_> {
    fn worker<'a>(&'a self, _slot: u32, _halt: &'a AtomicBool) -> Box<dyn Worker + 'a> {
        Box::new(Unpacking { work: self, number: 0 })
    }
}

impl Workload for ArchiveCheck<'_> {
    fn worker<'a>(&'a self, _slot: u32, _halt: &'a AtomicBool) -> Box<dyn Worker + 'a> {
        Box::new(Checking { work: self, number: 0 })
    }
}

impl Worker for Unpacking<'_> {
    fn plan(&mut self, number: u64) -> Option<&'static str> {
        self.number = number;
        Some("extract")
    }

    fn connect(&mut self) -> Result<(), OpError> {
        Ok(())
    }

    fn perform(&mut self) -> Result<u64, OpError> {
        let bytes = self.unpack()?;
        let mut unpacked = self.work.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        unpacked.push(self.number);
        Ok(bytes)
    }
}

impl Worker for Checking<'_> {
    fn plan(&mut self, number: u64) -> Option<&'static str> {
        self.number = number;
        (number < self.work.count()).then_some("check")
    }

    fn connect(&mut self) -> Result<(), OpError> {
        Ok(())
    }

    fn perform(&mut self) -> Result<u64, OpError> {
        self.check()
    }
}

fn folder(place: &Place, number: u64) -> PathBuf {
    let folder = number / FILES_EACH;
    place.join(format!("a{:04}/b{:02}", folder / FOLDERS_EACH, folder % FOLDERS_EACH))
}

fn path(place: &Place, number: u64) -> PathBuf {
    folder(place, number).join(format!("{number:08}.src"))
}

/// Every sixteenth may be executed, as scripts may.
fn mode(number: u64) -> u32 {
    if number.is_multiple_of(16) { 0o755 } else { 0o644 }
}
