//! Tells the metadata servers, again and again, that this chunkserver lives and how its devices are.
//!
//! Invariant: a server that cannot tell anybody goes on serving: it is for the others to judge that it is silent.

use std::{path::Path, sync::Arc, time::Duration};

use cairn_common::{
    ids::{DeviceId, NodeId},
    limits::SERVER_REPORT_MS,
    wire::{
        group::GroupMembers,
        kind::RequestKind,
        server::{HeldDevice, ServerInfo, ServerReport, ServerReportReply},
        shard::DeviceStatus,
    },
};
use cairn_transport::{Addresses, Body, CallError, Transport, call};
use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use crate::ChunkServer;

/// How long a metadata server may take to answer.
const REPORT_DEADLINE: Duration = Duration::from_secs(2);

/// Where a server says that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Under which HOST:PORT others reach it.
    pub address: String,
    /// Its zone; empty where there is none to tell.
    pub zone: String,
    /// Its rack; empty where there is none to tell.
    pub rack: String,
    /// Its machine.
    pub host: String,
}

/// Tells the metadata servers of a chunkserver.
pub struct Reporter {
    /// The chunkserver.
    pub server: Arc<ChunkServer>,
    /// Where it is.
    pub whereabouts: Whereabouts,
    /// The way to the metadata servers.
    pub transport: Arc<dyn Transport>,
    /// What learns where they are called.
    pub addresses: Arc<dyn Addresses>,
    /// Those that are known to begin with; they name the others.
    pub metadata: Vec<NodeId>,
    /// Is told who they are now.
    pub learnt: Box<dyn Fn(&GroupMembers) + Send + Sync>,
    /// Drawn at random by the process: what tells it from a copy of it.
    pub run: u64,
    /// Whether the metadata service is known to know of the server; not at first.
    pub is_registered: bool,
}

impl Reporter {
    /// Reports for as long as it is polled.
    pub async fn run(&mut self) {
        let mut ticks = interval(Duration::from_millis(SERVER_REPORT_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.report(false).await;
        }
    }

    /// Says that the server ends now, so that nobody waits for it.
    pub async fn take_leave(mut self) {
        self.report(true).await;
    }

    async fn report(&mut self, is_leaving: bool) {
        let devices = self.server.status().await;
        let report = ServerReport {
            server: Some(self.info(&devices)),
            devices,
            run: self.run,
            is_leaving,
        };
        let told = self
            .metadata
            .iter()
            .map(|member| tell(&*self.transport, *member, &report));
        let answers = join_all(told).await;
        let mut is_registered = false;
        for (member, answer) in self.metadata.clone().into_iter().zip(answers) {
            match answer {
                Ok(reply) => {
                    reply.group.iter().for_each(|group| self.learn(group));
                    is_registered |= reply.is_registered;
                    for refused in reply.refused {
                        self.server.refuse_device(DeviceId::new(refused.device), refused.reason);
                    }
                }
                // Said by the leader: what this server is or holds contradicts what the cluster knows.
                Err(CallError::Failed(failure)) => {
                    tracing::warn!(%member, failure = failure.detail, "the cluster does not take this server's report");
                }
                Err(error) => tracing::debug!(%member, %error, "a metadata server was not told"),
            }
        }
        if is_registered && !std::mem::replace(&mut self.is_registered, true) {
            let server = Arc::clone(&self.server);
            // Whether it was noted shows at the next start.
            let _ = tokio::task::spawn_blocking(move || server.confirm_openings()).await;
        }
    }

    fn learn(&mut self, group: &GroupMembers) {
        let members: Vec<NodeId> = group.members.iter().map(|member| NodeId::new(member.node)).collect();
        if members.is_empty() {
            return;
        }
        for member in group.members.iter().filter(|member| !member.address.is_empty()) {
            self.addresses.set(NodeId::new(member.node), &member.address);
        }
        self.metadata = members;
        (self.learnt)(group);
    }

    fn info(&self, devices: &[DeviceStatus]) -> ServerInfo {
        let held = |device: &DeviceStatus| HeldDevice {
            id: device.device,
            incarnation: device.incarnation,
            capacity_bytes: device.total_bytes,
            disk: disk_of(Path::new(&device.path)).unwrap_or_default(),
            opening: device.opening,
            opening_before: device.opening_before,
        };
        ServerInfo {
            node: self.server.server_id().value(),
            address: self.whereabouts.address.clone(),
            zone: self.whereabouts.zone.clone(),
            rack: self.whereabouts.rack.clone(),
            host: self.whereabouts.host.clone(),
            devices: devices.iter().map(held).collect(),
        }
    }
}

async fn tell(
    transport: &dyn Transport,
    member: NodeId,
    report: &ServerReport,
) -> Result<ServerReportReply, CallError> {
    let kind = RequestKind::ServerReport;
    let told = call(transport, member, kind, report, Body::empty(), REPORT_DEADLINE).await;
    told.map(|(reply, _)| reply)
}

/// Volumes that lie on each other, at most.
const VOLUMES_DEEP: usize = 8;

/// What a directory's disk is called: directories of one file system share it, and so do file systems on partitions, or logical or
/// encrypted volumes, of one disk. A volume over several disks is a disk of its own, as is what no block device is known of, such as
/// a file system in memory or a btrfs subvolume.
pub fn disk_of(path: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::MetadataExt as _;
    let device = std::fs::metadata(path)?.dev();
    let mut number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    for _ in 0..VOLUMES_DEEP {
        let Some(below) = below(&number)? else { break };
        number = below;
    }
    Ok(number)
}

/// The one block device that another lies on.
fn below(number: &str) -> std::io::Result<Option<String>> {
    let entry = Path::new("/sys/dev/block").join(number);
    // A partition's entry lies within that of its disk.
    let place = if entry.join("partition").exists() {
        std::fs::canonicalize(&entry)?.join("..")
    } else {
        let Ok(volumes) = std::fs::read_dir(entry.join("slaves")) else {
            return Ok(None);
        };
        let volumes: Vec<_> = volumes.collect::<Result<_, _>>()?;
        let [only] = volumes.as_slice() else {
            return Ok(None);
        };
        only.path()
    };
    Ok(Some(std::fs::read_to_string(place.join("dev"))?.trim().to_owned()))
}
