//! CPU time and memory of this tool's threads and of server processes, from /proc or a server's own word. Reads only; a process that is gone
//! is an error, never a zero.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::admin::{fetch, metric};
use crate::url::shown_url;

/// Linux counts process times in ticks of 1/100 s on every architecture this tool runs on, whatever the kernel's own
/// timer frequency.
const TICKS_PER_SECOND: u64 = 100;

/// Numbers of fields in proc_pid_stat(5).
const USER_FIELD: usize = 14;
const SYSTEM_FIELD: usize = 15;
const STARTED_FIELD: usize = 22;

/// CPU time and memory of the watched servers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ServerUsage {
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
    /// The most each process ever had, added up; a server's own word has no such thing.
    pub(crate) rss_peak_bytes: Option<u64>,
    run: Run,
}

/// What tells a server from the one that is started in its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Run {
    /// When the processes were started, in ticks since the machine was, added up.
    started_ticks: u64,
    /// For how long a server says that it has run.
    told_age: Duration,
}

/// The servers that are watched: by their processes on this machine or, where none is named, by what one says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Servers<'a> {
    pub(crate) pids: &'a [u32],
    pub(crate) admin: Option<&'a str>,
}

impl Servers<'_> {
    pub(crate) fn are_watched(self) -> bool {
        !self.pids.is_empty() || self.admin.is_some()
    }
}

impl ServerUsage {
    /// # Errors
    /// A process that does not exist or cannot be read, a server that does not answer.
    pub(crate) fn of(servers: Servers<'_>) -> Result<Self> {
        match servers.admin.filter(|_| servers.pids.is_empty()) {
            Some(admin) => Self::told_by(admin),
            None => Self::of_processes(servers.pids),
        }
    }

    fn told_by(admin: &str) -> Result<Self> {
        let metrics = fetch(admin, "/metrics")?;
        let value = |name| metric(&metrics, name).with_context(|| format!("{} has no metric {name}", shown_url(admin)));
        let seconds = |name| value(name).map(|value| Duration::try_from_secs_f64(value).unwrap_or_default());
        Ok(Self {
            cpu: seconds("cairn_cpu_seconds")?,
            rss_bytes: value("cairn_resident_bytes")? as u64,
            rss_peak_bytes: None,
            run: Run {
                told_age: seconds("cairn_uptime_seconds")?,
                ..Run::default()
            },
        })
    }

    fn of_processes(pids: &[u32]) -> Result<Self> {
        let mut total = Self::default();
        let mut peak_bytes = 0;
        for pid in pids {
            let read = |file: &str| {
                let path = format!("/proc/{pid}/{file}");
                fs::read_to_string(&path).with_context(|| format!("cannot read {path}: is the server running?"))
            };
            let (stat, status) = (read("stat")?, read("status")?);
            let odd = || format!("/proc/{pid}/stat is not as expected");
            total.cpu += cpu_in_stat(&stat).with_context(odd)?;
            total.run.started_ticks += number_in_stat(&stat, STARTED_FIELD).with_context(odd)?;
            // A process that has just died has no memory lines any more.
            total.rss_bytes += kibibytes_in_status(&status, "VmRSS:").unwrap_or(0) << 10;
            peak_bytes += kibibytes_in_status(&status, "VmHWM:").unwrap_or(0) << 10;
        }
        total.rss_peak_bytes = Some(peak_bytes);
        Ok(total)
    }

    /// CPU time from `before` until now.
    ///
    /// # Errors
    /// Servers that are others than those before, as a restart leaves them.
    pub(crate) fn cpu_since(&self, before: &Self) -> Result<Duration> {
        let is_same = self.run.started_ticks == before.run.started_ticks && self.run.told_age >= before.run.told_age;
        let used = self.cpu.checked_sub(before.cpu).filter(|_| is_same);
        used.context("a server was started anew during the phase, so that its CPU time is not known")
    }
}

/// CPU time the calling thread has used. Per thread rather than per process, so that a server in the same process is
/// not counted in.
pub(crate) fn thread_cpu() -> Duration {
    let exact = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let exact = exact.and_then(|text| text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos));
    exact
        .or_else(|| {
            fs::read_to_string("/proc/thread-self/stat")
                .ok()
                .and_then(|stat| cpu_in_stat(&stat))
        })
        .unwrap_or_default()
}

/// CPU time of this whole process.
pub(crate) fn process_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    stat.and_then(|stat| cpu_in_stat(&stat)).unwrap_or_default()
}

/// User and system time.
fn cpu_in_stat(stat: &str) -> Option<Duration> {
    let ticks = number_in_stat(stat, USER_FIELD)? + number_in_stat(stat, SYSTEM_FIELD)?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// A field by its number in proc_pid_stat(5); the second one, the name, may hold spaces and parentheses.
fn number_in_stat(stat: &str, field: usize) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(field - 3)?.parse().ok()
}

fn kibibytes_in_status(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 100 1000 200 0";
        assert_eq!(cpu_in_stat(stat), Some(Duration::from_secs(3)));
        assert_eq!(number_in_stat(stat, STARTED_FIELD), Some(100));
        assert_eq!(cpu_in_stat("7 (a) S 1"), None);
    }

    #[test]
    fn memory_lines_are_read() {
        let status = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(kibibytes_in_status(status, "VmRSS:"), Some(1024));
        assert_eq!(kibibytes_in_status(status, "VmHWM:"), Some(2048));
        assert_eq!(kibibytes_in_status(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_is_measured() {
        let usage = ServerUsage::of_processes(&[std::process::id()]).unwrap();
        assert!(
            usage.rss_bytes > 1 << 16 && usage.rss_peak_bytes.unwrap() >= usage.rss_bytes,
            "{usage:?}"
        );
        assert!(ServerUsage::of_processes(&[u32::MAX]).is_err());
    }

    #[test]
    fn the_cpu_time_of_a_server_that_was_started_anew_is_not_known() {
        let usage = |cpu, started_ticks, age| ServerUsage {
            cpu: Duration::from_secs(cpu),
            run: Run {
                started_ticks,
                told_age: Duration::from_secs(age),
            },
            ..ServerUsage::default()
        };
        let before = usage(5, 100, 60);
        assert_eq!(usage(8, 100, 61).cpu_since(&before).unwrap(), Duration::from_secs(3));
        // Less than before; as much, of another process; as much, and younger.
        for after in [usage(1, 100, 61), usage(8, 101, 61), usage(8, 100, 2)] {
            let error = after.cpu_since(&before).unwrap_err();
            assert!(error.to_string().contains("started anew"), "{after:?}");
        }
    }

    #[test]
    fn a_busy_thread_uses_time() {
        let before = thread_cpu();
        let mut work = 0_u64;
        while thread_cpu() - before < Duration::from_millis(1) {
            work = std::hint::black_box(work + 1);
        }
        assert!(work > 0);
    }
}
