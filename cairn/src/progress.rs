//! How far a long piece of work is, on standard error: a bar in a terminal, a line now and then elsewhere. Never touches
//! standard output, which is for results.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Time between two states of the bar, and between two lines.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

const BAR_WIDTH: u64 = 30;

/// Shows the progress of one piece of work.
pub(crate) struct Progress {
    label: &'static str,
    is_terminal: bool,
    shown: Mutex<Shown>,
}

struct Shown {
    next: Instant,
    any: bool,
}

impl Progress {
    pub(crate) fn new(label: &'static str) -> Self {
        let is_terminal = stderr().is_terminal();
        let shown = Shown {
            next: Instant::now() + if is_terminal { BAR_INTERVAL } else { LINE_INTERVAL },
            any: false,
        };
        Self {
            label,
            is_terminal,
            shown: Mutex::new(shown),
        }
    }

    /// `done` of `total` bytes.
    pub(crate) fn bytes(&self, done: u64, total: u64) {
        self.show(|| {
            let share = done
                .checked_mul(100)
                .and_then(|done| done.checked_div(total))
                .unwrap_or(100);
            let text = format!("{share:3} %  {} of {} MiB", done >> 20, total >> 20);
            if self.is_terminal {
                format!("{} {text}", bar(done, total))
            } else {
                text
            }
        });
    }

    /// `done` of `total` parts, of which there may become more.
    pub(crate) fn parts(&self, done: u64, total: u64) {
        self.show(|| {
            let text = format!("{done} of {total}");
            if self.is_terminal {
                format!("{} {text}", bar(done, total))
            } else {
                text
            }
        });
    }

    /// So many records, the last of this kind.
    pub(crate) fn records(&self, kind: &str, count: u64) {
        self.show(|| format!("{count} records, at {kind}"));
    }

    fn show(&self, text: impl FnOnce() -> String) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now < shown.next {
            return;
        }
        shown.any = true;
        let (line, interval) = if self.is_terminal {
            (format!("\r\x1b[K{} {}", self.label, text()), BAR_INTERVAL)
        } else {
            (format!("{} {}\n", self.label, text()), LINE_INTERVAL)
        };
        shown.next = now + interval;
        // Progress that cannot be shown is no reason to stop.
        let mut out = stderr().lock();
        let _ = out.write_all(line.as_bytes());
        let _ = out.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let shown = self.shown.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.is_terminal && shown.any {
            let _ = stderr().lock().write_all(b"\r\x1b[K");
        }
    }
}

fn bar(done: u64, total: u64) -> String {
    let filled = done.saturating_mul(BAR_WIDTH).checked_div(total).unwrap_or(BAR_WIDTH);
    (0..BAR_WIDTH)
        .map(|place| if place < filled { '█' } else { '░' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_up() {
        assert_eq!(bar(0, 10), "░".repeat(30));
        assert_eq!(bar(5, 10), "█".repeat(15) + &"░".repeat(15));
        assert_eq!(bar(0, 0), "█".repeat(30));
    }
}
