//! Making files without telling the service yet, and telling it.
//!
//! Invariant: a file is entered as new only while its directory is used alone, under the lock under which those of a directory that is let go
//! of are looked for: none is left behind there.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use cairn_client::NewFile;
use cairn_common::{
    limits::{LATER_ATTRIBUTES_MAX, RESERVED_INODES_MAX},
    wire::file::{CreateFile, FileAttributes, FileKind, SetAttributes},
};
use fuser::FileHandle;

use crate::{convert::Outcome, handles::Handle, opened::Opened, volume::Volume};

/// Setuid and setgid, which a change of owner may clear.
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

impl Volume {
    /// Makes a file and opens it without telling the service yet, where that can be.
    pub(crate) fn create_new(self: &Arc<Self>, create: &CreateFile) -> Option<(FileAttributes, FileHandle)> {
        let mut entered = self.new_files.entered.lock();
        if self.refuses_writes() {
            return None;
        }
        let directory = self.files.alone_in(create.parent, &create.name)?;
        // What else a directory hands on is in `create`.
        if directory.has_default_acl
            || entered
                .get(&create.parent)
                .is_some_and(|names| names.files.contains_key(&create.name))
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
        let open = self.files.hold_open(inode);
        let (opened, _) = self.opened_files.open(&attributes);
        {
            let mut state = opened.state.lock();
            state.new = Some(new);
            state.dirty_since = Some(Instant::now());
        }
        self.known_acls.note(Instant::now(), &attributes);
        let names = entered.entry(create.parent).or_default();
        names.enter(create.name.clone(), Arc::clone(&opened), made_ns);
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
            Arc::clone(entered.get(&directory)?.files.get(name)?)
        };
        let state = opened.state.lock();
        state.new.as_ref().map(|_| state.attributes_of_new())
    }

    /// The attributes of an inode that the service does not know yet, where they stay as they are.
    pub(crate) fn new_file(&self, inode: u64, for_program: bool) -> Option<FileAttributes> {
        let opened = self.opened_files.get(inode)?;
        let state = opened.state.lock();
        let is_told = state.new.is_some() && (!for_program || state.attributes_stay());
        is_told.then(|| state.attributes_of_new())
    }

    /// Lets the service know of an inode, where it does not yet.
    pub(crate) async fn settle_inode(&self, inode: u64) {
        if let Some(opened) = self.opened_files.get(inode) {
            // An error is kept for whoever has the file open.
            let _ = self.settle_file(&opened).await;
        }
    }

    pub(crate) async fn settle_file(&self, opened: &Opened) -> Outcome<()> {
        let before = {
            let state = opened.state.lock();
            if state.new.is_none() {
                return Ok(());
            }
            state.error_count()
        };
        self.flush_where(opened, |state| state.new.is_some()).await;
        opened.state.lock().error_behind(before).map_or(Ok(()), Err)
    }

    /// Lets the service know of all that is new in a directory, or anywhere.
    pub(crate) async fn settle(&self, directory: Option<u64>) {
        // An error is kept for whoever has the file open.
        let _ = self.settled(directory).await;
    }

    /// The same, for who goes on only where it has taken all of them.
    pub(crate) async fn settled(&self, directory: Option<u64>) -> Outcome<()> {
        let new = self.new_files.of(directory);
        let settled = futures::future::join_all(new.iter().map(|opened| self.settle_file(opened))).await;
        settled.into_iter().collect()
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

/// Now by the clock of this machine, in nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
