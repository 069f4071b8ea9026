//! What the leader knows of the members, by its probes.
//!
//! Invariant: it is a memory of what was said, and decides nothing that the state depends on.

use std::{collections::BTreeMap, time::Duration};

use cairn_common::{ids::NodeId, wire::group::MemberReport};
use parking_lot::Mutex;
use tokio::time::Instant;

/// What the leader knows of the members.
#[derive(Default)]
pub(super) struct Members {
    seen: Mutex<BTreeMap<NodeId, Seen>>,
    /// Why no command is taken, where the leader's clock is wrong.
    clock_trouble: Mutex<Option<String>>,
}

/// What a member said at a probe.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) report: MemberReport,
    pub(super) at: Instant,
    /// Its wall clock less the leader's.
    pub(super) skew_ms: i64,
}

impl Members {
    /// Notes what a member said.
    pub(super) fn note(&self, member: NodeId, seen: Seen) {
        self.seen.lock().insert(member, seen);
    }

    /// What a member said last.
    pub(super) fn seen(&self, member: NodeId) -> Option<Seen> {
        self.seen.lock().get(&member).cloned()
    }

    /// Forgets all: another leader's time has begun.
    pub(super) fn forget(&self) {
        self.seen.lock().clear();
        self.note_clock_trouble(None);
    }

    /// Whether a member said within `recently` that its disk is nearly full.
    pub(super) fn any_low_on_space(&self, recently: Duration) -> bool {
        let seen = self.seen.lock();
        seen.values()
            .any(|seen| seen.report.is_low_on_space && seen.at.elapsed() <= recently)
    }

    /// Notes why no command is taken, or that nothing stands against them.
    pub(super) fn note_clock_trouble(&self, trouble: Option<String>) {
        *self.clock_trouble.lock() = trouble;
    }

    /// Why no command is taken.
    pub(super) fn clock_trouble(&self) -> Option<String> {
        self.clock_trouble.lock().clone()
    }
}
