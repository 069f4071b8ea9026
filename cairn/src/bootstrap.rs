//! The cluster map of a store in one process: made at the first start, extended when another redundancy needs other widths.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use cairn_chunkserver::{DeviceConfig, disk_of};
use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{DeviceId, Epoch, NodeId},
    limits,
    planner::plan_rows,
    redundancy::Redundancy,
    wire::{
        command::{Command, InstallMap, Outcome, RaiseFeatureLevel, WriteReply, WriteRequest},
        failure::FailureCode,
        kind::RequestKind,
        map::MapMessage,
        query::{Answer, MapQuery, Query, ReadReply, ReadRequest, SummaryQuery},
    },
};
use cairn_transport::{Addresses, Body, CallError, Transport, call};
use prost::Message;
use tokio::time::sleep;

/// How long a start waits for a leader of the metadata service: its other members may only just be starting too.
const LEADER_DEADLINE: Duration = Duration::from_secs(60);

/// Pause before the service is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// The metadata service, as a server finds it when it starts.
pub(crate) struct Bootstrap<'a> {
    pub(crate) transport: &'a dyn Transport,
    /// Is told where the leader is called, where that is another node.
    pub(crate) addresses: &'a dyn Addresses,
    /// The server's own metadata server.
    pub(crate) server: NodeId,
}

/// Makes sure that the map in force serves `redundancy`, and gives it. Where there is none, it is of the devices of `server`.
pub(crate) async fn ensure_map(
    service: &Bootstrap<'_>,
    devices: &[DeviceConfig],
    redundancy: Redundancy,
) -> anyhow::Result<ClusterMap> {
    let mut map = current_map(service).await?;
    let first = map.epoch == Epoch::default();
    if first {
        map.group_bits = limits::GROUP_BITS;
        map.devices = describe(service.server, devices)?;
        // Nothing is known of devices whose server does not report: this is for when the store has become a cluster.
        map.upkeep.out_after_s = limits::DEVICE_OUT_AFTER_S;
    }
    let renewed = renew_devices(&mut map, devices);
    let widths = [1, redundancy.as_replicas().width(), redundancy.width()];
    let missing: Vec<usize> = widths
        .into_iter()
        .filter(|width| !map.rows.contains_key(width))
        .collect();
    if missing.is_empty() && !renewed {
        return Ok(map);
    }
    for width in missing {
        let rows = plan_rows(&map.devices, width, 1 << map.group_bits)?;
        map.rows.insert(width, rows);
    }
    map.epoch = Epoch::new(map.epoch.value() + 1);
    let install = InstallMap {
        map: Some(MapMessage::from(&map)),
    };
    write(service, Command::InstallMap(install))
        .await
        .context("installing the cluster map")?;
    Ok(map)
}

/// Takes up new lives of devices that an operator replaced; whether there are any. What they held is made again.
fn renew_devices(map: &mut ClusterMap, devices: &[DeviceConfig]) -> bool {
    let mut renewed = false;
    for config in devices {
        if let Some(device) = map.devices.get_mut(&config.id)
            && device.incarnation < config.incarnation
        {
            device.incarnation = config.incarnation;
            device.disk = disk_of(&config.path).unwrap_or_else(|_| device.disk.clone());
            renewed = true;
        }
    }
    renewed
}

/// Raises the feature level of a store in one process, whose only metadata server is this program, to what it understands.
pub(crate) async fn ensure_feature_level(service: &Bootstrap<'_>) -> anyhow::Result<()> {
    let query = ReadRequest {
        query: Some(Query::Summary(SummaryQuery {})),
        ..ReadRequest::default()
    };
    let reply: ReadReply = request(service, RequestKind::MetadataRead, &query).await?;
    let Some(Answer::Summary(summary)) = reply.answer else {
        bail!("the metadata service gave no summary");
    };
    if summary.feature_level >= limits::FEATURE_LEVEL {
        return Ok(());
    }
    let raise = RaiseFeatureLevel {
        level: limits::FEATURE_LEVEL,
    };
    write(service, Command::RaiseFeatureLevel(raise))
        .await
        .context("raising the feature level")
}

/// The devices as the map holds them: weighted by the size of their file systems, each a failure domain of its own.
fn describe(server: NodeId, devices: &[DeviceConfig]) -> anyhow::Result<BTreeMap<DeviceId, Device>> {
    let describe = |config: &DeviceConfig| {
        let context = || format!("device {}", config.path.display());
        let space = rustix::fs::statvfs(&config.path).with_context(context)?;
        let device = Device {
            id: config.id,
            incarnation: config.incarnation,
            server,
            weight_bytes: space.f_blocks.saturating_mul(space.f_frsize).max(1),
            failure_domain: format!("device-{}", config.id),
            disk: disk_of(&config.path).with_context(context)?,
        };
        Ok((config.id, device))
    };
    devices.iter().map(describe).collect()
}

async fn current_map(service: &Bootstrap<'_>) -> anyhow::Result<ClusterMap> {
    let query = ReadRequest {
        query: Some(Query::Map(MapQuery::default())),
        ..ReadRequest::default()
    };
    let reply: ReadReply = request(service, RequestKind::MetadataRead, &query).await?;
    match reply.answer {
        Some(Answer::Map(message)) => Ok(ClusterMap::try_from(message)?),
        other => bail!("the metadata service answered {other:?} when asked for the cluster map"),
    }
}

async fn write(service: &Bootstrap<'_>, command: Command) -> anyhow::Result<()> {
    let message = WriteRequest {
        session: 0,
        sequence: 0,
        answered_below: 0,
        group: 0,
        resent: false,
        settles: false,
        command: Some(command),
    };
    let reply: WriteReply = request(service, RequestKind::MetadataWrite, &message).await?;
    match reply.outcome {
        Some(Outcome::Done(_)) => Ok(()),
        Some(Outcome::Refused(refusal)) => bail!("refused: {}", refusal.detail),
        other => bail!("the metadata service answered {other:?}"),
    }
}

/// Asks whoever leads. As long as nobody does, this server may be the one that the others wait for: it is asked again.
async fn request<Reply: Message + Default>(
    service: &Bootstrap<'_>,
    kind: RequestKind,
    message: &impl Message,
) -> anyhow::Result<Reply> {
    let (mut node, deadline) = (service.server, Instant::now() + LEADER_DEADLINE);
    let timeout = Duration::from_millis(limits::METADATA_DEADLINE_MS);
    loop {
        let error = match call(service.transport, node, kind, message, Body::empty(), timeout).await {
            Ok((reply, _)) => return Ok(reply),
            Err(error) => error,
        };
        let may_pass = match &error {
            CallError::Failed(failure) => matches!(failure.code(), FailureCode::NotLeader | FailureCode::Busy),
            CallError::Unreachable { .. } => node != service.server,
            CallError::DeadlineExceeded => true,
            _ => false,
        };
        if !may_pass {
            return Err(error.into());
        }
        if Instant::now() >= deadline {
            return Err(error).context("the metadata service has no leader: start its other members too");
        }
        node = match &error {
            CallError::Failed(failure) if failure.leader != 0 && failure.leader != node.value() => {
                let leader = NodeId::new(failure.leader);
                service.addresses.set(leader, &failure.leader_address);
                leader
            }
            _ => service.server,
        };
        sleep(PAUSE).await;
    }
}
