//! Devices that failed lately. A hint shared by all chunks of the process: it saves the next one the same failure.
//!
//! Invariant: a suspicion ends by itself, so that a device that came back is used again without anybody's doing; it alone
//! never makes data unreadable, since readers ask suspects last but do ask them.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use cairn_common::{
    ids::DeviceId,
    limits::{DEVICE_BUSY_MS, DEVICE_SUSPECT_MS},
};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Why a device is avoided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Suspicion {
    /// It has much to do, or did not answer in time. Used where there is no other.
    Strained,
    /// It did not answer a read while others did. Not read where others suffice; written to like a strained one.
    Late,
    /// It has no room. Read as any other, not written to.
    Full,
    /// It refused: down, unreachable, not the one that was meant.
    Failing,
}

/// The suspects of a process.
#[derive(Default)]
pub(crate) struct Suspects {
    until: Mutex<HashMap<DeviceId, (Suspicion, Instant)>>,
}

/// The suspects at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Avoided {
    pub(crate) strained: BTreeSet<DeviceId>,
    pub(crate) late: BTreeSet<DeviceId>,
    pub(crate) full: BTreeSet<DeviceId>,
    pub(crate) failing: BTreeSet<DeviceId>,
}

impl Suspects {
    /// A request to `device` failed.
    pub(crate) fn mark(&self, device: DeviceId, suspicion: Suspicion, now: Instant, busy: bool) {
        let duration_ms = if busy { DEVICE_BUSY_MS } else { DEVICE_SUSPECT_MS };
        let until = now + Duration::from_millis(duration_ms);
        let mut all = self.until.lock();
        let entry = all.entry(device).or_insert((suspicion, until));
        *entry = (entry.0.max(suspicion), entry.1.max(until));
    }

    /// A write to `device` was acknowledged.
    pub(crate) fn clear(&self, device: DeviceId) {
        self.until.lock().remove(&device);
    }

    /// Who is to be avoided now.
    pub(crate) fn at(&self, now: Instant) -> Avoided {
        let mut all = self.until.lock();
        all.retain(|_, (_, until)| *until > now);
        let mut avoided = Avoided::default();
        for (device, (suspicion, _)) in all.iter() {
            match suspicion {
                Suspicion::Strained => avoided.strained.insert(*device),
                Suspicion::Late => avoided.late.insert(*device),
                Suspicion::Full => avoided.full.insert(*device),
                Suspicion::Failing => avoided.failing.insert(*device),
            };
        }
        avoided
    }
}

impl Avoided {
    /// Whether `device` is under a suspicion that keeps writers away.
    pub(crate) fn holds(&self, device: DeviceId) -> bool {
        let Self {
            strained,
            late,
            full,
            failing,
        } = self;
        [strained, late, full, failing]
            .iter()
            .any(|some| some.contains(&device))
    }

    /// The same without those that are only strained or late.
    pub(crate) fn without_strained(self) -> Self {
        Self {
            strained: BTreeSet::new(),
            late: BTreeSet::new(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn suspicions_end_and_the_graver_one_stays() {
        let (suspects, start) = (Suspects::default(), Instant::now());
        let (first, second) = (DeviceId::new(1), DeviceId::new(2));
        suspects.mark(first, Suspicion::Failing, start, false);
        suspects.mark(first, Suspicion::Strained, start, true);
        suspects.mark(second, Suspicion::Strained, start, true);
        let avoided = suspects.at(start);
        assert_eq!((avoided.failing.len(), avoided.strained.len()), (1, 1));
        let later = start + Duration::from_millis(DEVICE_BUSY_MS);
        assert!(!suspects.at(later).holds(second) && suspects.at(later).holds(first));
        assert!(
            !suspects
                .at(start + Duration::from_millis(DEVICE_SUSPECT_MS))
                .holds(first)
        );
    }
}
