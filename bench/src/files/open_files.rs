//! A slot's open files: the last few that it has used, and which of its files have writes that were not synced.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::Result as IoResult;

use super::place::{Place, failed};
use crate::failure::OpError;
use crate::limits::MAX_OPEN_FILES;

/// Files by number, the one that was used last at the end.
pub(super) struct OpenFiles<'a> {
    place: &'a Place,
    writes: bool,
    limit: usize,
    open: VecDeque<(u64, File)>,
    unsynced: BTreeSet<u64>,
}

impl<'a> OpenFiles<'a> {
    /// One slot's of several.
    pub(super) fn new(place: &'a Place, writes: bool, slots: u32) -> Self {
        Self {
            place,
            writes,
            limit: (MAX_OPEN_FILES / slots as usize).max(1),
            open: VecDeque::new(),
            unsynced: BTreeSet::new(),
        }
    }

    /// The file, opened where it is not.
    pub(super) fn file(&mut self, index: u64) -> Result<&File, OpError> {
        match self.open.iter().position(|(open, _)| *open == index) {
            Some(place) if place + 1 < self.open.len() => {
                let file = self.open.remove(place);
                self.open.extend(file);
            }
            Some(_) => {}
            None => self.open(index, false)?,
        }
        let last = self.open.back();
        Ok(&last.expect("it is open by now, and at the end").1)
    }

    /// Makes the file, which must not be there.
    pub(super) fn create(&mut self, index: u64) -> Result<(), OpError> {
        self.open(index, true)
    }

    pub(super) fn close(&mut self, index: u64) {
        self.open.retain(|(open, _)| *open != index);
    }

    pub(super) fn note_write(&mut self, index: u64) {
        self.unsynced.insert(index);
    }

    /// Syncs every file with writes that were not, by `sync`.
    pub(super) fn sync(&mut self, sync: fn(&File) -> IoResult<()>) -> Result<(), OpError> {
        while let Some(index) = self.unsynced.pop_first() {
            let synced = sync(self.file(index)?);
            synced.map_err(|error| failed(&self.place.path(index), "syncing", error))?;
        }
        Ok(())
    }

    fn open(&mut self, index: u64, is_new: bool) -> Result<(), OpError> {
        if self.open.len() >= self.limit {
            self.open.pop_front();
        }
        let path = self.place.path(index);
        let mut options = File::options();
        options.read(!self.writes).write(self.writes).create_new(is_new);
        let file = options.open(&path).map_err(|error| failed(&path, "opening", error))?;
        self.open.push_back((index, file));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_open_and_all_are_synced() {
        let mount = tempfile::tempdir().unwrap();
        let place = Place::new(mount.path(), "b/", 1, &"10".parse().unwrap(), true).unwrap();
        place.make().unwrap();
        let mut files = OpenFiles::new(&place, true, u32::MAX);
        for index in 0..3 {
            files.create(index).unwrap();
            files.note_write(index);
            assert_eq!(files.open.len(), 1);
        }
        // One whose file was closed meanwhile is opened again for that.
        files.sync(File::sync_data).unwrap();
        assert!(files.unsynced.is_empty());
        files.note_write(7);
        let error = files.sync(File::sync_data).unwrap_err();
        assert!(error.to_string().contains("opening failed"), "{error}");
    }

    #[test]
    fn what_was_not_used_for_longest_is_closed() {
        let mount = tempfile::tempdir().unwrap();
        let place = Place::new(mount.path(), "b/", 1, &"10".parse().unwrap(), true).unwrap();
        place.make().unwrap();
        let mut files = OpenFiles::new(&place, true, (MAX_OPEN_FILES / 2) as u32);
        files.create(0).unwrap();
        files.create(1).unwrap();
        files.file(0).unwrap();
        files.create(2).unwrap();
        let open: Vec<u64> = files.open.iter().map(|(index, _)| *index).collect();
        assert_eq!(open, [0, 2]);
    }
}
