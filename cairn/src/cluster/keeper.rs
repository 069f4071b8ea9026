//! Keeps a running node's certificate and its list of revoked ones fresh.
//!
//! Invariant: revocations are looked at first: nothing that is wrong with the own certificate may hold them up.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use cairn_common::ids::NodeId;
use cairn_transport::{
    NodeAddresses, QuicTransport,
    identity::{self, AuthorityDir, Identity, JoinError, NodeCredentials},
};
use tokio::{task::AbortHandle, time::MissedTickBehavior};

use super::{
    ClusterDir, Contacts,
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
enum Source {
    /// The authority, in the same directory.
    Here(Arc<AuthorityDir>),
    /// The node that let this one in or, where another has taken over the authority, that one.
    Elsewhere(NodeId),
}

/// The way to other nodes.
pub(super) struct Outward {
    pub(super) addresses: NodeAddresses,
    pub(super) transport: Arc<QuicTransport>,
}

/// What is kept fresh.
pub(super) struct Keeper {
    directory: ClusterDir,
    identity: Identity,
    outward: Outward,
    source: Source,
    credentials_changed: SystemTime,
    no_renewal_before: SystemTime,
    no_list_before: SystemTime,
}

impl Source {
    /// The node that let this one in, or took the authority over from it, as `directory` says.
    fn elsewhere(directory: &ClusterDir, outward: &Outward) -> anyhow::Result<Self> {
        let admitted_by = directory.admitted_by()?;
        let node = NodeId::new(admitted_by.node);
        match resolve(&admitted_by.addresses) {
            Ok(found) => {
                if let Some(address) = found.first() {
                    outward.addresses.set(node, *address);
                }
            }
            Err(error) => tracing::warn!(%error, "the node that let this one in is not found; going on without it"),
        }
        Ok(Self::Elsewhere(node))
    }
}

impl Keeper {
    /// Looks once, then for as long as the task is not aborted.
    pub(super) async fn start(
        directory: ClusterDir,
        identity: Identity,
        authority: Option<Arc<AuthorityDir>>,
        outward: Outward,
    ) -> anyhow::Result<AbortHandle> {
        let source = match authority {
            Some(authority) => Source::Here(authority),
            None => Source::elsewhere(&directory, &outward)?,
        };
        let mut keeper = Self {
            credentials_changed: directory.credentials_changed().context("the node's certificate")?,
            directory,
            identity,
            outward,
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
        if matches!(self.source, Source::Here(_)) && !self.directory.has_authority() {
            // Another node has taken it over.
            self.source = Source::elsewhere(&self.directory, &self.outward)?;
        }
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
            Source::Elsewhere(_) => {
                let now = SystemTime::now();
                if now < self.no_list_before {
                    return Ok(());
                }
                self.no_list_before = now + ASK_INTERVAL;
                self.ask(|transport, node| async move {
                    identity::fetch_revocations(transport.as_ref(), node, ASK_TIMEOUT).await
                })
                .await?
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

    async fn renew(&mut self) -> anyhow::Result<NodeCredentials> {
        let identity = self.identity.clone();
        if let Source::Here(_) = self.source {
            let directory = self.directory.clone();
            return blocking(move || renew_here(&directory, &identity)).await;
        }
        self.ask(|transport, node| {
            let identity = identity.clone();
            async move { identity::renew(transport.as_ref(), node, &identity, ASK_TIMEOUT).await }
        })
        .await
    }

    /// Asks the node that holds the authority as far as is known; where it does not answer, the metadata servers, one of
    /// which may have taken it over: that one is asked from then on.
    async fn ask<T, F>(&mut self, question: impl Fn(Arc<QuicTransport>, NodeId) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, JoinError>>,
    {
        let Source::Elsewhere(node) = &mut self.source else {
            bail!("the authority is in the same directory");
        };
        let Outward { addresses, transport } = &self.outward;
        let first = match question(Arc::clone(transport), *node).await {
            Ok(answer) => return Ok(answer),
            Err(error @ JoinError::Refused(_)) => return Err(error.into()),
            Err(error) => error,
        };
        let others = Contacts::of(&self.directory).map_or_else(|_| Vec::new(), |contacts| contacts.announce(addresses));
        for other in others.into_iter().filter(|other| other != node) {
            if let Ok(answer) = question(Arc::clone(transport), other).await {
                tracing::info!(holder = %other, "another node holds the cluster's authority now");
                *node = other;
                return Ok(answer);
            }
        }
        Err(first.into())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("looking at the cluster directory")?
}
