//! CPU time and memory of this tool's threads and of server processes, from /proc or a server's own word. Reads only; a process that is gone
//! is an error, never a zero.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::admin::{fetch, metric};

/// Linux counts process times in ticks of 1/100 s on every architecture this tool runs on, whatever the kernel's own
/// timer frequency.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time and memory of the watched servers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ServerUsage {
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
    /// The most each process ever had, added up.
    pub(crate) rss_peak_bytes: u64,
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
        let value = |name| metric(&metrics, name).with_context(|| format!("{admin} has no metric {name}"));
        let rss_bytes = value("cairn_resident_bytes")? as u64;
        Ok(Self {
            cpu: Duration::try_from_secs_f64(value("cairn_cpu_seconds")?).unwrap_or_default(),
            rss_bytes,
            // It does not say what it once had.
            rss_peak_bytes: rss_bytes,
        })
    }

    fn of_processes(pids: &[u32]) -> Result<Self> {
        let mut total = Self::default();
        for pid in pids {
            let read = |file: &str| {
                let path = format!("/proc/{pid}/{file}");
                fs::read_to_string(&path).with_context(|| format!("cannot read {path}: is the server running?"))
            };
            let (stat, status) = (read("stat")?, read("status")?);
            total.cpu += cpu_in_stat(&stat).with_context(|| format!("/proc/{pid}/stat is not as expected"))?;
            // A process that has just died has no memory lines any more.
            total.rss_bytes += kibibytes_in_status(&status, "VmRSS:").unwrap_or(0) << 10;
            total.rss_peak_bytes += kibibytes_in_status(&status, "VmHWM:").unwrap_or(0) << 10;
        }
        Ok(total)
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

/// User and system time, fields 14 and 15; the second field, the name, may hold spaces and parentheses.
fn cpu_in_stat(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
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
            usage.rss_bytes > 1 << 16 && usage.rss_peak_bytes >= usage.rss_bytes,
            "{usage:?}"
        );
        assert!(ServerUsage::of_processes(&[u32::MAX]).is_err());
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
