//! What is measured of Cairn: durable creates, linearizable lookups, listings.
//!
//! The clients are those of a few gateways: each gateway has a session and a connection, and its clients share them. The
//! driver of etcd has as many clients on as many connections. Invariant: each client has one request under way.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use tokio::sync::Mutex;

use crate::client::{Client, Metadata, Session};
use crate::turn::{self, Figures, Stopwatch};

/// Clients at once.
pub(crate) const CLIENTS: usize = 64;
/// Gateways that they belong to. Fewer connections are not faster for etcd, whose driver has one reader for each; more
/// cost it more.
pub(crate) const GATEWAYS: usize = 8;

/// The clients of one service.
pub(crate) struct Workload {
    metadata: Arc<Metadata>,
    sessions: Vec<Arc<Session>>,
    clients: Vec<Arc<Mutex<Client>>>,
}

impl Workload {
    /// Opens a session for each gateway, whose way to the service is one of `ways` in turn. Clients of different numbers never
    /// meet in a key.
    ///
    /// # Errors
    /// When the service does not answer.
    pub(crate) async fn open(ways: &[Arc<Metadata>], clients: Range<usize>) -> Result<Self> {
        let metadata = Arc::clone(ways.first().context("no way to the service")?);
        let mut sessions = Vec::new();
        for gateway in 0..GATEWAYS {
            sessions.push(Session::open(&ways[gateway % ways.len()]).await?);
        }
        let client = |number| Client::new(Arc::clone(&sessions[number % GATEWAYS]), number);
        let clients = clients.map(|number| Arc::new(Mutex::new(client(number))));
        Ok(Self {
            metadata,
            clients: clients.collect(),
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
                turn::run(self.clients.len(), time, |client, deadline| {
                    creates(Arc::clone(&self.clients[client]), deadline)
                })
                .await
            }
            "lookups" => {
                turn::run(self.clients.len(), time, |client, deadline| {
                    lookups(Arc::clone(&self.clients[client]), deadline)
                })
                .await
            }
            "list" => self.list(time).await,
            "heartbeat" => {
                for session in &self.sessions {
                    session.heartbeat().await?;
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

async fn creates(client: Arc<Mutex<Client>>, deadline: Instant) -> Result<Vec<Duration>> {
    let mut client = client.lock().await;
    let mut watch = Stopwatch::until(deadline);
    while watch.begin() {
        client.create().await?;
        watch.end();
    }
    Ok(watch.latencies())
}

async fn lookups(client: Arc<Mutex<Client>>, deadline: Instant) -> Result<Vec<Duration>> {
    let client = client.lock().await;
    let mut watch = Stopwatch::until(deadline);
    let mut number = 0;
    while watch.begin() {
        client.lookup(number).await?;
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
