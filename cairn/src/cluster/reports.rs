//! A chunkserver's signs of life, for as long as its process runs.
//!
//! Invariant: they end with a word of leave, so that nobody waits for a server that was stopped.

use std::sync::Arc;

use cairn_chunkserver::{ChunkServer, Reporter, Whereabouts};
use cairn_common::{ids::NodeId, wire::group::GroupMembers};
use cairn_transport::{Addresses, Transport};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::cli::LabelArgs;

/// What tells the metadata servers of a chunkserver.
pub(crate) struct Reports {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The way to the metadata servers.
pub(crate) struct ReportWay {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) addresses: Arc<dyn Addresses>,
    /// Those that are known to begin with.
    pub(crate) metadata: Vec<NodeId>,
    /// Is told who they are now.
    pub(crate) learnt: Box<dyn Fn(&GroupMembers) + Send + Sync>,
}

impl Reports {
    /// Tells from now on.
    pub(crate) fn start(server: Arc<ChunkServer>, whereabouts: Whereabouts, way: ReportWay) -> anyhow::Result<Self> {
        let mut run = [0; 8];
        getrandom::fill(&mut run).map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
        let mut reporter = Reporter {
            server,
            whereabouts,
            transport: way.transport,
            addresses: way.addresses,
            metadata: way.metadata,
            learnt: way.learnt,
            run: u64::from_le_bytes(run),
            is_registered: false,
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = reporter.run() => {}
                _ = stopped => {}
            }
            reporter.take_leave().await;
        });
        Ok(Self { stop, task })
    }

    /// Says that the server ends now, and no more.
    pub(crate) async fn stop(self) {
        let told = self.stop.send(());
        if told.is_err() || self.task.await.is_err() {
            tracing::error!("telling the metadata servers of this one has ended before");
        }
    }
}

/// Where a server that others reach at `address` is, by its labels; its machine goes by the system's name for it where no label
/// says otherwise.
pub(crate) fn whereabouts(labels: &LabelArgs, address: String) -> Whereabouts {
    let host_name = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    Whereabouts {
        address,
        zone: labels.zone.clone().unwrap_or_default(),
        rack: labels.rack.clone().unwrap_or_default(),
        host: labels.host.clone().unwrap_or_else(host_name),
    }
}
