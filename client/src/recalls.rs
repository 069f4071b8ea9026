//! A mount asks all the time what of its leases is recalled, which renews them, and lets go before it asks again.
//!
//! Invariant: leases count from when they were asked for; who lost them goes by nothing before it asks for others.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use cairn_common::{
    limits,
    wire::{
        kind::RequestKind,
        lease::{LeaseNews, LeasePoll},
    },
};
use tokio::time::{Instant, sleep};

use crate::{error::ClientError, leases::LeaseHolder, metadata::Shared};

/// How long an answer may take beyond the time that the service keeps the question: a leader that is gone is noticed within it.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// First and longest time between questions where they are not answered: a service of before leases answers none.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Shared {
    /// Goes by leases from now on, for as long as the client lives; whoever is told by `holder` lets go of them too.
    pub(crate) fn hold_leases(self: &Arc<Self>, holder: Arc<dyn LeaseHolder>) {
        if self.leases.set_holder(holder) {
            tokio::spawn(keep(Arc::downgrade(self)));
        }
    }

    /// Asks what is recalled, once, and lets go of it. Gives up to which recall it has let go; nothing where there are no leases.
    async fn follow_recalls(&self, asks: &mut Asking) -> Result<Option<u64>, ClientError> {
        let term = self.leases.term();
        if term == 0 {
            // Whatever was told before is gone before the service hears that none of it is gone by.
            self.leases.lose().await;
        }
        let asked_at = Instant::now();
        let news = self.poll_leases(asks, term).await?;
        if news.length_ms == 0 {
            return Ok(None);
        }
        self.leases.release(&news.recalled).await;
        let until = asked_at + Duration::from_millis(news.length_ms.into());
        self.leases.renew(term, news.term, until);
        Ok(Some(asks.released.max(news.newest)))
    }

    async fn poll_leases(&self, asks: &mut Asking, term: u64) -> Result<LeaseNews, ClientError> {
        if term == 0 {
            asks.begun += 1;
            // Numbers of recalls are those of one leader.
            asks.released = 0;
        }
        let mut poll = LeasePoll {
            session: asks.session,
            term,
            released: asks.released,
            group: 0,
            begun: asks.begun,
        };
        let within = Duration::from_millis(limits::LEASE_POLL_MS) + ANSWER_GRACE;
        self.router.send_once(RequestKind::LeasePoll, &mut poll, within).await
    }
}

/// What a mount says when it asks.
#[derive(Default)]
struct Asking {
    session: u64,
    /// It has let go of all that was recalled up to this number.
    released: u64,
    /// How often it has begun.
    begun: u64,
}

/// Keeps the leases of a mount for as long as its client lives.
async fn keep(shared: Weak<Shared>) {
    let mut asks = Asking::default();
    let mut pause = PAUSE.0;
    while let Some(shared) = shared.upgrade() {
        let own = shared.session();
        let is_other = own.is_retired() || own.id().value() != asks.session;
        if is_other || shared.leases.is_full() {
            let had_leases = shared.leases.term() != 0;
            shared.leases.lose().await;
            if is_other && had_leases {
                // So that nobody waits for the session of before.
                let told = shared.poll_leases(&mut asks, 0).await;
                tracing::debug!(?told, "a session that was given up holds no leases");
            }
            asks.session = own.id().value();
        }
        let followed = if own.is_retired() {
            // Whoever needs a session opens another.
            Ok(None)
        } else {
            shared.follow_recalls(&mut asks).await
        };
        let had_leases = shared.leases.term() != 0;
        match followed {
            Ok(Some(through)) => {
                asks.released = through;
                pause = PAUSE.0;
                continue;
            }
            Ok(None) => {
                shared.leases.lose().await;
                if had_leases {
                    continue;
                }
            }
            Err(error) => tracing::debug!(%error, "leases of files were not renewed"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}
