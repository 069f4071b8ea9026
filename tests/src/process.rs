//! Running a command to its end, with what it printed.

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::{fs, iter};

use anyhow::{Context, Result, bail};

/// What a command that ended well printed.
#[derive(Debug)]
pub struct Printed {
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command that must succeed.
///
/// # Errors
/// It cannot be started or ends with a failure; then the error holds all that it printed.
pub fn run(command: &mut Command) -> Result<Printed> {
    let (success, printed) = run_any(command)?;
    if !success {
        // Without its environment, which would bury the message.
        let words = iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
        bail!(
            "`{}` failed\n--- stdout\n{}\n--- stderr\n{}",
            words.join(" "),
            printed.stdout,
            printed.stderr
        );
    }
    Ok(printed)
}

/// Runs a command that may fail: (whether it succeeded, what it printed).
///
/// # Errors
/// It cannot be started.
pub fn run_any(command: &mut Command) -> Result<(bool, Printed)> {
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("starting {command:?}"))?;
    let printed = Printed {
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    };
    Ok((status.success(), printed))
}

/// The peak of a process's resident memory, in bytes, as the kernel has counted it.
///
/// # Errors
/// The process is gone, or this is not Linux.
pub fn peak_resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .context("VmHWM in /proc status")?;
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .context("a number after VmHWM")?
        .parse()?;
    Ok(kib * 1024)
}
