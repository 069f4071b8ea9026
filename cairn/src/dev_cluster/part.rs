//! One process of the cluster: how it is started, what it does now, and the signals that it is sent.
//!
//! Invariants: a process is reaped here alone, so a signal never reaches another one under its number; it is gone with its value.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{names::PartName, program::Program};

/// How often it is looked whether a process is ready, or has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How much of a log's end is shown with an error.
const LOG_END_BYTES: u64 = 2048;

/// A process of the cluster.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: PartName,
    /// The directory of its node.
    pub(super) root: PathBuf,
    /// What `cairn` is started with.
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(&'static str, String)>,
    pub(super) namespace: Option<String>,
    pub(super) state: State,
}

/// What a process does now.
#[derive(Debug)]
pub(super) enum State {
    NotStarted,
    Running(Child),
    /// By SIGSTOP.
    Halted(Child),
    /// How it ended.
    Ended(String),
}

impl Part {
    /// Where it logs, over all its starts.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    fn printed(&self) -> PathBuf {
        self.root.join("stdout")
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child().map(Child::id)
    }

    const fn child(&self) -> Option<&Child> {
        match &self.state {
            State::Running(child) | State::Halted(child) => Some(child),
            State::NotStarted | State::Ended(_) => None,
        }
    }

    const fn child_mut(&mut self) -> Option<&mut Child> {
        match &mut self.state {
            State::Running(child) | State::Halted(child) => Some(child),
            State::NotStarted | State::Ended(_) => None,
        }
    }

    /// Starts it; [`Self::await_ready`] comes next.
    pub(super) fn spawn(&mut self, program: &Program) -> anyhow::Result<()> {
        if self.child().is_some() {
            bail!("{} runs already", self.name);
        }
        fs::create_dir_all(&self.root).with_context(|| format!("making {}", self.root.display()))?;
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.with_context(|| format!("opening {}", self.log().display()))?;
        let printed = File::create(self.printed()).with_context(|| format!("making {}", self.printed().display()))?;
        let mut command = program.command(self.namespace.as_deref(), &self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(printed).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {}", self.name))?;
        self.state = State::Running(child);
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub(super) async fn await_ready(&mut self, deadline: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(how) = self.reap() {
                bail!("{} has ended while starting: {how}\n{}", self.name, self.log_end());
            }
            let printed = fs::read_to_string(self.printed()).unwrap_or_default();
            if printed.lines().any(|line| line.trim() == "ready") {
                return Ok(());
            }
            if begun.elapsed() > deadline {
                bail!("{} is not ready after {deadline:?}\n{}", self.name, self.log_end());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether it has ended by itself since this was asked last, and how.
    pub(super) fn reap(&mut self) -> Option<String> {
        let status = self.child_mut()?.try_wait().ok()??;
        let how = described(status);
        self.state = State::Ended(how.clone());
        Some(how)
    }

    /// Ends it at once, and waits for that.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        let name = self.name;
        let Some(child) = self.child_mut() else {
            bail!("{name} does not run");
        };
        child.kill().with_context(|| format!("killing {name}"))?;
        let status = child.wait().with_context(|| format!("waiting for {name}"))?;
        self.state = State::Ended(described(status));
        Ok(())
    }

    /// Halts it where it is.
    pub(super) fn halt(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        self.state = match std::mem::replace(&mut self.state, State::NotStarted) {
            State::Running(child) => State::Halted(child),
            other => other,
        };
        Ok(())
    }

    /// Lets it go on.
    pub(super) fn proceed(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)?;
        self.state = match std::mem::replace(&mut self.state, State::NotStarted) {
            State::Halted(child) => State::Running(child),
            other => other,
        };
        Ok(())
    }

    /// Asks it to stop; nothing where it does not run.
    pub(super) fn terminate(&mut self) -> anyhow::Result<()> {
        if self.child().is_none() {
            return Ok(());
        }
        self.signal(Signal::TERM)?;
        self.proceed()
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let name = self.name;
        let Some(pid) = self.pid() else {
            bail!("{name} does not run");
        };
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("the number of {name}'s process"))?;
        kill_process(pid, signal).with_context(|| format!("sending a signal to {name}"))
    }

    /// The last lines that it logged, and where the rest is.
    pub(super) fn log_end(&self) -> String {
        let end = read_end(&self.log()).unwrap_or_default();
        format!("the end of {}:\n{}", self.log().display(), end.trim_end())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // An error says that it is gone.
        let _ = self.kill();
    }
}

/// The last whole lines of a file.
fn read_end(path: &std::path::Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(LOG_END_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let text = match text.split_once('\n') {
        Some((_, whole)) if skipped > 0 => whole.to_owned(),
        _ => text,
    };
    Ok(text)
}

/// How a process ended, in words.
fn described(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "killed".to_owned(),
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, Some(0)) => "ended well".to_owned(),
        (None, code) => format!("failed with status {}", code.unwrap_or_default()),
    }
}
