//! A process that announces itself with the line `ready` and runs until it is told to end.
//!
//! Invariant: none outlives the value that started it.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A start may replay a log and shares the machine with other tests. How fast one is, a benchmark says.
const START_BOUND: Duration = Duration::from_secs(60);
const STOP_BOUND: Duration = Duration::from_secs(60);

/// Where a daemon's output goes, over all its starts.
#[derive(Clone, Debug)]
pub struct Output {
    stdout: PathBuf,
    log: PathBuf,
}

/// A process that runs.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    output: Output,
}

impl Output {
    /// In `folder`, in files of that name.
    #[must_use]
    pub fn in_folder(folder: &Path, name: &str) -> Self {
        Self {
            stdout: folder.join(format!("{name}.stdout.log")),
            log: folder.join(format!("{name}.log")),
        }
    }

    /// What the last start printed.
    #[must_use]
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// All that was logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of it.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn spawn(&self, command: &mut Command) -> Result<Daemon> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        command
            .stdin(Stdio::null())
            .stdout(File::create(&self.stdout)?)
            .stderr(log);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        Ok(Daemon {
            child,
            output: self.clone(),
        })
    }

    /// Starts `command` and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(&self, command: &mut Command) -> Result<Daemon> {
        self.start_within(command, START_BOUND)
    }

    /// The same for one that may take longer.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_within(&self, command: &mut Command, bound: Duration) -> Result<Daemon> {
        let mut daemon = self.spawn(command)?;
        let ready = wait::until("the process is ready", bound, || {
            if self.printed().lines().any(|line| line.trim() == "ready") {
                return Ok(Some(()));
            }
            match daemon.child.try_wait()? {
                Some(status) => bail!("it ended while starting: {status}"),
                None => Ok(None),
            }
        });
        match ready {
            Ok(()) => Ok(daemon),
            Err(error) => Err(error.context(format!("its log:\n{}", self.log_end()))),
        }
    }

    /// Starts a command that is expected to refuse: its exit status and all that it printed.
    ///
    /// # Errors
    /// It runs instead of ending.
    pub fn start_refused(&self, command: &mut Command) -> Result<(ExitStatus, String)> {
        let before = self.log().len();
        let mut daemon = self.spawn(command)?;
        let status = wait::until("the process refuses to start", START_BOUND, || {
            Ok(daemon.child.try_wait()?)
        })?;
        Ok((status, format!("{}{}", self.printed(), &self.log()[before..])))
    }
}

impl Daemon {
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?).context("a process id is positive")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Asks it to stop, and waits for it to end well.
    ///
    /// # Errors
    /// It ends with a failure, or not at all.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.ended()?;
        ensure!(
            status.success(),
            "the process stopped with {status}:\n{}",
            self.output.log_end()
        );
        Ok(())
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It does not.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        wait::until("the process ends", STOP_BOUND, || Ok(self.child.try_wait()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // `kill -9`, and nothing is flushed. An error says that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            report(&self.output.log_end());
        }
    }
}

/// The value of a line `name  value` that a process printed.
///
/// # Errors
/// There is no such line.
pub fn field(printed: &str, name: &str) -> Result<String> {
    let value = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
    Ok(value
        .with_context(|| format!("no line {name:?} in:\n{printed}"))?
        .trim()
        .to_owned())
}

#[expect(clippy::print_stderr, reason = "the runner shows it with the failed test")]
fn report(log: &str) {
    eprintln!("--- end of the process's log\n{log}\n---");
}
