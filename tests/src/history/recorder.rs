//! Writes a history down while clients work.
//!
//! *Invariant*: an operation is in the history before it is sent, and its outcome is unknown until it is told. So a client
//! that is dropped in the middle leaves an operation of unknown outcome and never a gap.

use std::sync::Mutex;
use std::time::Instant;

use super::operation::{Operation, Outcome};
use super::specification::{Recorded, Specification};

/// A history in the making, shared by all clients.
pub struct Recorder<S: Specification> {
    began: Instant,
    operations: Mutex<Vec<Recorded<S>>>,
}

/// An operation that was begun.
#[derive(Debug)]
#[must_use = "without an outcome the operation stays unknown"]
pub struct Invocation(usize);

impl<S: Specification> Recorder<S> {
    /// A history whose times count from `began`. Histories of one run share it.
    #[must_use]
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            operations: Mutex::default(),
        }
    }

    /// Begins an operation. It is sent after this.
    ///
    /// # Panics
    /// Another user of the recorder has panicked.
    pub fn invoke(&self, process: usize, call: S::Call) -> Invocation {
        let invoked_ns = self.now_ns();
        let mut operations = self.lock();
        operations.push(Operation {
            process,
            call,
            invoked_ns,
            outcome: Outcome::Unknown,
        });
        Invocation(operations.len() - 1)
    }

    /// The operation was answered.
    ///
    /// # Panics
    /// Another user of the recorder has panicked.
    pub fn answered(&self, invocation: Invocation, reply: S::Reply) {
        let returned_ns = self.now_ns();
        self.end(invocation, Outcome::Answered { reply, returned_ns });
    }

    /// The operation has no effect, now or later.
    ///
    /// # Panics
    /// Another user of the recorder has panicked.
    pub fn failed(&self, invocation: Invocation) {
        let returned_ns = self.now_ns();
        self.end(invocation, Outcome::Failed { returned_ns });
    }

    /// Nanoseconds since the history began.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("no run takes centuries")
    }

    /// Operations begun so far.
    ///
    /// # Panics
    /// Another user of the recorder has panicked.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// How many of those begun after the first `begun` are `wanted`.
    ///
    /// # Panics
    /// Another user of the recorder has panicked.
    pub fn count_since(&self, begun: usize, wanted: impl Fn(&Recorded<S>) -> bool) -> usize {
        let operations = self.lock();
        operations[begun..].iter().filter(|operation| wanted(operation)).count()
    }

    /// Everything so far, in the order of invocations.
    ///
    /// # Panics
    /// Another user of the recorder has panicked.
    #[must_use]
    pub fn history(&self) -> Vec<Recorded<S>> {
        self.lock().clone()
    }

    fn end(&self, Invocation(index): Invocation, outcome: Outcome<S::Reply>) {
        self.lock()[index].outcome = outcome;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Recorded<S>>> {
        self.operations.lock().expect("no holder of the lock panics")
    }
}
