//! The chunkserver: its devices, and the answers to requests for them.
//!
//! It checks that a request means a device it has, in the life it has, and that the request's numbers agree; all else is the
//! store's. Invariant: a device that cannot serve is still known, and answers why; starting never fails for one device.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    ids::{DeviceId, Incarnation, NodeId},
    limits::INVENTORY_PAGE_MAX,
    wire::{
        failure::{Failure, FailureCode},
        kind::RequestKind,
        recode::{RecodeChunk, RecodeChunkReply},
        shard::{
            DeleteShard, DeleteShardReply, DeviceStatus, DeviceStatusReply, DeviceStatusRequest, GetShard,
            GetShardReply, ListShards, ListShardsReply, PutShard, PutShardReply, RepairShard, RepairShardReply,
            ShardName,
        },
    },
};
use cairn_transport::{Addresses, Body, Peer, Request, Response, Service, Transport, failure, reply};
use prost::Message;

use crate::{
    device::{DeviceSettings, DeviceStore, OpenConfig, PutError},
    fence::Fence,
    metrics::{DeviceMetrics, Metrics},
    repair::Repairs,
    shard::{ListedShard, ShardDescription, ShardKey},
    store::{StoreError, StoreStatus},
    superblock::DeviceIdentity,
};

/// What a chunkserver is started with.
#[derive(Clone, Debug)]
pub struct ChunkServerConfig {
    /// The server that the cluster map names.
    pub server_id: NodeId,
    /// Its devices, formatted before.
    pub devices: Vec<DeviceConfig>,
    /// How their stores work.
    pub settings: DeviceSettings,
    /// Where it counts.
    pub metrics: Metrics,
}

/// One device of a chunkserver.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Its number in the cluster map.
    pub id: DeviceId,
    /// Its life in the cluster map.
    pub incarnation: Incarnation,
    /// Its directory.
    pub path: PathBuf,
    /// The cluster it belongs to.
    pub cluster_id: [u8; 16],
}

/// Serves the shards of its devices.
pub struct ChunkServer {
    server_id: NodeId,
    devices: BTreeMap<DeviceId, Device>,
    repairs: Repairs,
}

struct Device {
    config: DeviceConfig,
    metrics: DeviceMetrics,
    /// The store, or why there is none.
    store: Result<Arc<DeviceStore>, String>,
    /// Why the cluster does not have it served.
    refused: OnceLock<String>,
    fence: Fence,
}

impl ChunkServerConfig {
    /// The usual configuration.
    pub fn new(server_id: NodeId, devices: Vec<DeviceConfig>) -> Self {
        Self {
            server_id,
            devices,
            settings: DeviceSettings::default(),
            metrics: Metrics::default(),
        }
    }
}

impl ChunkServer {
    /// The kinds of requests that it answers.
    pub const KINDS: &[RequestKind] = &[
        RequestKind::PutShard,
        RequestKind::GetShard,
        RequestKind::DeleteShard,
        RequestKind::ListShards,
        RequestKind::DeviceStatus,
        RequestKind::RepairShard,
        RequestKind::RecodeChunk,
    ];

    /// Opens the devices, all at once. One that cannot be opened is down, with its reason in the log and the status.
    pub async fn start(config: ChunkServerConfig) -> Self {
        let openings: Vec<_> = config
            .devices
            .into_iter()
            .map(|device| {
                let metrics = config.metrics.of(device.id);
                let open = open_config(&device, config.settings, metrics.clone());
                let opening = tokio::task::spawn_blocking(move || DeviceStore::open(open));
                (device, metrics, opening)
            })
            .collect();
        let mut devices = BTreeMap::new();
        for (config, metrics, opening) in openings {
            let opened = opening.await.unwrap_or_else(|_| Err("opening it panicked".to_owned()));
            let store = match opened {
                Ok(store) => Ok(Arc::new(store)),
                Err(reason) => {
                    metrics.up.set(0);
                    tracing::error!(device = %config.id, path = %config.path.display(), reason, "the device is down");
                    Err(reason)
                }
            };
            let device = Device {
                config,
                metrics,
                store,
                refused: OnceLock::new(),
                fence: Fence::default(),
            };
            devices.insert(device.config.id, device);
        }
        Self {
            server_id: config.server_id,
            devices,
            repairs: Repairs::default(),
        }
    }

    /// Makes shards again from now on where the metadata service asks for it, out of what others hold.
    pub fn start_repairs(
        &self,
        transport: Arc<dyn Transport>,
        addresses: Arc<dyn Addresses>,
        metrics: cairn_datapath::Metrics,
    ) {
        self.repairs.start(transport, addresses, metrics);
    }

    /// Makes none any more, and lets go of the transport.
    pub fn stop_repairs(&self) {
        self.repairs.stop();
    }

    /// The server's id.
    pub fn server_id(&self) -> NodeId {
        self.server_id
    }

    /// Serves a device no more, until the process is started again: the cluster says that it is not what it was.
    pub fn refuse_device(&self, id: DeviceId, reason: String) {
        let Some(device) = self.devices.get(&id) else { return };
        if device.refused.set(reason.clone()).is_ok() {
            device.metrics.up.set(0);
            tracing::error!(device = %id, path = %device.config.path.display(), reason, "the device is refused");
        }
    }

    /// Notes that the metadata service knows of the devices' openings. Blocks.
    pub fn confirm_openings(&self) {
        for (id, device) in &self.devices {
            let Ok(store) = &device.store else { continue };
            if device.refused.get().is_some() {
                continue;
            }
            if let Err(errno) = store.confirm_opening() {
                tracing::warn!(device = %id, %errno, "that its opening is known cannot be noted");
            }
        }
    }

    /// State and space of all devices.
    pub async fn status(&self) -> Vec<DeviceStatus> {
        let mut all = Vec::with_capacity(self.devices.len());
        for device in self.devices.values() {
            all.push(device.status().await);
        }
        all
    }

    async fn handle_put(&self, request: Request) -> Result<Response, Failure> {
        let message: PutShard = decode(request.header)?;
        let device = self.device(message.device, message.incarnation)?;
        let shard = ShardDescription::new(message).map_err(malformed)?;
        match device.store()?.put(shard, request.body).await {
            Ok(()) => {}
            Err(PutError::Store(error)) => device.counted(Err(error))?,
            Err(error @ (PutError::Body(_) | PutError::Length)) => return Err(malformed(error.to_string())),
        }
        Ok(reply(&PutShardReply {}, Body::empty()))
    }

    async fn handle_get(&self, request: Request) -> Result<Response, Failure> {
        let message: GetShard = decode(request.header)?;
        let device = self.device(message.device, message.incarnation)?;
        let key = key_of(&message.chunk_id, message.shard_index)?;
        let read = device.store()?.read(key, message.first_block, message.block_count);
        let (shard, share) = device.counted(read.await)?;
        let header = GetShardReply {
            shard_len: shard.shard_len,
            block_hashes: shard.block_hashes,
            shard_hashes: shard.shard_hashes,
        };
        Ok(reply(&header, Body::from(shard.payload).keeping(share)))
    }

    async fn handle_delete(&self, request: Request) -> Result<Response, Failure> {
        let message: DeleteShard = decode(request.header)?;
        let device = self.device(message.device, message.incarnation)?;
        let key = key_of(&message.chunk_id, message.shard_index)?;
        let store = device.store()?;
        let pass = match message.stray_epoch {
            0 => None,
            epoch => Some(device.fence.pass(epoch).await.ok_or_else(overtaken)?),
        };
        let deleted = store.delete(key).await;
        drop(pass);
        device.counted(deleted)?;
        Ok(reply(&DeleteShardReply {}, Body::empty()))
    }

    async fn handle_repair(&self, request: Request) -> Result<Response, Failure> {
        let message: RepairShard = decode(request.header)?;
        let device = self.device(message.device, message.incarnation)?;
        let store = device.store()?;
        device.fence.raise(message.epoch).await;
        let (put, body, read_bytes) = self.repairs.make(&message).await?;
        let shard = ShardDescription::new(put).map_err(malformed)?;
        // What lies there already is looked at: it may be why the shard is to be made.
        store
            .check(shard.key)
            .await
            .or_else(|error| device.counted(Err(error)))?;
        match store.put(shard, body).await {
            Ok(()) => {}
            Err(PutError::Store(error)) => device.counted(Err(error))?,
            Err(error @ (PutError::Body(_) | PutError::Length)) => return Err(malformed(error.to_string())),
        }
        Ok(reply(&RepairShardReply { read_bytes }, Body::empty()))
    }

    async fn handle_recode(&self, request: Request) -> Result<Response, Failure> {
        let message: RecodeChunk = decode(request.header)?;
        let chunk = Some(self.repairs.recode(&message).await?);
        Ok(reply(&RecodeChunkReply { chunk }, Body::empty()))
    }

    async fn handle_list(&self, request: Request) -> Result<Response, Failure> {
        let message: ListShards = decode(request.header)?;
        let device = self.device(message.device, message.incarnation)?;
        let after = if message.cursor.is_empty() {
            None
        } else {
            Some(ShardKey::from_bytes(&message.cursor).ok_or_else(|| malformed("the cursor is none of ours"))?)
        };
        let listed = device.store()?.list(after, INVENTORY_PAGE_MAX).await;
        let page = device.counted(listed)?;
        let next = page
            .shards
            .last()
            .filter(|_| page.more)
            .map(|last| Bytes::copy_from_slice(&last.key.to_bytes()));
        let name = |listed: &ListedShard| ShardName {
            chunk_id: Bytes::copy_from_slice(&listed.key.chunk.to_bytes()),
            shard_index: listed.key.index.into(),
            damaged: listed.is_damaged,
        };
        let shards = page.shards.iter().map(name).collect();
        Ok(reply(
            &ListShardsReply {
                shards,
                next_cursor: next.unwrap_or_default(),
            },
            Body::empty(),
        ))
    }

    async fn handle_status(&self, request: Request) -> Result<Response, Failure> {
        let DeviceStatusRequest {} = decode(request.header)?;
        Ok(reply(
            &DeviceStatusReply {
                devices: self.status().await,
            },
            Body::empty(),
        ))
    }

    fn device(&self, id: u32, incarnation: u64) -> Result<&Device, Failure> {
        let device = self.devices.get(&DeviceId::new(id));
        let device = device.ok_or_else(|| wrong_device(format!("server {} has no device {id}", self.server_id)))?;
        let own = device.config.incarnation;
        if own.value() != incarnation {
            return Err(wrong_device(format!("device {id} is in life {own}, not {incarnation}")));
        }
        Ok(device)
    }
}

#[async_trait]
impl Service for ChunkServer {
    async fn handle(&self, _: Peer, request: Request) -> Result<Response, Failure> {
        match request.kind {
            RequestKind::PutShard => self.handle_put(request).await,
            RequestKind::GetShard => self.handle_get(request).await,
            RequestKind::DeleteShard => self.handle_delete(request).await,
            RequestKind::ListShards => self.handle_list(request).await,
            RequestKind::DeviceStatus => self.handle_status(request).await,
            RequestKind::RepairShard => Box::pin(self.handle_repair(request)).await,
            RequestKind::RecodeChunk => Box::pin(self.handle_recode(request)).await,
            kind => Err(malformed(format!("a chunkserver does not answer {}", kind.name()))),
        }
    }
}

impl Device {
    fn store(&self) -> Result<&Arc<DeviceStore>, Failure> {
        let store = match self.refused.get() {
            Some(reason) => Err(reason),
            None => self.store.as_ref(),
        };
        store.map_err(|reason| {
            self.metrics.errors.inc();
            failure_of(&StoreError::Down(reason.clone()))
        })
    }

    fn counted<T>(&self, outcome: Result<T, StoreError>) -> Result<T, Failure> {
        outcome.map_err(|error| {
            self.metrics.errors.inc();
            failure_of(&error)
        })
    }

    async fn status(&self) -> DeviceStatus {
        let mut status = match &self.store {
            Ok(store) => {
                let store = Arc::clone(store);
                let status = tokio::task::spawn_blocking(move || store.status()).await;
                status.unwrap_or_else(|_| StoreStatus {
                    down: Some("the device's status cannot be read".to_owned()),
                    ..StoreStatus::default()
                })
            }
            Err(reason) => StoreStatus {
                down: Some(reason.clone()),
                ..StoreStatus::default()
            },
        };
        if let Some(reason) = self.refused.get() {
            status.down = Some(reason.clone());
        }
        DeviceStatus {
            device: self.config.id.value(),
            incarnation: self.config.incarnation.value(),
            path: self.config.path.display().to_string(),
            up: status.down.is_none(),
            reason: status.down.unwrap_or_default(),
            total_bytes: status.total_bytes,
            free_bytes: status.free_bytes,
            used_bytes: status.used_bytes,
            corrupt_shards: status.corrupt_shards,
            scrub_finished_ms: status.scrub_finished_ms,
            opening: status.opening.0,
            opening_before: status.opening.1,
        }
    }
}

fn open_config(device: &DeviceConfig, settings: DeviceSettings, metrics: DeviceMetrics) -> OpenConfig {
    let identity = DeviceIdentity {
        cluster_id: device.cluster_id,
        device: device.id,
        incarnation: device.incarnation,
    };
    OpenConfig {
        path: device.path.clone(),
        identity,
        settings,
        metrics,
    }
}

fn failure_of(error: &StoreError) -> Failure {
    let code = match error {
        StoreError::NotFound => FailureCode::NotFound,
        StoreError::Corrupt(_) => FailureCode::Corrupt,
        StoreError::Down(_) => FailureCode::DeviceDown,
        StoreError::Full => FailureCode::DeviceFull,
        StoreError::Busy => FailureCode::Busy,
        StoreError::Conflict => FailureCode::Malformed,
    };
    failure(code, error.to_string())
}

fn decode<M: Message + Default>(header: Bytes) -> Result<M, Failure> {
    M::decode(header).map_err(|error| malformed(error.to_string()))
}

fn key_of(chunk_id: &[u8], index: u32) -> Result<ShardKey, Failure> {
    ShardKey::new(chunk_id, index).ok_or_else(|| malformed("no shard has this name"))
}

fn malformed(detail: impl Into<String>) -> Failure {
    failure(FailureCode::Malformed, detail)
}

fn overtaken() -> Failure {
    let text = "the device was given a copy under a later map than that by which the shard lies elsewhere";
    failure(FailureCode::WrongEpoch, text)
}

fn wrong_device(detail: String) -> Failure {
    failure(FailureCode::WrongDevice, detail)
}
