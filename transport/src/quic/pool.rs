//! The connections to other nodes: made when first needed, shared, made anew after they end.
//!
//! Invariant: one connection is made at a time to each (node, class, index), whoever asks; a node that could not be reached is
//! left alone for a growing pause, in which calls fail at once.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use cairn_common::{ids::NodeId, wire::kind::TrafficClass};
use parking_lot::{Mutex, RwLock};
use quinn::Connection;
use rustls::pki_types::CertificateDer;
use tokio::{sync::watch, time::Instant};

use super::{
    backoff,
    codes::CloseCode,
    dial::{Dialed, Dialer},
    path::connection_figures,
};
use crate::{
    Identity,
    metrics::{Path, PathFigures, PeerCounts, Side, TransportMetrics},
};

/// Where nodes are called. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct NodeAddresses(Arc<RwLock<HashMap<NodeId, SocketAddr>>>);

/// Connections to other nodes.
pub(super) struct Pool {
    dialer: Dialer,
    identity: Identity,
    addresses: NodeAddresses,
    metrics: TransportMetrics,
    peers: Mutex<HashMap<NodeId, Arc<PeerSlots>>>,
    /// The pool itself, for the tasks that make connections.
    own: Weak<Pool>,
}

/// All connections to one node.
struct PeerSlots {
    node: NodeId,
    counts: Arc<PeerCounts>,
    control: Mutex<Slot>,
    bulk: Vec<Mutex<Slot>>,
    next_bulk: AtomicUsize,
}

/// The place of one connection.
#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    /// Being made; the outcome is told to all who wait.
    Dialing(watch::Receiver<Option<Outcome>>),
    Connected(Arc<Pooled>),
    /// Could not be made, `failures` times in a row; not tried again before `not_before`.
    Resting {
        failures: u32,
        not_before: Instant,
        reason: String,
    },
}

type Outcome = Result<Arc<Pooled>, String>;

/// A connection in the pool.
pub(super) struct Pooled {
    pub(super) connection: Connection,
    pub(super) counts: Arc<PeerCounts>,
    node: NodeId,
    class: TrafficClass,
    chain: Vec<CertificateDer<'static>>,
    bulk_ports: Vec<u16>,
    /// The identity's count of changes when it was made.
    made_at: u64,
}

impl NodeAddresses {
    /// No addresses.
    pub fn new() -> Self {
        Self::default()
    }

    /// New connections to `node` are made to `address`, UDP, from now on.
    pub fn set(&self, node: NodeId, address: SocketAddr) {
        self.0.write().insert(node, address);
    }

    fn of(&self, node: NodeId) -> Option<SocketAddr> {
        self.0.read().get(&node).copied()
    }
}

impl Pool {
    /// No connections yet.
    pub(super) fn new(
        dialer: Dialer,
        identity: Identity,
        addresses: NodeAddresses,
        metrics: TransportMetrics,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            dialer,
            identity,
            addresses,
            metrics,
            peers: Mutex::default(),
            own: own.clone(),
        })
    }

    /// What calls to `node` are counted by.
    pub(super) fn counts(&self, node: NodeId) -> Arc<PeerCounts> {
        Arc::clone(&self.peer(node).counts)
    }

    /// A live connection to `node`, made now where there is none. An error says why not; nothing was sent then.
    pub(super) async fn connection(&self, node: NodeId, class: TrafficClass) -> Outcome {
        let peer = self.peer(node);
        let index = match class {
            TrafficClass::Control => 0,
            TrafficClass::Bulk => peer.next_bulk.fetch_add(1, Ordering::Relaxed) % peer.bulk.len(),
        };
        self.slot_connection(&peer, class, index).await
    }

    /// Closes connections to nodes that are no longer trusted.
    pub(super) fn close_untrusted(&self) {
        let peers: Vec<_> = self.peers.lock().values().cloned().collect();
        for slot in peers
            .iter()
            .flat_map(|peer| std::iter::once(&peer.control).chain(&peer.bulk))
        {
            if let Slot::Connected(pooled) = &*slot.lock() {
                self.close_if_untrusted(pooled);
            }
        }
    }

    fn close_if_untrusted(&self, pooled: &Pooled) {
        if let Err(error) = self.identity.check(&pooled.chain, SystemTime::now()) {
            tracing::warn!(node = %pooled.node, %error, "closing a connection to a node that is no longer trusted");
            pooled.connection.close(CloseCode::Untrusted.number(), b"");
        }
    }

    /// Closes all connections.
    pub(super) async fn close(&self, within: std::time::Duration) {
        self.dialer.close(within).await;
    }

    fn peer(&self, node: NodeId) -> Arc<PeerSlots> {
        let mut peers = self.peers.lock();
        let peer = peers.entry(node).or_insert_with(|| {
            Arc::new(PeerSlots {
                node,
                counts: Arc::new(self.metrics.of_peer(node, Side::Caller)),
                control: Mutex::default(),
                bulk: (0..self.dialer.bulk_connections()).map(|_| Mutex::default()).collect(),
                next_bulk: AtomicUsize::new(0),
            })
        });
        Arc::clone(peer)
    }

    async fn slot_connection(&self, peer: &Arc<PeerSlots>, class: TrafficClass, index: usize) -> Outcome {
        let mut waiting = match self.look(peer, class, index) {
            Ok(found) => return found,
            Err(waiting) => waiting,
        };
        let outcome = waiting.wait_for(Option::is_some).await;
        match outcome.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err("the attempt to connect was given up".to_owned()),
        }
    }

    /// What the slot has: a connection, a refusal, or the outcome to wait for.
    fn look(
        &self,
        peer: &Arc<PeerSlots>,
        class: TrafficClass,
        index: usize,
    ) -> Result<Outcome, watch::Receiver<Option<Outcome>>> {
        let mut slot = peer.slot(class, index).lock();
        let failures = match &*slot {
            Slot::Connected(pooled) if self.is_usable(pooled) => return Ok(Ok(Arc::clone(pooled))),
            Slot::Connected(pooled) => {
                // It goes on with what it has begun, unless it must not.
                self.close_if_untrusted(pooled);
                0
            }
            Slot::Empty => 0,
            // A sender that has gone without an outcome died: the attempt is made anew.
            Slot::Dialing(outcome) if outcome.has_changed().is_ok() => return Err(outcome.clone()),
            Slot::Dialing(_) => 0,
            Slot::Resting { not_before, reason, .. } if *not_before > Instant::now() => return Ok(Err(reason.clone())),
            Slot::Resting { failures, .. } => *failures,
        };
        let (told, outcome) = watch::channel(None);
        *slot = Slot::Dialing(outcome.clone());
        drop(slot);
        let attempt = Attempt {
            peer: Arc::clone(peer),
            class,
            index,
            failures,
        };
        // A task of its own: the attempt goes on for others where the first caller gives up.
        if let Some(pool) = self.own.upgrade() {
            tokio::spawn(async move { pool.attempt(attempt, told).await });
        }
        Err(outcome)
    }

    fn is_usable(&self, pooled: &Pooled) -> bool {
        pooled.connection.close_reason().is_none() && pooled.made_at == self.identity.change_count()
    }

    async fn attempt(&self, attempt: Attempt, told: watch::Sender<Option<Outcome>>) {
        let outcome = self.dial(&attempt).await;
        let mut slot = attempt.peer.slot(attempt.class, attempt.index).lock();
        *slot = match &outcome {
            Ok(pooled) => Slot::Connected(Arc::clone(pooled)),
            Err(reason) => {
                let failures = attempt.failures.saturating_add(1);
                let mut random = [0; 8];
                // Without random bytes the pause is merely not spread.
                let _ = getrandom::fill(&mut random);
                Slot::Resting {
                    failures,
                    not_before: Instant::now() + backoff::pause(failures, u64::from_le_bytes(random)),
                    reason: reason.clone(),
                }
            }
        };
        drop(slot);
        told.send_replace(Some(outcome));
    }

    async fn dial(&self, attempt: &Attempt) -> Outcome {
        let node = attempt.peer.node;
        let made_at = self.identity.change_count();
        let Some(mut address) = self.addresses.of(node) else {
            return Err("no address of it is known".to_owned());
        };
        if attempt.class == TrafficClass::Bulk {
            let control = Box::pin(self.slot_connection(&attempt.peer, TrafficClass::Control, 0)).await?;
            let ports = &control.bulk_ports;
            if !ports.is_empty() {
                address.set_port(ports[attempt.index % ports.len()]);
            }
        }
        let dialed = self.dialer.dial(node, address, attempt.class).await?;
        let pooled = Arc::new(Pooled::new(dialed, attempt, made_at));
        let path: Weak<Pooled> = Arc::downgrade(&pooled);
        self.metrics.add_path(path);
        tracing::debug!(%node, %address, class = ?attempt.class, "connected");
        Ok(pooled)
    }
}

/// One attempt to fill a slot.
struct Attempt {
    peer: Arc<PeerSlots>,
    class: TrafficClass,
    index: usize,
    failures: u32,
}

impl PeerSlots {
    fn slot(&self, class: TrafficClass, index: usize) -> &Mutex<Slot> {
        match class {
            TrafficClass::Control => &self.control,
            TrafficClass::Bulk => &self.bulk[index],
        }
    }
}

impl Pooled {
    fn new(dialed: Dialed, attempt: &Attempt, made_at: u64) -> Self {
        let ports = dialed.hello.map_or_else(Vec::new, |hello| hello.bulk_ports);
        Self {
            connection: dialed.connection,
            counts: Arc::clone(&attempt.peer.counts),
            node: attempt.peer.node,
            class: attempt.class,
            chain: dialed.chain,
            bulk_ports: ports.into_iter().filter_map(|port| u16::try_from(port).ok()).collect(),
            made_at,
        }
    }
}

impl Path for Pooled {
    fn figures(&self) -> PathFigures {
        connection_figures(&self.connection, self.node, self.class, Side::Caller)
    }
}
