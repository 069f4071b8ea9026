//! What is measured of Cairn: durable creates, linearizable lookups, listings.
//!
//! Invariant: each client has a session of its own and one request under way, as the clients of etcd have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use tokio::sync::Mutex;

use crate::client::{Metadata, Session};
use crate::turn::{self, Figures, Stopwatch};

/// Clients at once.
pub(crate) const CLIENTS: usize = 64;

/// The clients of one service.
pub(crate) struct Workload {
    metadata: Arc<Metadata>,
    sessions: Vec<Arc<Mutex<Session>>>,
}

impl Workload {
    /// Opens a session for each client.
    ///
    /// # Errors
    /// When the service does not answer.
    pub(crate) async fn open(metadata: &Arc<Metadata>) -> Result<Self> {
        let mut sessions = Vec::new();
        for client in 0..CLIENTS {
            sessions.push(Arc::new(Mutex::new(Session::open(metadata, client).await?)));
        }
        Ok(Self {
            metadata: Arc::clone(metadata),
            sessions,
        })
    }

    /// The turn of that name.
    ///
    /// # Errors
    /// When a request fails.
    pub(crate) async fn turn(&self, what: &str, time: Duration) -> Result<Figures> {
        match what {
            "creates" => {
                turn::run(CLIENTS, time, |client, deadline| {
                    creates(Arc::clone(&self.sessions[client]), deadline)
                })
                .await
            }
            "lookups" => {
                turn::run(CLIENTS, time, |client, deadline| {
                    lookups(Arc::clone(&self.sessions[client]), deadline)
                })
                .await
            }
            "list" => self.list(time).await,
            "heartbeat" => {
                for session in &self.sessions {
                    session.lock().await.heartbeat().await?;
                }
                Ok(Figures::default())
            }
            other => bail!("no such turn: {other:?}"),
        }
    }

    /// One client reads the whole bucket, page by page; an operation is an entry.
    async fn list(&self, time: Duration) -> Result<Figures> {
        let metadata = Arc::clone(&self.metadata);
        let entries = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&entries);
        let mut figures = turn::run(1, time, move |_, deadline| {
            list(Arc::clone(&metadata), deadline, Arc::clone(&counted))
        })
        .await?;
        figures.operations = entries.load(Ordering::Relaxed);
        Ok(figures)
    }
}

async fn creates(session: Arc<Mutex<Session>>, deadline: Instant) -> Result<Vec<Duration>> {
    let mut session = session.lock().await;
    let mut watch = Stopwatch::until(deadline);
    while watch.begin() {
        session.create().await?;
        watch.end();
    }
    Ok(watch.latencies())
}

async fn lookups(session: Arc<Mutex<Session>>, deadline: Instant) -> Result<Vec<Duration>> {
    let session = session.lock().await;
    let mut watch = Stopwatch::until(deadline);
    let mut number = 0;
    while watch.begin() {
        session.lookup(number).await?;
        number += 1;
        watch.end();
    }
    Ok(watch.latencies())
}

async fn list(metadata: Arc<Metadata>, deadline: Instant, counted: Arc<AtomicU64>) -> Result<Vec<Duration>> {
    let mut from = Bytes::new();
    let mut watch = Stopwatch::until(deadline);
    while watch.begin() {
        let page = metadata.list("", from).await?;
        ensure!(!page.entries.is_empty(), "an empty page");
        counted.fetch_add(page.entries.len() as u64, Ordering::Relaxed);
        from = page.next_from;
        watch.end();
    }
    Ok(watch.latencies())
}
