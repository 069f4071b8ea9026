//! The parts of a running store, as far as metrics, health and status tell about them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cairn_chunkserver::ChunkServer;
use cairn_client::Client;
use cairn_common::{cluster_map::ClusterMap, redundancy::Redundancy};

use crate::{
    admin::Observed,
    metrics::Metrics,
    status::{DeviceState, Health, SYNC_MODE, Status, device_state},
    voters::Voters,
};

/// How long the readiness check waits.
const READY_DEADLINE: Duration = Duration::from_secs(2);

/// The parts that the admin address tells about.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) chunkserver: Arc<ChunkServer>,
    pub(crate) metadata: Arc<Voters>,
    pub(crate) datapath_metrics: cairn_datapath::Metrics,
    pub(crate) redundancy: Redundancy,
    pub(crate) endpoint: String,
    pub(crate) metrics: Metrics,
}

#[async_trait]
impl Observed for Parts {
    fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.metrics.text()
    }

    async fn ready(&self) -> Result<(), String> {
        if let Some(reason) = self.metadata.failed() {
            return Err(reason);
        }
        match tokio::time::timeout(READY_DEADLINE, self.client.summary()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the metadata service does not answer".to_owned()),
        }
    }

    async fn status(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec(&self.gather().await?)?)
    }
}

impl Parts {
    async fn gather(&self) -> anyhow::Result<Status> {
        let summary = self.client.summary().await?;
        let devices: Vec<DeviceState> = self.chunkserver.status().await.into_iter().map(device_state).collect();
        let map = self.client.cluster_map();
        let down = devices.iter().filter(|device| !device.up).count();
        let mut remarks = domain_remarks(self.redundancy, &map);
        if down > 0 {
            remarks.insert(0, format!("{down} of {} devices are down", devices.len()));
        }
        let voters = self.metadata.remarks();
        let health = match down {
            0 if voters.is_empty() => Health::Good,
            down if down <= self.redundancy.tolerance() => Health::Degraded,
            _ => Health::Failed,
        };
        remarks.splice(0..0, voters);
        Ok(Status {
            sync_mode: SYNC_MODE.to_owned(),
            health,
            remarks,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            endpoint: self.endpoint.clone(),
            redundancy: self.redundancy.to_string(),
            tolerance: self.redundancy.tolerance(),
            disks: map.disk_count(),
            buckets: summary.buckets,
            objects: summary.objects,
            object_bytes: summary.object_bytes,
            metadata_voters: self.metadata.working(),
            release_pending: summary.release_pending,
            corrupt_shards: self.datapath_metrics.corrupt_shards(),
            degraded_reads: self.datapath_metrics.degraded_reads(),
            devices,
        })
    }
}

/// What the user should know about how independent the devices are.
pub(crate) fn domain_remarks(redundancy: Redundancy, map: &ClusterMap) -> Vec<String> {
    let (devices, disks) = (map.devices.len(), map.disk_count());
    let mut remarks = Vec::new();
    if redundancy.tolerance() == 0 {
        remarks.push("one copy of everything: the loss of a device loses its data".to_owned());
    } else if disks == 1 {
        remarks.push(format!(
            "all {devices} device directories are on one disk and are one failure domain: {redundancy} protects from \
             damaged or deleted files, not from the loss of that disk"
        ));
    } else if disks < redundancy.width() {
        remarks.push(format!(
            "{devices} device directories are on {disks} disks: the loss of one disk can take several shards of {redundancy}"
        ));
    }
    remarks
}
