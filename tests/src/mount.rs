//! A store that is the first node of its cluster, and real mounts of its buckets.
//!
//! Invariant: no mount outlives the test that made it, also where the test fails or a program still uses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};
use rustix::mount::UnmountFlags;
use rustix::process::Signal;

use crate::daemon::{Daemon, Output};
use crate::place;
use crate::process::run;
use crate::s3::Client;
use crate::server::{Options, Server};

/// The bucket that is mounted.
pub const BUCKET: &str = "files";

/// A store whose buckets can be mounted.
#[derive(Debug)]
pub struct Store {
    pub server: Server,
}

/// A bucket mounted by a process of its own.
#[derive(Debug)]
pub struct Mounted {
    daemon: Option<Daemon>,
    output: Output,
    directory: PathBuf,
    data: PathBuf,
    source: String,
    options: String,
}

impl Store {
    /// Four devices, 2+1, with one bucket.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(name: &str) -> Result<Self> {
        let options = Options::new(4, "2+1")
            .argument("--cluster-listen")
            .argument("127.0.0.1:0");
        let mut server = Server::start_with(name, options)?;
        server.stop()?;
        let store = Self { server };
        store.cluster(&store.server.data(), &["init"])?;
        let mut store = store;
        store.server.start_again()?;
        store.client()?.make_bucket(BUCKET)?.success()?;
        Ok(store)
    }

    /// # Errors
    /// The server does not run.
    pub fn client(&self) -> Result<Client> {
        self.server.client()
    }

    fn cluster(&self, data: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(place::cairn_binary()?);
        command.arg("cluster").args(arguments).arg("--data").arg(data);
        Ok(run(&mut command)?.stdout)
    }

    /// Mounts the bucket with these options, as a node of its own.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn mount(&self, name: &str, options: &str) -> Result<Mounted> {
        self.mount_source(name, BUCKET, options)
    }

    /// The directory of a new node that a mount can have.
    ///
    /// # Errors
    /// It is not let in.
    pub fn client_node(&self, name: &str) -> Result<PathBuf> {
        let data = self.server.folder().join(format!("{name}.node"));
        fs::create_dir_all(&data)?;
        let token = self.cluster(&self.server.data(), &["token", "--roles", "client"])?;
        self.cluster(&data, &["join", token.trim()])?;
        Ok(data)
    }

    /// Mounts a bucket, or a directory of one.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn mount_source(&self, name: &str, source: &str, options: &str) -> Result<Mounted> {
        let folder = self.server.folder();
        let data = self.client_node(name)?;
        let directory = folder.join(name);
        fs::create_dir_all(&directory)?;
        let mut mounted = Mounted {
            daemon: None,
            output: Output::in_folder(folder, name),
            directory,
            data,
            source: source.to_owned(),
            options: options.to_owned(),
        };
        mounted.start()?;
        Ok(mounted)
    }
}

impl Mounted {
    /// Mounts it again after it was stopped, killed or unmounted.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(place::cairn_binary()?);
        command.arg("mount").arg("--data").arg(&self.data);
        if !self.options.is_empty() {
            command.args(["-o", &self.options]);
        }
        command.arg(&self.source).arg(&self.directory);
        self.daemon = Some(self.output.start(&mut command)?);
        Ok(())
    }

    /// A path in the mount.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.output.log()
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.daemon.as_ref().context("the mount runs")?.signal(signal)
    }

    /// Asks the process to stop, and waits for it to end well.
    ///
    /// # Errors
    /// It ends with a failure, or not at all.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.take().context("the mount runs")?.stop()
    }

    /// `kill -9`, and nothing is stored; the dead mount is taken away.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the mount runs")?;
        daemon.signal(Signal::KILL)?;
        daemon.ended()?;
        Ok(rustix::mount::unmount(&self.directory, UnmountFlags::DETACH)?)
    }

    /// `umount`, and waits for the process to end by itself.
    ///
    /// # Errors
    /// It is in use, or the process does not end.
    pub fn unmount(&mut self) -> Result<ExitStatus> {
        rustix::mount::unmount(&self.directory, UnmountFlags::empty())?;
        self.daemon.take().context("the mount runs")?.ended()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Dead first, so that nobody waits for it; an error says that nothing is mounted.
        drop(self.daemon.take());
        let _ = rustix::mount::unmount(&self.directory, UnmountFlags::DETACH);
    }
}
