//! Progress on standard error while a phase runs: one line that changes on a terminal, a line now and then in a log. Never
//! touches standard output, which is for results.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::limits::{PLAIN_PROGRESS_INTERVAL, SAMPLE_INTERVAL};

/// Shows how far one phase has come.
pub(crate) struct Progress<'a> {
    label: &'a str,
    on_terminal: bool,
    interval: Duration,
    next: Duration,
    last: Duration,
    last_counts: [u64; 3],
}

impl<'a> Progress<'a> {
    pub(crate) fn new(label: &'a str) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let interval = if on_terminal {
            SAMPLE_INTERVAL
        } else {
            PLAIN_PROGRESS_INTERVAL
        };
        Self {
            label,
            on_terminal,
            interval,
            next: interval,
            last: Duration::ZERO,
            last_counts: [0; 3],
        }
    }

    /// Prints a line where one is due. `counts`: operations, bytes and errors so far.
    pub(crate) fn show(&mut self, elapsed: Duration, counts: [u64; 3]) {
        if elapsed < self.next {
            return;
        }
        let line = self.line(elapsed, counts);
        let mut out = std::io::stderr().lock();
        // Progress that cannot be shown is no reason to end a measurement.
        let _ = if self.on_terminal {
            // Back to the beginning of the line, and the rest of it cleared.
            write!(out, "\r{line}\x1b[K").and_then(|()| out.flush())
        } else {
            writeln!(out, "{line}")
        };
        while self.next <= elapsed {
            self.next += self.interval;
        }
        (self.last, self.last_counts) = (elapsed, counts);
    }

    /// Makes room for what comes next.
    pub(crate) fn finish(&self) {
        if self.on_terminal && self.last > Duration::ZERO {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
        }
    }

    fn line(&self, elapsed: Duration, [ops, bytes, errors]: [u64; 3]) -> String {
        let seconds = (elapsed - self.last).as_secs_f64();
        let [last_ops, last_bytes, _] = self.last_counts;
        let ops_rate = (ops - last_ops) as f64 / seconds;
        let byte_rate = (bytes - last_bytes) as f64 / seconds / 1e9;
        let Self { label, .. } = self;
        let at = elapsed.as_secs_f64();
        format!("{label} {at:.0} s: {ops} done, {ops_rate:.0} ops/s, {byte_rate:.3} GB/s, {errors} errors")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_rate_since_the_last_one() {
        let mut progress = Progress::new("put");
        (progress.last, progress.last_counts) = (Duration::from_secs(5), [100, 1_000_000_000, 0]);
        let line = progress.line(Duration::from_secs(7), [300, 5_000_000_000, 2]);
        assert_eq!(line, "put 7 s: 300 done, 100 ops/s, 2.000 GB/s, 2 errors");
    }
}
