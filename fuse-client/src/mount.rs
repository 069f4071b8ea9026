//! A mount from its beginning to its end.
//!
//! Invariant: whatever ends it, what was written and can be stored is stored before the session with the store ends.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use cairn_client::{FileError, Files};
use cairn_common::{ids::InodeId, wire::file::FileKind};
use fuser::{Config, MountOption, Session, SessionACL};
use tokio::{runtime::Handle, sync::oneshot, task::AbortHandle};

use crate::{
    filesystem::Bridge,
    leases::Holder,
    volume::{MountSettings, Volume},
};

/// Threads that take requests from the kernel; each hands them on at once.
const QUEUE_THREADS: usize = 2;

/// What the kernel may read ahead of a program, in KiB: enough to keep several chunks' reads under way.
const READ_AHEAD_KIB: u32 = 4096;

/// Why a mount did not come about.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The directory of the bucket that is to be shown cannot be had.
    #[error("the directory in the bucket: {0}")]
    Root(FileError),
    /// There is something else where it should be.
    #[error("what is to be mounted is no directory")]
    NotDirectory,
    /// The system refused.
    #[error("mounting on {}: {error}", .directory.display())]
    System {
        /// Where.
        directory: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// How a mount is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountFigures {
    /// Files that programs have open.
    pub open_files: usize,
    /// Bytes that they wrote and that are not stored yet.
    pub dirty_bytes: usize,
    /// The most that there may be of these.
    pub dirty_bytes_max: usize,
}

/// Looks at a mount, also while it ends.
#[derive(Clone)]
pub struct MountWatch {
    volume: Arc<Volume>,
}

/// A mount that stands.
pub struct Mount {
    volume: Arc<Volume>,
    directory: PathBuf,
    ended: oneshot::Receiver<io::Result<()>>,
    flusher: AbortHandle,
}

impl Mount {
    /// Mounts the directory `path` of a bucket (empty for all of it) on `directory`.
    pub async fn start(
        files: Files,
        path: &str,
        directory: &Path,
        settings: MountSettings,
    ) -> Result<Self, MountError> {
        let root = find_root(&files, path).await?;
        let volume = Arc::new(Volume::new(files, root, settings));
        let bridge = Bridge {
            volume: Arc::clone(&volume),
            runtime: Handle::current(),
        };
        let config = kernel_options(&volume.settings);
        let system = |error| MountError::System {
            directory: directory.to_owned(),
            error,
        };
        let place = directory.to_owned();
        // It talks to the kernel, and may run a helper.
        let session = tokio::task::spawn_blocking(move || Session::new(bridge, place, &config)).await;
        let session = session.map_err(io::Error::other).flatten().map_err(system)?;
        volume.kernel.connect(&session.notifier()).map_err(system)?;
        volume.files.hold_leases(Arc::new(Holder::of(&volume)));
        let (tell, ended) = oneshot::channel();
        let queue = move || {
            // Where nobody waits for it any more the mount is being given up.
            drop(tell.send(session.run()));
        };
        std::thread::Builder::new()
            .name("mount".to_owned())
            .spawn(queue)
            .map_err(system)?;
        let flusher = tokio::spawn(Arc::clone(&volume).keep_flushing()).abort_handle();
        let place = directory.to_owned();
        tokio::task::spawn_blocking(move || raise_read_ahead(&place));
        Ok(Self {
            volume,
            directory: directory.to_owned(),
            ended,
            flusher,
        })
    }

    /// What looks at it from elsewhere.
    pub fn watch(&self) -> MountWatch {
        MountWatch {
            volume: Arc::clone(&self.volume),
        }
    }

    /// Waits until somebody has unmounted it.
    pub async fn ended(&mut self) -> io::Result<()> {
        (&mut self.ended).await.unwrap_or(Ok(()))
    }

    /// Stores what is dirty, and takes the mount away. Programs that still use it are cut off.
    pub async fn stop(self) {
        self.volume.stop();
        self.volume.flush_all().await;
        let place = self.directory.clone();
        let unmounted = tokio::task::spawn_blocking(move || unmount(&place)).await;
        if let Err(error) = unmounted.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, directory = %self.directory.display(), "it was not unmounted");
        }
        self.finish().await;
    }

    /// Stores what is left after it was unmounted.
    pub async fn finish(self) {
        self.volume.stop();
        self.flusher.abort();
        // A program that still has a file open is told that its bytes are not taken.
        self.volume.refuse_writes();
        self.volume.flush_all().await;
        let lost = self.volume.budget.used();
        if lost > 0 {
            tracing::error!(
                bytes = lost,
                "bytes that were written could not be stored, and are lost"
            );
        }
    }
}

impl MountWatch {
    /// How the mount is now.
    pub fn figures(&self) -> MountFigures {
        MountFigures {
            open_files: self.volume.opened_files.count(),
            dirty_bytes: self.volume.budget.used(),
            dirty_bytes_max: self.volume.settings.dirty_bytes_max,
        }
    }

    /// Whether the store answers; why not.
    pub async fn answers(&self) -> Result<(), FileError> {
        self.volume.files.space().await.map(|_| ())
    }
}

async fn find_root(files: &Files, path: &str) -> Result<u64, MountError> {
    let mut inode = InodeId::ROOT.value();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let name = Bytes::copy_from_slice(name.as_bytes());
        let attributes = files.lookup(inode, name).await.map_err(MountError::Root)?;
        if attributes.kind() != FileKind::Directory {
            return Err(MountError::NotDirectory);
        }
        inode = attributes.inode;
    }
    Ok(inode)
}

fn kernel_options(settings: &MountSettings) -> Config {
    let mut options = vec![
        MountOption::FSName(settings.source.clone()),
        // As fuser's own option only a helper would be told of it, not the kernel.
        MountOption::CUSTOM("subtype=cairn".to_owned()),
        MountOption::DefaultPermissions,
        if settings.read_only {
            MountOption::RO
        } else {
            MountOption::RW
        },
        if settings.suid {
            MountOption::Suid
        } else {
            MountOption::NoSuid
        },
        if settings.devices {
            MountOption::Dev
        } else {
            MountOption::NoDev
        },
    ];
    if !settings.exec {
        options.push(MountOption::NoExec);
    }
    let mut config = Config::default();
    config.mount_options = options;
    config.acl = if settings.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    config.n_threads = Some(QUEUE_THREADS);
    config.clone_fd = true;
    config
}

/// Lets the kernel read further ahead than its default of 128 KiB. Only root may; others read more slowly.
fn raise_read_ahead(directory: &Path) {
    let Ok(status) = rustix::fs::stat(directory) else {
        return;
    };
    let (major, minor) = (rustix::fs::major(status.st_dev), rustix::fs::minor(status.st_dev));
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = std::fs::write(&setting, READ_AHEAD_KIB.to_string()) {
        tracing::debug!(%error, "the kernel reads no further ahead than by default");
    }
}

/// Takes the mount from its directory, also where programs use it.
fn unmount(directory: &Path) -> io::Result<()> {
    match rustix::mount::unmount(directory, rustix::mount::UnmountFlags::empty()) {
        Ok(()) => return Ok(()),
        // Somebody else was faster.
        Err(rustix::io::Errno::INVAL) => return Ok(()),
        Err(rustix::io::Errno::PERM) => {}
        Err(error) => {
            tracing::info!(%error, "the mount is in use: cutting off who uses it");
            return Ok(rustix::mount::unmount(directory, rustix::mount::UnmountFlags::DETACH)?);
        }
    }
    let status = std::process::Command::new("fusermount3")
        .args(["-u", "-q", "-z"])
        .arg(directory)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("fusermount3 failed"))
    }
}
