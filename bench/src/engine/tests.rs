//! What the engine makes of what a workload does.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::failure::OpError;
use crate::load::{Bound, Pace};
use crate::measure::Servers;
use crate::stop::Stop;

/// Operations that do nothing, and an end that fails.
#[derive(Default)]
struct LastSyncFails {
    finished: AtomicU32,
}

struct Slot<'a>(&'a LastSyncFails);

impl Workload for LastSyncFails {
    fn worker<'a>(&'a self, _slot: u32, _halt: &'a AtomicBool) -> Box<dyn Worker + 'a> {
        Box::new(Slot(self))
    }
}

impl Worker for Slot<'_> {
    fn plan(&mut self, _number: u64) -> Option<&'static str> {
        Some("write")
    }

    fn connect(&mut self) -> Result<(), OpError> {
        Ok(())
    }

    fn perform(&mut self) -> Result<u64, OpError> {
        Ok(1)
    }

    fn finish(&mut self) -> Result<(), OpError> {
        self.0.finished.fetch_add(1, Ordering::Relaxed);
        Err(OpError::Protocol("the last sync failed".to_owned()))
    }
}

#[test]
fn every_slot_is_finished_and_its_failure_counts() {
    let (work, stop) = (LastSyncFails::default(), Stop::default());
    let servers = Servers { pids: &[], admin: None };
    let plan = PhasePlan {
        label: "write",
        workload: &work,
        bound: Bound::Count(10),
        pace: Pace::Closed,
        warm_up: Duration::ZERO,
        concurrency: 3,
    };
    let result = run_phase(Watch { stop: &stop, servers }, plan).unwrap();
    assert_eq!((result.total.ops, result.total.bytes), (10, 10));
    assert_eq!((work.finished.into_inner(), result.failures()), (3, 3));
}
