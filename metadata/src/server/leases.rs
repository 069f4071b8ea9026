//! Which sessions are alive, by their leases. Pure: it is told the time.
//!
//! It must never shorten a lease. Invariant: a session is reported expired only when its whole lease has passed since it
//! was first seen here, or since its last sign of life.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use cairn_common::ids::SessionId;

/// Leases, in time since some start of the caller's choosing.
#[derive(Debug)]
pub(super) struct Leases {
    length: Duration,
    ends: HashMap<SessionId, Duration>,
}

impl Leases {
    /// No sessions yet; each will live `length` after a sign of life.
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            ends: HashMap::new(),
        }
    }

    /// A sign of life of `session`.
    pub(super) fn handle_sign_of_life(&mut self, session: SessionId, now: Duration) {
        self.ends.insert(session, now + self.length);
    }

    /// The sessions that the state holds: new ones begin a full lease, ended ones are forgotten.
    pub(super) fn handle_live_sessions(&mut self, live: &[SessionId], now: Duration) {
        let live_set: HashSet<_> = live.iter().copied().collect();
        self.ends.retain(|session, _| live_set.contains(session));
        for session in live {
            self.ends.entry(*session).or_insert(now + self.length);
        }
    }

    /// Sessions whose lease has run out.
    pub(super) fn expired(&self, now: Duration) -> Vec<SessionId> {
        let mut expired: Vec<_> = self
            .ends
            .iter()
            .filter(|(_, end)| **end <= now)
            .map(|(session, _)| *session)
            .collect();
        expired.sort_unstable();
        expired
    }

    /// How many sessions are alive.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_runs_from_the_last_sign_of_life() {
        let (quiet, busy) = (SessionId::new(1), SessionId::new(2));
        let mut leases = Leases::new(LEASE);
        leases.handle_live_sessions(&[quiet, busy], at(0));
        leases.handle_sign_of_life(busy, at(20));
        leases.handle_live_sessions(&[quiet, busy], at(29));
        assert_eq!(leases.expired(at(29)), []);
        assert_eq!(leases.expired(at(30)), [quiet]);
        assert_eq!(leases.expired(at(50)), [quiet, busy]);
    }

    #[test]
    fn ended_sessions_are_forgotten() {
        let mut leases = Leases::new(LEASE);
        leases.handle_live_sessions(&[SessionId::new(1)], at(0));
        leases.handle_live_sessions(&[], at(1));
        assert_eq!(leases.expired(at(100)), []);
        assert_eq!(leases.count(), 0);
    }
}
