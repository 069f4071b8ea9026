//! A running process as a node of its cluster: who it is, its way to other nodes, and what it answers them.
//!
//! Invariant: what `cairn cluster revoke` and `renew` change is taken up without a restart, within seconds.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use cairn_client::{Client, ClientConfig};
use cairn_common::{ids::ClusterId, wire::role::Role};
use cairn_datapath::ChunkBudget;
use cairn_transport::{
    NodeAddresses, Peer, QuicServer, QuicSettings, QuicTransport, Services, TransportMetrics,
    identity::{Admission, AuthorityDir, Identity},
};
use prometheus_client::registry::Registry;
use tokio::task::AbortHandle;

use super::{
    ClusterDir, Contacts,
    keeper::{Keeper, Outward},
    safekeeping::Safekeeping,
};
use crate::gauges::{self, unix_seconds};

/// Joining, renewing and asking for lists at once.
const ADMISSIONS_MAX: usize = 64;

/// How long telling others that this process ends may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The process's part in its cluster.
pub(crate) struct ClusterNode {
    identity: Identity,
    authority: Option<Arc<AuthorityDir>>,
    addresses: NodeAddresses,
    transport: Arc<QuicTransport>,
    metrics: TransportMetrics,
    tasks: Vec<AbortHandle>,
}

/// Answers other nodes.
pub(crate) struct ClusterListener {
    server: QuicServer,
}

impl ClusterNode {
    /// The node that the data directory `root` is, counted in `registry`; none where it is no node of a cluster.
    pub(crate) async fn open(root: &Path, registry: &mut Registry) -> anyhow::Result<Option<Self>> {
        let directory = ClusterDir::of(root);
        if !directory.exists() {
            return Ok(None);
        }
        let identity = directory.identity()?;
        let metrics = TransportMetrics::default();
        metrics.register(registry);
        let shown = identity.clone();
        gauges::register(
            registry,
            "cairn_node_certificate_expiry_timestamp_seconds",
            "When other nodes stop to accept this one's certificate, unless it is renewed before",
            move || unix_seconds(shown.certificate_expires()),
        );
        let addresses = NodeAddresses::new();
        let transport = QuicTransport::new(&identity, addresses.clone(), QuicSettings::default(), metrics.clone())
            .context("opening the sockets to other nodes")?;
        let transport = Arc::new(transport);
        let authority = if directory.has_authority() {
            let authority = Arc::new(directory.authority()?);
            identity.accept_tokens(authority.clone());
            Some(authority)
        } else {
            None
        };
        let outward = Outward {
            addresses: addresses.clone(),
            transport: Arc::clone(&transport),
        };
        let mut tasks = vec![Keeper::start(directory, identity.clone(), authority.clone(), outward).await?];
        if let Some(authority) = &authority {
            let safekeeping = Safekeeping {
                data: root.to_owned(),
                node: identity.peer().node,
                authority: Arc::clone(authority),
            };
            tasks.push(tokio::spawn(safekeeping.run()).abort_handle());
        }
        Ok(Some(Self {
            identity,
            authority,
            addresses,
            transport,
            metrics,
            tasks,
        }))
    }

    /// The same for a process that serves as `role`: an error where the directory is no node that may.
    pub(crate) async fn open_as(root: &Path, registry: &mut Registry, role: Role) -> anyhow::Result<Self> {
        let node = Self::open(root, registry).await?;
        let node = node.with_context(|| {
            format!(
                "{} is no node of a cluster: `cairn cluster init` makes the first, `cairn cluster join` any other",
                root.display()
            )
        })?;
        let peer = node.peer();
        ensure!(
            peer.roles.has(role),
            "node {} has the roles [{}]: join with a token made by `cairn cluster token --roles {role}`",
            peer.node,
            peer.roles
        );
        Ok(node)
    }

    /// Who this node is, and what it may ask.
    pub(crate) fn peer(&self) -> Peer {
        self.identity.peer()
    }

    /// The cluster that this node is of.
    pub(crate) fn cluster(&self) -> ClusterId {
        self.identity.cluster()
    }

    /// Where other nodes are called.
    pub(crate) const fn addresses(&self) -> &NodeAddresses {
        &self.addresses
    }

    /// The way to other nodes.
    pub(crate) fn transport(&self) -> Arc<QuicTransport> {
        Arc::clone(&self.transport)
    }

    /// A client of the cluster, which it finds by `contacts`; `budget_bytes` are for chunks on their way, and `mounts` says whether it
    /// serves a mount.
    pub(crate) async fn client(
        &self,
        contacts: &Contacts,
        budget_bytes: usize,
        metrics: cairn_datapath::Metrics,
        mounts: bool,
    ) -> anyhow::Result<Client> {
        let config = ClientConfig {
            metadata: contacts.announce(&self.addresses),
            transport: self.transport(),
            addresses: Some(Arc::new(self.addresses.clone())),
            default_redundancy: None,
            budget: ChunkBudget::new(budget_bytes),
            metrics,
            mounts,
        };
        let client = Client::connect(config).await;
        client.context("opening a session with the metadata service")
    }

    /// Answers other nodes at `listen` with `services`, and with those of the authority where it is here.
    pub(crate) fn serve(&self, listen: SocketAddr, mut services: Services) -> anyhow::Result<ClusterListener> {
        if let Some(authority) = &self.authority {
            let admission = Arc::new(Admission::new(Arc::clone(authority)));
            services = services.with(&Admission::KINDS, admission, ADMISSIONS_MAX);
        }
        let bulk = SocketAddr::new(listen.ip(), bulk_port(listen.port())?);
        let (settings, metrics) = (QuicSettings::default(), self.metrics.clone());
        let server = QuicServer::start(&self.identity, listen, &[bulk], services, settings, metrics)
            .context("listening for other nodes (see --cluster-listen)")?;
        Ok(ClusterListener { server })
    }

    /// Ends the connections to other nodes.
    pub(crate) async fn close(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.transport.close(CLOSE_TIMEOUT).await;
    }
}

impl ClusterListener {
    /// Where other nodes reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_address()
    }

    /// Finishes what other nodes have asked for, within `drain`.
    pub(crate) async fn shutdown(&self, drain: Duration) {
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
