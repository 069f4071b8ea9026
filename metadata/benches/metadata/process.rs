//! The benchmark's processes: members, drivers and etcd.
//!
//! Owns: starting, asking and ending a child, and what the kernel tells of it. A child of ours ends with its parent,
//! however the parent ends: the kernel signals it, and it also stops when its standard input closes.
//!
//! Invariant: a child is killed by its own id and waited for, never by name.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::time::{ClockId, clock_gettime};

use crate::turn::Figures;

/// CPU time that all threads of this process have used, in user mode and in the kernel.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU time of another process, to a hundredth of a second.
///
/// # Errors
/// When there is none of that id.
pub(crate) fn cpu_time_of(id: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).with_context(|| format!("process {id} has ended"))?;
    let (_, fields) = text.rsplit_once(')').context("a line of the kernel's")?;
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

/// Memory of another process that is in RAM, in bytes: now, and at most so far.
///
/// # Errors
/// When there is none of that id.
pub(crate) fn resident_bytes(id: u32) -> Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).with_context(|| format!("process {id} has ended"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes
            .map(|number| number << 10)
            .with_context(|| format!("the kernel does not tell {name}"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// What each child of ours does first: end with its parent.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn settle_child() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("end with the parent")
}

/// A child that is asked by lines and answers by lines.
#[derive(Debug)]
pub(crate) struct Talker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talker {
    /// This program again, with `arguments`.
    ///
    /// # Errors
    /// When it cannot start.
    pub(crate) fn this_program(arguments: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        command.args(arguments);
        Self::start(command)
    }

    /// A program that talks by lines.
    ///
    /// # Errors
    /// When it cannot start.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let input = child.stdin.take().context("the child has no input")?;
        let output = BufReader::new(child.stdout.take().context("the child has no output")?);
        Ok(Self { child, input, output })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line it says.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line).context("hear a child")?;
        ensure!(length > 0, "a child process has ended: see what it said above");
        Ok(line.trim().to_owned())
    }

    /// Says a line.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("ask a child")
    }

    /// Has a driver take a turn against `servers`, whose CPU time is counted.
    ///
    /// # Errors
    /// When one of them fails.
    pub(crate) fn turn(&mut self, what: &str, time: Duration, servers: &[u32]) -> Result<Figures> {
        let cpu = || servers.iter().map(|id| cpu_time_of(*id)).sum::<Result<Duration>>();
        let before = cpu()?;
        self.say(&format!("{what} {}", time.as_millis()))?;
        let mut figures = Figures::from_line(&self.hear()?)?;
        figures.server_cpu = cpu()? - before;
        Ok(figures)
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Kills one child and waits for it.
pub(crate) fn end(child: &mut Child) {
    // It may have ended already; what matters is that it is gone afterwards.
    let _ = child.kill();
    let _ = child.wait();
}

/// Says a line to the parent.
///
/// # Errors
/// When it has gone.
pub(crate) fn tell_parent(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
