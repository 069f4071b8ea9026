//! What a load under faults did, and how long it had to wait.
//!
//! *Invariant*: an outage is the time in which nobody's operation of a kind succeeded though somebody wanted it; a wait is that of one
//! operation, from its first attempt to its success.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What operations are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

/// Counters that all clients share.
#[derive(Debug)]
pub(super) struct Measures {
    begun: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    reads: OfKind,
    writes: OfKind,
    faults: Vec<String>,
    full_redundancy: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
struct OfKind {
    succeeded: u64,
    bytes: u64,
    /// Attempts that were refused, or of which nothing was heard.
    repeated: u64,
    longest_wait: Waited,
    longest_outage: Waited,
    last_success: Option<Duration>,
    /// Operations under way.
    wanted: u64,
}

/// A time, and when since the beginning it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Waited {
    length: Duration,
    at: Duration,
}

/// An operation under way.
#[derive(Debug)]
#[must_use = "it is under way until it is told what came of it"]
pub(super) struct Begun {
    kind: Kind,
    at: Duration,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            inner: Mutex::default(),
        }
    }
}

impl Measures {
    /// Time since the beginning.
    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Somebody wants an operation.
    pub(super) fn begin(&self, kind: Kind) -> Begun {
        let at = self.now();
        let mut inner = self.lock();
        let of_kind = inner.of(kind);
        if of_kind.wanted == 0 {
            // Until now nobody wanted one.
            of_kind.last_success = Some(at);
        }
        of_kind.wanted += 1;
        Begun { kind, at }
    }

    /// An attempt has failed and is repeated.
    pub(super) fn repeat(&self, kind: Kind) {
        self.lock().of(kind).repeated += 1;
    }

    /// It succeeded, with so many bytes.
    pub(super) fn succeed(&self, begun: Begun, bytes: usize) {
        let now = self.now();
        let mut inner = self.lock();
        let of_kind = inner.of(begun.kind);
        of_kind.wanted -= 1;
        of_kind.succeeded += 1;
        of_kind.bytes += bytes as u64;
        let from = of_kind.last_success.unwrap_or(begun.at);
        let waited = |at: Duration| Waited {
            length: now.saturating_sub(at),
            at,
        };
        of_kind.longest_outage = of_kind.longest_outage.max(waited(from));
        of_kind.longest_wait = of_kind.longest_wait.max(waited(begun.at));
        of_kind.last_success = Some(now);
    }

    /// A fault was injected.
    pub(super) fn fault(&self, what: String) {
        self.lock().faults.push(what);
    }

    /// From the end of the last fault to full redundancy.
    pub(super) fn full_redundancy(&self, after: Duration) {
        self.lock().full_redundancy = Some(after);
    }

    /// The lines of a report.
    pub(super) fn lines(&self) -> Vec<String> {
        let inner = self.lock();
        let mut lines = vec![
            format!("reads         {}", inner.reads),
            format!("writes        {}", inner.writes),
            format!("faults        {}", inner.faults.len()),
        ];
        if let Some(after) = inner.full_redundancy {
            lines.push(format!("redundancy    full again after {:.1} s", after.as_secs_f64()));
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the lock panics")
    }
}

impl Inner {
    const fn of(&mut self, kind: Kind) -> &mut OfKind {
        match kind {
            Kind::Read => &mut self.reads,
            Kind::Write => &mut self.writes,
        }
    }
}

impl fmt::Display for OfKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} operations, {} MiB, {} attempts repeated, longest outage {}, longest wait {}",
            self.succeeded,
            self.bytes >> 20,
            self.repeated,
            self.longest_outage,
            self.longest_wait
        )
    }
}

impl fmt::Display for Waited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.2} s (at {:.1} s)",
            self.length.as_secs_f64(),
            self.at.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_nobody_wants_anything_is_no_outage() {
        let measures = Measures::default();
        let first = measures.begin(Kind::Read);
        measures.succeed(first, 10);
        let until = measures.now() + Duration::from_millis(30);
        crate::wait::until("time passes", Duration::from_secs(10), || {
            Ok((measures.now() >= until).then_some(()))
        })
        .expect("it does");
        let second = measures.begin(Kind::Read);
        measures.succeed(second, 10);
        let inner = measures.lock();
        assert_eq!(inner.reads.succeeded, 2);
        assert!(inner.reads.longest_outage.length < Duration::from_millis(30));
        assert!(inner.writes.last_success.is_none());
    }
}
