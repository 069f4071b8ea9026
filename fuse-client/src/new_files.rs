//! Files that programs know of and the service does not yet: made in directories that this mount uses alone.
//!
//! Here is which there are, under which numbers, and what is to be told of each; `making.rs` makes them and tells. Invariant: one stays
//! until the service has made it, or has refused to: then whoever has it open is told.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_client::NewFile;
use cairn_common::{
    limits::RESERVED_INODES_MAX,
    wire::file::{FileAttributes, SetAttributes, SetTime},
};
use parking_lot::Mutex;

use crate::opened::{Opened, State};

/// Numbers left with which others are asked for.
const NUMBERS_FEW: u64 = RESERVED_INODES_MAX as u64 / 2;

/// How long no numbers are asked for after the service gave none.
const NUMBERS_PAUSE: Duration = Duration::from_secs(10);

/// The files, by directory and name.
#[derive(Default)]
pub(crate) struct NewFiles {
    pub(crate) entered: Mutex<HashMap<u64, NewNames>>,
    pub(crate) numbers: Mutex<Numbers>,
}

/// Those of a directory.
#[derive(Default)]
pub(crate) struct NewNames {
    pub(crate) files: HashMap<Bytes, Arc<Opened>>,
    /// When the newest was made, in nanoseconds since 1970.
    newest_ns: i64,
}

impl NewNames {
    pub(crate) fn enter(&mut self, name: Bytes, opened: Arc<Opened>, made_ns: i64) {
        self.files.insert(name, opened);
        self.newest_ns = self.newest_ns.max(made_ns);
    }
}

/// Numbers of inodes that were set aside.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    next: u64,
    end: u64,
    /// What is used once the others are used up.
    further: Option<(u64, u64)>,
    /// Nobody else asks for numbers until then.
    asked_until: Option<Instant>,
}

impl Numbers {
    /// A number, where one is at hand; and whether the caller is to ask for others.
    pub(crate) fn take(&mut self, now: Instant) -> (Option<u64>, bool) {
        if self.next == self.end {
            (self.next, self.end) = self.further.take().unwrap_or_default();
        }
        let number = (self.next < self.end).then_some(self.next);
        self.next += u64::from(number.is_some());
        let is_few = self.further.is_none() && self.end - self.next < NUMBERS_FEW;
        let asks = is_few && self.asked_until.is_none_or(|until| until <= now);
        if asks {
            self.asked_until = Some(now + NUMBERS_PAUSE);
        }
        (number, asks)
    }

    pub(crate) fn give(&mut self, first: u64) {
        self.further = Some((first, first + u64::from(RESERVED_INODES_MAX)));
        self.asked_until = None;
    }
}

impl NewFiles {
    /// Those of a directory, or of all.
    pub(crate) fn of(&self, directory: Option<u64>) -> Vec<Arc<Opened>> {
        let entered = self.entered.lock();
        match directory {
            Some(directory) => entered
                .get(&directory)
                .into_iter()
                .flat_map(|names| names.files.values())
                .cloned()
                .collect(),
            None => entered
                .values()
                .flat_map(|names| names.files.values())
                .cloned()
                .collect(),
        }
    }

    /// The attributes of a directory with the times that it will have once the service knows what is new in it.
    pub(crate) fn in_times(&self, mut directory: FileAttributes, now_ns: i64) -> FileAttributes {
        let newest_ns = self.entered.lock().get(&directory.inode).map(|names| names.newest_ns);
        if let Some(newest_ns) = newest_ns {
            // As the service does it: a time that was set to one that is to come is the only that goes back.
            let moved = |before_ns: i64| match before_ns {
                to_come if to_come > now_ns => newest_ns,
                before_ns => before_ns.max(newest_ns),
            };
            directory.mtime_ns = moved(directory.mtime_ns);
            directory.ctime_ns = moved(directory.ctime_ns);
        }
        directory
    }

    /// A file is new no more: it was made, or refused. Its name may be another's by now.
    pub(crate) fn remove(&self, new: &NewFile) {
        let NewFile { create, inode, .. } = new;
        let mut entered = self.entered.lock();
        if let Some(names) = entered.get_mut(&create.parent) {
            if names
                .files
                .get(&create.name)
                .is_some_and(|opened| opened.inode == *inode)
            {
                names.files.remove(&create.name);
            }
            if names.files.is_empty() {
                entered.remove(&create.parent);
            }
        }
    }
}

impl State {
    /// What is told of a file that the service does not know yet.
    pub(crate) fn attributes_of_new(&self) -> FileAttributes {
        FileAttributes {
            size: self.size(),
            ..self.known.clone()
        }
    }

    pub(crate) fn set_of_new(&mut self, mut set: SetAttributes, now_ns: i64) -> FileAttributes {
        let explicit = |time: SetTime| SetTime {
            ns: Some(time.ns.unwrap_or(now_ns)),
        };
        set.atime = set.atime.map(explicit);
        set.mtime = set.mtime.map(explicit);
        let known = &mut self.known;
        known.mode = set.mode.unwrap_or(known.mode);
        known.uid = set.uid.unwrap_or(known.uid);
        known.gid = set.gid.unwrap_or(known.gid);
        known.atime_ns = set.atime.and_then(|time| time.ns).unwrap_or(known.atime_ns);
        known.mtime_ns = set.mtime.and_then(|time| time.ns).unwrap_or(known.mtime_ns);
        known.ctime_ns = now_ns;
        if let Some(new) = &mut self.new {
            new.then.push(set);
        }
        self.attributes_of_new()
    }

    /// What is to be made of the file that the service does not know yet, with what its writes did to its mode.
    pub(crate) fn to_be_made(&self, clear_suid: bool) -> Option<NewFile> {
        let mut new = self.new.clone()?;
        if clear_suid {
            let clear = SetAttributes {
                clear_suid: true,
                ..SetAttributes::default()
            };
            new.then.insert(0, clear);
        }
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::wire::file::CreateFile;

    use super::*;
    use crate::opened::OpenedFiles;

    #[test]
    fn a_name_that_is_anothers_by_now_stays() {
        let (new_files, opened_files) = (NewFiles::default(), OpenedFiles::default());
        let name = Bytes::from_static(b"name");
        let enter = |inode| {
            let attributes = FileAttributes {
                inode,
                ..FileAttributes::default()
            };
            let (opened, _) = opened_files.open(&attributes);
            let mut entered = new_files.entered.lock();
            entered.entry(1).or_default().enter(name.clone(), opened, 0);
            let create = CreateFile {
                parent: 1,
                name: name.clone(),
                ..CreateFile::default()
            };
            NewFile {
                create,
                inode,
                made_ns: 0,
                then: Vec::new(),
            }
        };
        let (first, second) = (enter(7), enter(8));
        new_files.remove(&first);
        assert_eq!(new_files.of(Some(1)).len(), 1);
        new_files.remove(&second);
        assert!(new_files.of(None).is_empty() && new_files.entered.lock().is_empty());
    }

    #[test]
    fn a_directory_has_the_time_of_the_newest_in_it() {
        let (new_files, opened_files) = (NewFiles::default(), OpenedFiles::default());
        let told = |mtime_ns, ctime_ns| FileAttributes {
            inode: 1,
            mtime_ns,
            ctime_ns,
            ..FileAttributes::default()
        };
        assert_eq!(new_files.in_times(told(5, 6), 50), told(5, 6));
        for made_ns in [20, 30, 10] {
            let (opened, _) = opened_files.open(&FileAttributes::default());
            let name = Bytes::from(made_ns.to_string());
            new_files
                .entered
                .lock()
                .entry(1)
                .or_default()
                .enter(name, opened, made_ns);
        }
        assert_eq!(new_files.in_times(told(5, 40), 50), told(30, 40));
        assert_eq!(
            new_files.in_times(told(51, 50), 50),
            told(30, 50),
            "a time that is to come goes back"
        );
    }

    #[test]
    fn numbers_are_asked_for_before_they_run_out_and_used_once() {
        let mut numbers = Numbers::default();
        let now = Instant::now();
        assert_eq!(numbers.take(now), (None, true));
        assert_eq!(numbers.take(now), (None, false), "somebody asks");
        assert_eq!(numbers.take(now + NUMBERS_PAUSE), (None, true), "they gave none");
        numbers.give(100);
        let mut taken = Vec::new();
        loop {
            let (number, asks) = numbers.take(now);
            taken.extend(number);
            if asks {
                numbers.give(9000);
            }
            if number == Some(9000) {
                break;
            }
        }
        let expected: Vec<u64> = (100..100 + u64::from(RESERVED_INODES_MAX)).chain([9000]).collect();
        assert_eq!(taken, expected);
    }
}
