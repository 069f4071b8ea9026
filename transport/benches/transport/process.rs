//! The benchmark's processes: it runs itself again as client and as server.
//!
//! Owns: starting, asking and ending a child. A child ends with its parent, however the parent ends: the kernel signals
//! it, and a server also stops when its standard input closes.
//!
//! Invariant: a child is killed by its own id and waited for, never by name.

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::contender::Target;

/// CPU time that all threads of this process have used, in user mode and in the kernel. Work that the kernel does in
/// softirqs on our way through a veth pair is mostly booked on the sender, as it runs within its system call.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What each child does first: end with its parent, and allow itself the sockets that 1,000 TCP connections take.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn settle_child() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("end with the parent")?;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raise the limit of open files")
}

/// This program again, with `arguments`, in `namespace` if there is one.
///
/// # Errors
/// When the program cannot tell its own path.
pub(crate) fn this_program(namespace: Option<&str>, arguments: &[&str]) -> Result<Command> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = match namespace {
        None => Command::new(program),
        Some(namespace) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace]).arg(program);
            command
        }
    };
    command.args(arguments);
    Ok(command)
}

/// The server process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) target: Target,
}

impl Server {
    /// Starts a server that listens on `address` and waits until it does.
    ///
    /// # Errors
    /// When it cannot start, or ends before it listens.
    pub(crate) fn start(namespace: Option<&str>, address: IpAddr, certificates: &Path) -> Result<Self> {
        let folder = certificates.to_str().context("a temporary folder of a strange name")?;
        let mut child = this_program(namespace, &["server", &address.to_string(), folder])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server")?;
        let input = child.stdin.take().context("the server has no input")?;
        let mut output = BufReader::new(child.stdout.take().context("the server has no output")?);
        let mut line = String::new();
        output.read_line(&mut line).context("read the server's address")?;
        let target = Target::from_line(&line, certificates);
        if target.is_err() {
            end(&mut child);
        }
        Ok(Self {
            child,
            input,
            output,
            target: target?,
        })
    }

    /// CPU time of the server so far.
    ///
    /// # Errors
    /// When the server has ended.
    pub(crate) fn cpu_time(&mut self) -> Result<Duration> {
        writeln!(self.input, "cpu").context("ask the server")?;
        let mut line = String::new();
        self.output.read_line(&mut line).context("hear the server")?;
        let nanos: u64 = line.trim().parse().context("the server's CPU time")?;
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Server {
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

/// Serves the parent's questions until it closes our standard input.
///
/// # Errors
/// When an answer cannot be written.
pub(crate) fn answer_parent() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            break;
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", cpu_time().as_nanos())?;
        out.flush()?;
    }
    Ok(())
}
