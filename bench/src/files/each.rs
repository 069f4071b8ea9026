//! A phase that does one thing with each of a row of files or folders, by number: what preparing, checking, unpacking and the steps
//! of a tree have in common. Knows no file system.

use std::sync::atomic::AtomicBool;

use crate::engine::{Worker, Workload};
use crate::failure::OpError;

/// Does `act` with the numbers from 0; it returns the bytes that it moved.
pub(crate) struct Each<F> {
    label: &'static str,
    /// Absent where the phase's own end is the only one.
    count: Option<u64>,
    act: F,
}

struct EachWorker<'a, F> {
    work: &'a Each<F>,
    number: u64,
}

impl<F: Fn(u64) -> Result<u64, OpError> + Sync> Each<F> {
    /// Of `count` things.
    pub(crate) fn of(label: &'static str, count: u64, act: F) -> Self {
        let count = Some(count);
        Self { label, count, act }
    }

    /// As long as the phase lasts.
    pub(crate) fn endless(label: &'static str, act: F) -> Self {
        let count = None;
        Self { label, count, act }
    }
}

impl<F: Fn(u64) -> Result<u64, OpError> + Sync> Workload for Each<F> {
    fn worker<'a>(&'a self, _slot: u32, _halt: &'a AtomicBool) -> Box<dyn Worker + 'a> {
        Box::new(EachWorker { work: self, number: 0 })
    }
}

impl<F: Fn(u64) -> Result<u64, OpError>> Worker for EachWorker<'_, F> {
    fn plan(&mut self, number: u64) -> Option<&'static str> {
        self.number = number;
        let is_there = self.work.count.is_none_or(|count| number < count);
        is_there.then_some(self.work.label)
    }

    fn connect(&mut self) -> Result<(), OpError> {
        Ok(())
    }

    fn perform(&mut self) -> Result<u64, OpError> {
        (self.work.act)(self.number)
    }
}
