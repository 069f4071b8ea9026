//! What a slot does, as the engine sees it. A new workload implements these two.

use std::sync::atomic::AtomicBool;

use crate::failure::OpError;

/// Operations by number. What operation `n` does follows from `n` and the seed as far as the target's answers allow.
pub(crate) trait Workload: Sync {
    /// The part of it that one slot does; `halt` ends its waits.
    fn worker<'a>(&'a self, slot: u32, halt: &'a AtomicBool) -> Box<dyn Worker + 'a>;

    /// Whether other threads than the slots work for it, so that its cost is that of the whole process.
    fn works_in_background(&self) -> bool {
        false
    }
}

/// One slot's part.
pub(crate) trait Worker {
    /// Decides what operation `number` is, and names its kind; `None` where there is nothing left to do.
    fn plan(&mut self, number: u64) -> Option<&'static str>;

    /// Opens what the operation needs. In a closed loop the time it takes is nobody's.
    fn connect(&mut self) -> Result<(), OpError>;

    /// Does what was planned; returns the bytes that it moved. Called once for each plan, unless `connect` failed.
    fn perform(&mut self) -> Result<u64, OpError>;

    /// What is left to be done after the last operation: its time is part of the phase, and of no operation.
    fn finish(&mut self) -> Result<(), OpError> {
        Ok(())
    }
}
