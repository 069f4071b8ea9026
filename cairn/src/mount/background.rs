//! A mount that goes on behind a command that returns.
//!
//! Invariant: the command returns well only once the mount stands.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
};

use anyhow::{Context as _, bail};

use super::fstab;

/// What the mount behind has to say, in the node's directory.
const LOG: &str = "mount.log";

/// Most that is shown of why it did not come about.
const SHOWN_BYTES_MAX: u64 = 16 << 10;

/// Mounts in a process of its own, and returns once that is ready.
pub(super) fn run(data: &Path) -> anyhow::Result<ExitCode> {
    let path = data.join(LOG);
    let opened = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(&path);
    let mut log = opened.with_context(|| format!("opening {}", path.display()))?;
    let before = log.seek(SeekFrom::End(0)).context("the log of the mount")?;
    let mut behind = start(log.try_clone().context("the log of the mount")?)?;
    let told = BufReader::new(behind.stdout.take().context("its output is piped")?);
    let mut out = io::stdout().lock();
    for line in told.lines() {
        let line = line.context("what the mount says")?;
        if line == "ready" {
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(out, "{line}").context("writing to standard output")?;
    }
    let ended = behind.wait().context("waiting for the mount")?;
    let mut why = String::new();
    log.seek(SeekFrom::Start(before)).context("the log of the mount")?;
    log.take(SHOWN_BYTES_MAX)
        .read_to_string(&mut why)
        .context("the log of the mount")?;
    bail!("it was not mounted ({ended}): {}", why.trim());
}

/// The same program with the same arguments, but for the one that says where it is to run.
fn start(log: File) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("finding this program")?;
    let arguments = fstab::arguments(std::env::args_os()).unwrap_or_default();
    let behind = |argument: OsString| {
        if argument == "--background" {
            "--detached".into()
        } else {
            argument
        }
    };
    let mut command = Command::new(program);
    command.args(arguments.into_iter().skip(1).map(behind));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    command.spawn().context("starting the mount")
}

/// Leaves the terminal and the session of who started it.
pub(super) fn detach() -> anyhow::Result<()> {
    std::env::set_current_dir("/").context("leaving the directory")?;
    rustix::process::setsid()
        .map(|_| ())
        .context("leaving the session of who started it")
}
