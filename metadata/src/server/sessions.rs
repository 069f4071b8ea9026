//! Ends sessions whose lease has run out.
//!
//! Leases count this server's monotonic clock and begin anew, in full, each time it becomes the leader: what the leader
//! before had counted is not known here. It must never end a session that gave a
//! sign of life within its lease. Invariant: a session ends only by a command, so all replicas agree on it.

use std::{sync::Arc, time::Duration};

use cairn_common::{
    ids::SessionId,
    wire::command::{Command, EndSession},
};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    leases::Leases,
    metrics::{Metrics, gauge_value},
    proposer::Proposer,
};
use crate::raft::{Machine, RaftNode};

/// Looks within one lease: a session is ended at most a tenth of its lease late.
const LOOKS_PER_LEASE: u32 = 10;
/// Sessions ended at once.
const ENDED_IN_PARALLEL: usize = 64;

/// Signs of life of sessions. Clones share them.
#[derive(Clone)]
pub(super) struct Sessions {
    started: Instant,
    lease: Duration,
    leases: Arc<Mutex<Leases>>,
}

impl Sessions {
    /// Sessions with leases of this length, all beginning now.
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            started: Instant::now(),
            lease,
            leases: Arc::new(Mutex::new(Leases::new(lease))),
        }
    }

    /// Notes that `session` is alive.
    pub(super) fn note_sign_of_life(&self, session: SessionId) {
        let now = self.started.elapsed();
        self.leases.lock().handle_sign_of_life(session, now);
    }

    /// Ends expired sessions for as long as it is polled, all leases beginning when it is first.
    pub(super) async fn run(self, node: RaftNode, machine: Arc<dyn Machine>, proposer: Proposer, metrics: Metrics) {
        *self.leases.lock() = Leases::new(self.lease);
        let mut looks = interval(self.lease / LOOKS_PER_LEASE);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let live = node.state().read(|view, _| machine.live_sessions(view));
            let expired = match live {
                Ok(live) => self.look(&live),
                Err(error) => {
                    tracing::warn!(%error, "the sessions cannot be read; none is ended");
                    continue;
                }
            };
            metrics.sessions.set(gauge_value(self.leases.lock().count()));
            stream::iter(expired)
                .for_each_concurrent(ENDED_IN_PARALLEL, |session| end_session(session, &proposer, &metrics))
                .await;
        }
    }

    fn look(&self, live: &[SessionId]) -> Vec<SessionId> {
        let now = self.started.elapsed();
        let mut leases = self.leases.lock();
        leases.handle_live_sessions(live, now);
        leases.expired(now)
    }
}

async fn end_session(session: SessionId, proposer: &Proposer, metrics: &Metrics) {
    let command = Command::EndSession(EndSession {
        session: session.value(),
    });
    match proposer.submit_own(command).await {
        Ok(_) => {
            metrics.sessions_expired.inc();
            tracing::info!(%session, "the session gave no sign of life within its lease and was ended");
        }
        Err(error) => tracing::debug!(%session, %error, "the expired session will be ended at the next look"),
    }
}
