//! Keeps a running node's certificate and its list of revoked ones fresh.
//!
//! Invariant: revocations are looked at first: nothing that is wrong with the own certificate may hold them up.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use cairn_common::ids::NodeId;
use cairn_transport::{
    NodeAddresses, QuicTransport,
    identity::{self, AuthorityDir, Identity, NodeCredentials},
};
use tokio::{task::AbortHandle, time::MissedTickBehavior};

use super::{
    ClusterDir,
    member::{renew_here, resolve},
};

/// How often the directory is looked at, and with it the authority where that is here.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often another node is asked for the list of revoked certificates.
const ASK_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two attempts at a new certificate.
const RENEWAL_PAUSE: Duration = Duration::from_secs(3600);

/// How long the authority's node may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Where lists and certificates come from.
pub(super) enum Source {
    /// The authority, in the same directory.
    Here(Arc<AuthorityDir>),
    /// The node that let this one in.
    Admitting {
        node: NodeId,
        transport: Arc<QuicTransport>,
    },
}

/// What is kept fresh.
pub(super) struct Keeper {
    directory: ClusterDir,
    identity: Identity,
    source: Source,
    credentials_changed: SystemTime,
    no_renewal_before: SystemTime,
    no_list_before: SystemTime,
}

impl Source {
    /// The node that let this one in, as `directory` says.
    pub(super) fn admitting(
        directory: &ClusterDir,
        addresses: &NodeAddresses,
        transport: Arc<QuicTransport>,
    ) -> anyhow::Result<Self> {
        let admitted_by = directory.admitted_by()?;
        let node = NodeId::new(admitted_by.node);
        match resolve(&admitted_by.addresses) {
            Ok(found) => {
                if let Some(address) = found.first() {
                    addresses.set(node, *address);
                }
            }
            Err(error) => tracing::warn!(%error, "the node that let this one in is not found; going on without it"),
        }
        Ok(Self::Admitting { node, transport })
    }
}

impl Keeper {
    /// Looks once, then for as long as the task is not aborted.
    pub(super) async fn start(
        directory: ClusterDir,
        identity: Identity,
        source: Source,
    ) -> anyhow::Result<AbortHandle> {
        let mut keeper = Self {
            credentials_changed: directory.credentials_changed().context("the node's certificate")?,
            directory,
            identity,
            source,
            no_renewal_before: SystemTime::UNIX_EPOCH,
            no_list_before: SystemTime::UNIX_EPOCH,
        };
        if let Source::Here(_) = keeper.source {
            keeper.look().await?;
        }
        Ok(tokio::spawn(keeper.run()).abort_handle())
    }

    async fn run(mut self) {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            let looked = self.look().await;
            if let (Err(error), false) = (&looked, failing) {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the node's certificates cannot be kept fresh; going on with what is known"
                );
            }
            failing = looked.is_err();
        }
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let listed = self.refresh_revocations().await;
        let renewed = self.refresh_credentials().await;
        listed.and(renewed)
    }

    async fn refresh_revocations(&mut self) -> anyhow::Result<()> {
        let list = match &self.source {
            Source::Here(authority) => {
                let authority = Arc::clone(authority);
                blocking(move || Ok(authority.revocations()?)).await?
            }
            Source::Admitting { node, transport } => {
                let now = SystemTime::now();
                if now < self.no_list_before {
                    return Ok(());
                }
                self.no_list_before = now + ASK_INTERVAL;
                identity::fetch_revocations(transport.as_ref(), *node, ASK_TIMEOUT).await?
            }
        };
        if self.identity.replace_revocations(&list)? {
            tracing::info!("the list of revoked certificates has changed");
        }
        Ok(())
    }

    async fn refresh_credentials(&mut self) -> anyhow::Result<()> {
        let changed = self.directory.credentials_changed().context("the node's certificate")?;
        if changed != self.credentials_changed {
            self.identity.replace(self.directory.credentials()?)?;
            self.credentials_changed = changed;
            tracing::info!("the node's new certificate is in use");
        }
        let now = SystemTime::now();
        if !self.identity.renewal_due(now) || now < self.no_renewal_before {
            return Ok(());
        }
        // One that cannot be saved must not use up the certificates that a node may have.
        self.no_renewal_before = now + RENEWAL_PAUSE;
        let renewed = self.renew().await?;
        let directory = self.directory.clone();
        // The next look takes it up.
        blocking(move || directory.replace_credentials(&renewed)).await
    }

    async fn renew(&self) -> anyhow::Result<NodeCredentials> {
        match &self.source {
            Source::Here(_) => {
                let (directory, identity) = (self.directory.clone(), self.identity.clone());
                blocking(move || renew_here(&directory, &identity)).await
            }
            Source::Admitting { node, transport } => {
                Ok(identity::renew(transport.as_ref(), *node, &self.identity, ASK_TIMEOUT).await?)
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("looking at the cluster directory")?
}
