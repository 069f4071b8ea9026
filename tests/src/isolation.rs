//! Small file systems that only one test's processes see: tmpfs in a mount namespace of their own. They vanish with
//! the process that holds the namespace, so a killed test leaves no mount behind.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::process::run;

/// One, under a whole folder.
#[derive(Debug)]
pub struct SmallDisk {
    size_mib: u64,
    holder: OnceLock<Holder>,
}

/// The process whose life is the namespace's.
#[derive(Debug)]
struct Holder(Child);

impl SmallDisk {
    #[must_use]
    pub fn new(size_mib: u64) -> Self {
        Self {
            size_mib,
            holder: OnceLock::new(),
        }
    }

    /// Mounts it over `folder`, once.
    ///
    /// # Errors
    /// The system lets this user make no namespace.
    pub fn mount(&self, folder: &Path) -> Result<()> {
        let holder = Holder::start()?;
        holder.mount(folder, self.size_mib)?;
        ensure!(self.holder.set(holder).is_ok(), "the small disk is mounted already");
        Ok(())
    }

    /// A command that runs inside.
    ///
    /// # Errors
    /// It is not mounted.
    pub fn command(&self, program: &Path) -> Result<Command> {
        Ok(self.holder.get().context("the small disk is mounted")?.command(program))
    }
}

/// Several, each a folder of the test's, that can be lost and exchanged.
#[derive(Debug)]
pub struct Disks {
    folder: PathBuf,
    size_mib: u64,
    holder: Holder,
}

impl Disks {
    /// Mounts the disks of these names in `folder`.
    ///
    /// # Errors
    /// The system lets this user make no namespace.
    pub fn mount(folder: &Path, names: &[&str], size_mib: u64) -> Result<Self> {
        let disks = Self {
            folder: folder.to_owned(),
            size_mib,
            holder: Holder::start()?,
        };
        for name in names {
            disks.insert(name)?;
        }
        Ok(disks)
    }

    /// A new, empty disk in that place.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn insert(&self, name: &str) -> Result<()> {
        let at = self.folder.join(name);
        std::fs::create_dir_all(&at)?;
        self.holder.mount(&at, self.size_mib)
    }

    /// The disk is gone with all that it held. Nothing may use it.
    ///
    /// # Errors
    /// It is in use.
    pub fn lose(&self, name: &str) -> Result<()> {
        run(self.holder.command(Path::new("umount")).arg(self.folder.join(name))).map(|_| ())
    }

    /// A command that sees the disks.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        self.holder.command(program)
    }
}

impl Holder {
    fn start() -> Result<Self> {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let mut child = command
            .args(["sh", "-c", "echo held && exec cat"])
            // `cat` ends when this test does, because then its standard input is closed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting unshare")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
        let holder = Self(child);
        ensure!(
            line.trim() == "held",
            "no mount namespace: this needs root or user namespaces"
        );
        Ok(holder)
    }

    fn mount(&self, folder: &Path, size_mib: u64) -> Result<()> {
        let size = format!("size={size_mib}m");
        let mut command = self.command(Path::new("mount"));
        run(command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder)).map(|_| ())
    }

    /// A command that runs inside.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.0.id().to_string()).arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(program);
        command
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // An error says that it is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
