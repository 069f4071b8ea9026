//! Files that programs know of and the service does not yet: made in directories that this mount uses alone.
//!
//! Invariant: one is entered only while its directory is used alone, under the lock under which those of a directory that is let go of are
//! looked for. It stays until the service has made it, or has refused to: then whoever has it open is told.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use cairn_client::NewFile;
use cairn_common::{
    limits::{LATER_ATTRIBUTES_MAX, RESERVED_INODES_MAX},
    wire::file::{CreateFile, FileAttributes, FileKind, SetAttributes, SetTime},
};
use fuser::FileHandle;
use parking_lot::Mutex;

use crate::{
    handles::Handle,
    opened::{Opened, State},
    volume::Volume,
};

/// Numbers left with which others are asked for.
const NUMBERS_FEW: u64 = RESERVED_INODES_MAX as u64 / 2;

/// How long no numbers are asked for after the service gave none.
const NUMBERS_PAUSE: Duration = Duration::from_secs(10);

/// Setuid and setgid, which a change of owner may clear.
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

/// The files, by directory and name.
#[derive(Default)]
pub(crate) struct NewFiles {
    entered: Mutex<HashMap<u64, HashMap<Bytes, Arc<Opened>>>>,
    numbers: Mutex<Numbers>,
}

/// Numbers of inodes that were set aside.
#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    end: u64,
    /// What is used once the others are used up.
    further: Option<(u64, u64)>,
    /// Nobody else asks for numbers until then.
    asked_until: Option<Instant>,
}

impl Numbers {
    /// A number, where one is at hand; and whether the caller is to ask for others.
    fn take(&mut self, now: Instant) -> (Option<u64>, bool) {
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

    fn give(&mut self, first: u64) {
        self.further = Some((first, first + u64::from(RESERVED_INODES_MAX)));
        self.asked_until = None;
    }
}

impl NewFiles {
    /// Those of a directory, or of all.
    fn of(&self, directory: Option<u64>) -> Vec<Arc<Opened>> {
        let entered = self.entered.lock();
        match directory {
            Some(directory) => entered
                .get(&directory)
                .into_iter()
                .flat_map(HashMap::values)
                .cloned()
                .collect(),
            None => entered.values().flat_map(HashMap::values).cloned().collect(),
        }
    }

    fn remove(&self, directory: u64, name: &Bytes) {
        let mut entered = self.entered.lock();
        if let Some(names) = entered.get_mut(&directory) {
            names.remove(name);
            if names.is_empty() {
                entered.remove(&directory);
            }
        }
    }
}

impl Volume {
    /// Makes a file and opens it without telling the service yet, where that can be.
    pub(crate) fn create_new(self: &Arc<Self>, create: &CreateFile) -> Option<(FileAttributes, FileHandle)> {
        let mut entered = self.new_files.entered.lock();
        let directory = self.files.alone_in(create.parent, &create.name)?;
        // What else a directory hands on is in `create`.
        if directory.has_default_acl
            || entered
                .get(&create.parent)
                .is_some_and(|names| names.contains_key(&create.name))
        {
            return None;
        }
        let inode = self.number_of_new()?;
        let made_ns = now_ns();
        let attributes = FileAttributes {
            inode,
            kind: FileKind::File.into(),
            mode: create.mode & !create.umask & 0o7777,
            uid: create.uid,
            gid: create.gid,
            links: 1,
            atime_ns: made_ns,
            mtime_ns: made_ns,
            ctime_ns: made_ns,
            ..FileAttributes::default()
        };
        let new = NewFile {
            create: CreateFile {
                exclusive: true,
                ..create.clone()
            },
            inode,
            made_ns,
            then: Vec::new(),
        };
        let open = self.files.hold_new(&new);
        let (opened, _) = self.opened_files.open(&attributes);
        {
            let mut state = opened.state.lock();
            state.new = Some(new);
            state.dirty_since = Some(Instant::now());
        }
        self.known_acls.note(Instant::now(), &attributes);
        let names = entered.entry(create.parent).or_default();
        names.insert(create.name.clone(), Arc::clone(&opened));
        drop(entered);
        Some((attributes, self.handles.enter(Handle::new(opened, open))))
    }

    fn number_of_new(self: &Arc<Self>) -> Option<u64> {
        let (number, asks) = self.new_files.numbers.lock().take(Instant::now());
        if asks {
            let volume = Arc::clone(self);
            tokio::spawn(async move {
                match volume.files.reserve_inodes(RESERVED_INODES_MAX).await {
                    Ok(first) => volume.new_files.numbers.lock().give(first),
                    Err(error) => {
                        tracing::debug!(%error, "no numbers of inodes were set aside; each file is made at once")
                    }
                }
            });
        }
        number
    }

    /// What a name stands for that the service does not know yet.
    pub(crate) fn new_file_at(&self, directory: u64, name: &Bytes) -> Option<FileAttributes> {
        let opened = {
            let entered = self.new_files.entered.lock();
            Arc::clone(entered.get(&directory)?.get(name)?)
        };
        let state = opened.state.lock();
        state.new.as_ref().map(|_| state.attributes_of_new())
    }

    /// The attributes of an inode that the service does not know yet, where they stay as they are.
    pub(crate) fn new_file(&self, inode: u64, for_program: bool) -> Option<FileAttributes> {
        let opened = self.opened_files.get(inode)?;
        let state = opened.state.lock();
        let new = state.new.as_ref()?;
        let may_move = !new.then.is_empty() || !state.dirty.is_empty() || !state.in_flight.is_empty();
        (!for_program || !may_move).then(|| state.attributes_of_new())
    }

    /// Lets the service know of an inode, where it does not yet.
    pub(crate) async fn settle_inode(&self, inode: u64) {
        if let Some(opened) = self.opened_files.get(inode) {
            self.settle_file(&opened).await;
        }
    }

    pub(crate) async fn settle_file(&self, opened: &Opened) {
        let is_new = opened.state.lock().new.is_some();
        if is_new {
            self.flush(opened).await;
        }
    }

    /// Lets the service know of all that is new in a directory, or anywhere.
    pub(crate) async fn settle(&self, directory: Option<u64>) {
        let new = self.new_files.of(directory);
        futures::future::join_all(new.iter().map(|opened| self.settle_file(opened))).await;
    }

    /// The same for some directories, or all, of which others want something.
    pub(crate) async fn settle_all(&self, directories: Option<&[u64]>) {
        match directories {
            Some(directories) => {
                futures::future::join_all(directories.iter().map(|directory| self.settle(Some(*directory)))).await;
            }
            None => self.settle(None).await,
        }
    }

    /// A file is new no more: it was made, or refused.
    pub(crate) fn is_made(&self, new: &NewFile) {
        self.new_files.remove(new.create.parent, &new.create.name);
    }

    /// Sets attributes of a file that the service does not know yet, where that can wait.
    pub(crate) fn set_of_new(&self, opened: &Opened, set: &SetAttributes) -> Option<FileAttributes> {
        // Who makes it has taken what was set before.
        let _one = opened.flushing.try_lock().ok()?;
        let mut state = opened.state.lock();
        let new = state.new.as_ref()?;
        let clears = set.clear_suid && (state.known.mode & SET_ID != 0 || state.clear_suid);
        if set.size.is_some() || clears || new.then.len() + 1 >= LATER_ATTRIBUTES_MAX {
            return None;
        }
        Some(state.set_of_new(set.clone(), now_ns()))
    }
}

impl State {
    /// What is told of a file that the service does not know yet.
    fn attributes_of_new(&self) -> FileAttributes {
        FileAttributes {
            size: self.size(),
            ..self.known.clone()
        }
    }

    fn set_of_new(&mut self, mut set: SetAttributes, now_ns: i64) -> FileAttributes {
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

    /// Takes what is to be made of the file that the service does not know yet, with what its writes did to its mode.
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

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
