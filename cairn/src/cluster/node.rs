//! A running server as a node: answers others, and keeps its certificate and its list of revoked ones fresh.
//!
//! Invariant: what `cairn cluster revoke` and `renew` change in the directory is taken up within seconds, without a restart.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use cairn_transport::{
    QuicServer, QuicSettings, Services, TransportMetrics,
    identity::{Admission, AuthorityDir, Identity},
};
use prometheus_client::registry::Registry;
use tokio::{sync::Mutex, task::AbortHandle, time::MissedTickBehavior};

use super::{ClusterDir, member::renew_here};

/// How often the directory is looked at.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two attempts at a new certificate.
const RENEWAL_PAUSE: Duration = Duration::from_secs(3600);

/// Joining, renewing and asking for lists at once.
const ADMISSIONS_MAX: usize = 64;

/// The server's part in its cluster.
pub(crate) struct ClusterNode {
    server: QuicServer,
    keeper: AbortHandle,
}

/// What is refreshed.
struct Keeper {
    directory: ClusterDir,
    authority: Arc<AuthorityDir>,
    identity: Identity,
    credentials_changed: SystemTime,
    no_renewal_before: SystemTime,
}

impl ClusterNode {
    /// Answers other nodes at `listen`, with `services` and with those of the authority, and counts it in `registry`; none
    /// where the store in `root` is no node of a cluster.
    pub(crate) async fn start(
        root: &Path,
        listen: SocketAddr,
        services: Services,
        registry: &mut Registry,
    ) -> anyhow::Result<Option<Self>> {
        let directory = ClusterDir::of(root);
        if !directory.exists() {
            return Ok(None);
        }
        let identity = directory.identity()?;
        let authority = Arc::new(directory.authority()?);
        identity.accept_tokens(authority.clone());
        let keeper = Keeper {
            credentials_changed: directory.credentials_changed().context("the node's certificate")?,
            no_renewal_before: SystemTime::UNIX_EPOCH,
            directory,
            authority: Arc::clone(&authority),
            identity: identity.clone(),
        };
        let keeper = Arc::new(Mutex::new(keeper));
        refresh(&keeper).await?;
        let admission = Arc::new(Admission::new(authority));
        let services = services.with(&Admission::KINDS, admission, ADMISSIONS_MAX);
        let bulk = SocketAddr::new(listen.ip(), bulk_port(listen.port())?);
        let metrics = TransportMetrics::default();
        metrics.register(registry);
        let server = QuicServer::start(&identity, listen, &[bulk], services, QuicSettings::default(), metrics)
            .context("listening for other nodes (see --cluster-listen)")?;
        let keeper = tokio::spawn(keep_fresh(keeper)).abort_handle();
        Ok(Some(Self { server, keeper }))
    }

    /// Where other nodes reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_address()
    }

    /// Finishes what other nodes have asked for, within `drain`.
    pub(crate) async fn shutdown(&self, drain: Duration) {
        self.keeper.abort();
        self.server.shutdown(drain).await;
    }
}

/// The port for bulk bytes beside that for control.
fn bulk_port(control: u16) -> anyhow::Result<u16> {
    if control == 0 {
        return Ok(0);
    }
    let next = control.checked_add(1);
    next.context("--cluster-listen leaves no port behind it for bulk bytes: choose a lower one")
}

/// Refreshes for as long as the server runs.
async fn keep_fresh(keeper: Arc<Mutex<Keeper>>) {
    let mut ticks = tokio::time::interval(REFRESH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let refreshed = refresh(&keeper).await;
        if let (Err(error), false) = (&refreshed, failing) {
            tracing::error!(%error, "the cluster directory cannot be read; going on with what is known");
        }
        failing = refreshed.is_err();
    }
}

async fn refresh(keeper: &Arc<Mutex<Keeper>>) -> anyhow::Result<()> {
    let keeper = Arc::clone(keeper);
    tokio::task::spawn_blocking(move || keeper.blocking_lock().refresh())
        .await
        .context("looking at the cluster directory")?
}

impl Keeper {
    /// Revocations first: nothing that is wrong with the own certificate may hold them up.
    fn refresh(&mut self) -> anyhow::Result<()> {
        if self.identity.replace_revocations(&self.authority.revocations()?)? {
            tracing::info!("the list of revoked certificates has changed");
        }
        let changed = self.directory.credentials_changed().context("the node's certificate")?;
        if changed != self.credentials_changed {
            self.identity.replace(self.directory.credentials()?)?;
            self.credentials_changed = changed;
            tracing::info!("the node's new certificate is in use");
        }
        let now = SystemTime::now();
        if self.identity.renewal_due(now) && now >= self.no_renewal_before {
            // One that cannot be saved must not use up the certificates that a node may have.
            self.no_renewal_before = now + RENEWAL_PAUSE;
            let renewed = renew_here(&self.directory, &self.identity)?;
            // The next look takes it up.
            self.directory.replace_credentials(&renewed)?;
        }
        Ok(())
    }
}
