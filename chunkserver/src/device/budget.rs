//! Bytes that may be in memory at once on their way to a device or from it.
//!
//! Invariant: who waits holds nothing yet, so waiting always ends; a piece larger than the budget takes all of it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units of this.
const UNIT: usize = 4 << 10;

/// A number of bytes that are shared out.
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    total: u32,
}

/// A part of it, given back when it is dropped.
pub(crate) struct Share {
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self {
            units: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// A share for `bytes`, where it is there at once.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Share> {
        let taken = Arc::clone(&self.units).try_acquire_many_owned(self.units_of(bytes));
        taken.ok().map(|permit| Share { _permit: permit })
    }

    /// Waits for a share for `bytes`, in the order of asking.
    pub(crate) async fn take(&self, bytes: usize) -> Share {
        let taken = Arc::clone(&self.units).acquire_many_owned(self.units_of(bytes)).await;
        let permit = taken.expect("it is never closed");
        Share { _permit: permit }
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_comes_back_when_it_is_dropped() {
        let budget = Budget::new(10 * UNIT);
        let share = budget.try_take(6 * UNIT).expect("there is room");
        assert!(budget.try_take(5 * UNIT).is_none());
        drop(share);
        assert!(budget.try_take(10 * UNIT).is_some());
    }

    #[tokio::test]
    async fn what_is_larger_than_all_takes_all() {
        let budget = Budget::new(UNIT);
        let all = budget.take(100 * UNIT).await;
        assert!(budget.try_take(1).is_none());
        drop(all);
        assert!(budget.try_take(1).is_some());
    }
}
