//! A small file system that only one test's processes see: a tmpfs in a mount namespace of its own. It vanishes with
//! the process that holds the namespace, so a killed test leaves no mount behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

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
        let script = r#"mount -t tmpfs -o "size=$1m" tmpfs "$2" && echo mounted && exec cat"#;
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let mut child = command
            .args(["sh", "-c", script, "sh", &self.size_mib.to_string()])
            .arg(folder)
            // `cat` ends when this test does, because then its standard input is closed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting unshare")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
        let holder = Holder(child);
        ensure!(
            line.trim() == "mounted",
            "the small disk could not be mounted: this needs root or user namespaces"
        );
        ensure!(self.holder.set(holder).is_ok(), "the small disk is mounted already");
        Ok(())
    }

    /// A command that runs inside.
    ///
    /// # Errors
    /// It is not mounted.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let holder = self.holder.get().context("the small disk is mounted")?;
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(holder.0.id().to_string()).arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(program);
        Ok(command)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // An error says that it is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
