//! Unpacking an archive: folders as they are met, files with content, mode and time, nothing synced, as tar does it.

use std::fs::{self, Permissions};
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use super::place::{Place, failed};
use crate::failure::OpError;

/// Files in a folder of the archive, and folders in one above.
const FILES_EACH: u64 = 24;
const FOLDERS_EACH: u64 = 12;

/// Sets the times of files apart, in seconds since 1970.
const FIRST_TIME: u64 = 1_500_000_000;

/// An archive without end, and what of it was unpacked.
pub(crate) struct Archive<'a> {
    place: &'a Place,
    unpacked: Mutex<Vec<u64>>,
}

impl<'a> Archive<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        let unpacked = Mutex::default();
        Self { place, unpacked }
    }

    /// The numbers of the files that lie there.
    pub(crate) fn unpacked(&self) -> Vec<u64> {
        self.unpacked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes file `number`, with its folder where that is not there; returns its length.
    pub(crate) fn unpack(&self, number: u64) -> Result<u64, OpError> {
        let path = self.path(number);
        if number.is_multiple_of(FILES_EACH) {
            self.make_folder(number)?;
        }
        let object = self.place.dataset.object(number, 0);
        let file = match self.place.create(&path, &object) {
            // Another slot is about to make the folder, or has met the archive's next one first.
            Err(OpError::File { source, .. }) if source.kind() == IoKind::NotFound => {
                self.make_folder(number)?;
                self.place.create(&path, &object)?
            }
            created => created?,
        };
        let set = file.set_permissions(Permissions::from_mode(mode(number)));
        set.map_err(|error| failed(&path, "setting the mode", error))?;
        let time = UNIX_EPOCH + Duration::from_secs(FIRST_TIME + number);
        let set = file.set_modified(time);
        set.map_err(|error| failed(&path, "setting the time", error))?;
        let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        unpacked.push(number);
        Ok(object.size_bytes)
    }

    /// Holds file `number` against what the archive says; returns its length.
    pub(crate) fn check(&self, number: u64) -> Result<u64, OpError> {
        let path = self.path(number);
        let bytes = self.place.read_whole(&path, number)?;
        let found = fs::metadata(&path).map_err(|error| failed(&path, "stat", error))?;
        let differs = |what, expected: String, found: String| {
            Err(OpError::Attribute {
                path: path.display().to_string(),
                what,
                expected,
                found,
            })
        };
        let (time, found_mode) = (FIRST_TIME + number, found.mode() & 0o7777);
        if found_mode != mode(number) {
            return differs("mode", format!("{:o}", mode(number)), format!("{found_mode:o}"));
        }
        if found.mtime() != time as i64 {
            return differs("time", time.to_string(), found.mtime().to_string());
        }
        Ok(bytes)
    }

    fn make_folder(&self, number: u64) -> Result<(), OpError> {
        let folder = self.folder(number);
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, "making a folder", error))
    }

    fn folder(&self, number: u64) -> PathBuf {
        let folder = number / FILES_EACH;
        let (above, within) = (folder / FOLDERS_EACH, folder % FOLDERS_EACH);
        self.place.join(format!("a{above:04}/b{within:02}"))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder(number).join(format!("{number:08}.src"))
    }
}

/// Every sixteenth may be executed, as scripts may.
fn mode(number: u64) -> u32 {
    if number.is_multiple_of(16) { 0o755 } else { 0o644 }
}
