//! What a mount shows and what it keeps: the files of a bucket below a directory, and all that is open.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use cairn_client::Files;
use cairn_common::{
    ids::InodeId,
    wire::file::{FileAttributes, FileKind},
};
use fuser::INodeNo;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    budget::Budget,
    entries::Entries,
    handles::{Directories, Handles},
    kept::KeptFiles,
    kernel::Kernel,
    known_acls::KnownAcls,
    locks::Locks,
    metrics::Metrics,
    new_files::NewFiles,
    opened::OpenedFiles,
    owners::Owners,
};

/// How long the mode of a directory is gone by for what new entries inherit.
const DIRECTORY_KNOWN: Duration = Duration::from_secs(1);

/// Directories whose mode is kept at hand.
const DIRECTORIES_KNOWN_MAX: usize = 4096;

/// How a mount behaves.
#[derive(Clone, Debug)]
pub struct MountSettings {
    /// Bytes that were written and are not stored yet, at most.
    pub dirty_bytes_max: usize,
    /// How long the kernel may go by attributes and names that it was told.
    pub kernel_cache: Duration,
    /// Whether nothing can be changed.
    pub read_only: bool,
    /// Whether other users than the one who mounts may use it.
    pub allow_other: bool,
    /// Whether set-user-id bits of programs count.
    pub suid: bool,
    /// Whether device files stand for devices.
    pub devices: bool,
    /// Whether programs may be run.
    pub exec: bool,
    /// Which owners here are which in the store.
    pub owners: Owners,
    /// What the table of mounts says that is mounted.
    pub source: String,
    /// What is counted.
    pub metrics: Metrics,
}

/// The files of a mount.
pub(crate) struct Volume {
    pub(crate) files: Files,
    root: u64,
    pub(crate) settings: MountSettings,
    pub(crate) opened_files: OpenedFiles,
    pub(crate) new_files: NewFiles,
    pub(crate) kept_files: KeptFiles,
    pub(crate) handles: Handles,
    pub(crate) directories: Directories,
    pub(crate) budget: Budget,
    pub(crate) kernel: Kernel,
    pub(crate) entries: Entries,
    pub(crate) locks: Locks,
    pub(crate) known_acls: KnownAcls,
    pub(crate) metrics: Metrics,
    inherited: Mutex<HashMap<u64, (Instant, Inherited)>>,
    pub(crate) stopping: AtomicBool,
    /// Whether nothing is taken any more that would have to be stored.
    refuses_writes: AtomicBool,
    pub(crate) stopped: Notify,
}

/// What a directory hands on to what is made in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    /// Its group, where its set-group-id bit says so.
    pub(crate) gid: Option<u32>,
}

impl Volume {
    /// `root` is the inode of the directory that is shown.
    pub(crate) fn new(files: Files, root: u64, settings: MountSettings) -> Self {
        let session = files.session();
        Self {
            files,
            root,
            opened_files: OpenedFiles::default(),
            new_files: NewFiles::default(),
            kept_files: KeptFiles::default(),
            handles: Handles::default(),
            directories: Directories::default(),
            budget: Budget::new(settings.dirty_bytes_max),
            kernel: Kernel::default(),
            entries: Entries::default(),
            locks: Locks::new(session),
            known_acls: KnownAcls::default(),
            metrics: settings.metrics.clone(),
            inherited: Mutex::default(),
            stopping: AtomicBool::new(false),
            refuses_writes: AtomicBool::new(false),
            stopped: Notify::new(),
            settings,
        }
    }

    /// The inode that the kernel means.
    pub(crate) fn inode(&self, number: INodeNo) -> u64 {
        if number == INodeNo::ROOT { self.root } else { number.0 }
    }

    /// Whether an inode is the directory that is shown.
    pub(crate) const fn is_root(&self, inode: u64) -> bool {
        inode == self.root
    }

    /// The number by which the kernel knows an inode. Above the directory that is shown there is nothing.
    pub(crate) fn number(&self, inode: u64) -> INodeNo {
        if inode == self.root || inode == InodeId::ROOT.value() {
            INodeNo::ROOT
        } else {
            INodeNo(inode)
        }
    }

    /// Lets whoever waits for a lock give up.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stopped.notify_waiters();
    }

    /// Takes no bytes any more. Whoever takes some looks under the lock of the file's state, so that a flush which begins
    /// afterwards finds all that were taken.
    pub(crate) fn refuse_writes(&self) {
        self.refuses_writes.store(true, Ordering::Release);
    }

    pub(crate) fn refuses_writes(&self) -> bool {
        self.refuses_writes.load(Ordering::Acquire)
    }

    /// Keeps what a directory hands on.
    pub(crate) fn learn_directory(&self, attributes: &FileAttributes) -> Inherited {
        let setgid = attributes.mode & libc::S_ISGID != 0;
        let inherited = Inherited {
            gid: setgid.then_some(attributes.gid),
        };
        if attributes.kind() == FileKind::Directory {
            let mut known = self.inherited.lock();
            if known.len() >= DIRECTORIES_KNOWN_MAX {
                known.clear();
            }
            known.insert(attributes.inode, (Instant::now(), inherited));
        }
        inherited
    }

    /// Forgets what directories hand on, or what all do.
    pub(crate) fn forget_directories(&self, inodes: Option<&[u64]>) {
        let mut known = self.inherited.lock();
        match inodes {
            Some(inodes) => known.retain(|inode, _| !inodes.contains(inode)),
            None => known.clear(),
        }
    }

    /// What a directory handed on a moment ago.
    pub(crate) fn known_directory(&self, inode: u64) -> Option<Inherited> {
        let known = self.inherited.lock();
        let (when, inherited) = known.get(&inode)?;
        (when.elapsed() < DIRECTORY_KNOWN).then_some(*inherited)
    }
}
