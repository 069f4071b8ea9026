//! A small store in a temporary folder: one chunkserver with any number of devices, a map, and a hand on the wire.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_chunkserver::{ChunkServer, ChunkServerConfig, DeviceConfig, DeviceIdentity, format_device};
use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{ChunkId, DeviceId, Epoch, Incarnation, NodeId, SessionId},
    planner::plan_rows,
    redundancy::Redundancy,
    wire::{
        failure::{Failure, FailureCode},
        kind::RequestKind,
        object::Chunk,
        shard::{DeleteShard, DeleteShardReply, GetShard, PutShard},
    },
};
use cairn_datapath::{ChunkBudget, ChunkIds, Datapath, Metrics, ReadError, WriteError};
use cairn_transport::{Body, InProcess, Peer, Request, Response, Service, Transport, call, failure};
use parking_lot::Mutex;
use prost::Message;
use tempfile::TempDir;

pub(crate) const SERVER: NodeId = NodeId::new(1);
const CLUSTER: [u8; 16] = [9; 16];

/// What happens to requests for a device before they reach it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    Answers(FailureCode),
    Silent,
}

/// Changes answers to reads: (shard asked for, answer).
pub(crate) type Lie = Box<dyn Fn(&GetShard, Response) -> Response + Send + Sync>;

/// Stands between carrier and chunkserver.
#[derive(Default)]
pub(crate) struct Meddler {
    server: Mutex<Option<Arc<ChunkServer>>>,
    pub(crate) trouble: Mutex<BTreeMap<u32, Trouble>>,
    pub(crate) lie: Mutex<Option<Lie>>,
    pub(crate) puts: Mutex<Vec<PutShard>>,
}

pub(crate) struct Store {
    devices: u32,
    map: Arc<ClusterMap>,
    pub(crate) meddler: Arc<Meddler>,
    pub(crate) budget: ChunkBudget,
    ids: Ids,
    /// Last, so that it is there until the server has ended.
    folder: TempDir,
}

#[derive(Default)]
pub(crate) struct Ids(AtomicU64);

impl ChunkIds for Ids {
    fn next_chunk_id(&self) -> ChunkId {
        ChunkId {
            session: SessionId::new(1),
            counter: 1 + self.0.fetch_add(1, Ordering::Relaxed),
        }
    }
}

pub(crate) fn scheme(text: &str) -> Redundancy {
    text.parse().expect("a valid scheme")
}

/// Bytes that differ everywhere, the same for the same seed.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

impl Store {
    /// A store of `devices` devices with rows for `scheme` and its copies.
    pub(crate) async fn new(devices: u32, scheme: Redundancy) -> Self {
        let store = Self {
            folder: memory_folder(),
            devices,
            map: Arc::new(cluster_map(devices, scheme)),
            meddler: Arc::default(),
            budget: ChunkBudget::new(256 << 20),
            ids: Ids::default(),
        };
        for device in 1..=devices {
            let identity = DeviceIdentity {
                cluster_id: CLUSTER,
                device: DeviceId::new(device),
                incarnation: Incarnation::new(1),
            };
            format_device(&store.path(device), &identity).expect("a new directory");
        }
        store.start().await;
        store
    }

    async fn start(&self) {
        let device = |device| DeviceConfig {
            id: DeviceId::new(device),
            incarnation: Incarnation::new(1),
            path: self.path(device),
            cluster_id: CLUSTER,
        };
        let config = ChunkServerConfig::new(SERVER, (1..=self.devices).map(device).collect());
        *self.meddler.server.lock() = Some(Arc::new(ChunkServer::start(config).await));
    }

    pub(crate) fn map(&self) -> Arc<ClusterMap> {
        Arc::clone(&self.map)
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    pub(crate) fn path(&self, device: u32) -> PathBuf {
        self.folder.path().join(format!("device-{device}"))
    }

    /// A data path that knows nothing of earlier failures.
    pub(crate) fn datapath(&self) -> Datapath {
        let transport = InProcess::new().with_service(SERVER, ChunkServer::KINDS, self.service(), 4096);
        self.datapath_over(Arc::new(transport))
    }

    /// The chunkserver, for a carrier.
    pub(crate) fn service(&self) -> Arc<dyn Service> {
        Arc::clone(&self.meddler) as Arc<dyn Service>
    }

    /// The same over a carrier that reaches it as [`SERVER`].
    pub(crate) fn datapath_over(&self, transport: Arc<dyn Transport>) -> Datapath {
        let map = Arc::clone(&self.map);
        Datapath::new(
            transport,
            Arc::new(move || Arc::clone(&map)),
            self.budget.clone(),
            Metrics::default(),
        )
    }

    pub(crate) async fn try_write(
        &self,
        datapath: &Datapath,
        scheme: Redundancy,
        bytes: &[u8],
    ) -> Result<Chunk, WriteError> {
        let mut buffer = self
            .budget
            .acquire(bytes.len(), scheme)
            .await
            .expect("the budget is free");
        for piece in bytes.chunks(100_000) {
            buffer.extend_from_slice(piece).await.expect("the budget is free");
        }
        datapath.write_chunk(&self.ids, scheme, buffer).await
    }

    pub(crate) async fn write(&self, scheme: Redundancy, bytes: &[u8]) -> Chunk {
        self.try_write(&self.datapath(), scheme, bytes).await.expect("stored")
    }

    /// The device of each shard.
    pub(crate) fn row(&self, chunk: &Chunk) -> Vec<u32> {
        let id = chunk.chunk_id().expect("16 bytes");
        let width = chunk.redundancy().expect("a scheme").width();
        let row = chunk.explicit_row().unwrap_or_else(|| {
            let group = id.placement_hash().group(self.map.group_bits);
            self.map.row(width, group).expect("a row").to_vec()
        });
        row.into_iter().map(DeviceId::value).collect()
    }

    /// Flips one bit of a shard where it lies on its device.
    pub(crate) fn flip(&self, chunk: &Chunk, shard: usize, spot: Spot) {
        let segments = self.path(self.row(chunk)[shard]).join("segments");
        for entry in std::fs::read_dir(segments).expect("a directory") {
            let path = entry.expect("an entry").path();
            let bytes = std::fs::read(&path).expect("readable");
            let Some(record) = (0..bytes.len())
                .step_by(64)
                .find(|at| is_record(&bytes[*at..], &chunk.id, shard))
            else {
                continue;
            };
            let number =
                |at: usize| u32::from_le_bytes(bytes[record + at..][..4].try_into().expect("4 bytes")) as usize;
            let (payload, len) = (record + number(12), number(72));
            let at = match spot {
                Spot::Header(offset) => record + offset,
                Spot::FirstByte => payload,
                Spot::LastByte => payload + len - 1,
            };
            let file = std::fs::OpenOptions::new().write(true).open(&path).expect("writable");
            return file.write_all_at(&[bytes[at] ^ 0x10], at as u64).expect("written");
        }
        panic!("shard {shard} is not there");
    }

    /// Has the server look at its devices, as everybody who asks for their state does.
    pub(crate) async fn look(&self) {
        let server = self.meddler.server.lock().clone().expect("it was started");
        server.status().await;
    }

    /// Has a device forget its shard.
    pub(crate) async fn forget(&self, chunk: &Chunk, shard: usize) {
        let transport = InProcess::new().with_service(SERVER, ChunkServer::KINDS, self.service(), 16);
        let message = DeleteShard {
            device: self.row(chunk)[shard],
            incarnation: 1,
            chunk_id: chunk.id.clone(),
            shard_index: shard as u32,
            stray_epoch: 0,
        };
        let patience = Duration::from_secs(10);
        let deleted = call::<DeleteShardReply>(
            &transport,
            SERVER,
            RequestKind::DeleteShard,
            &message,
            Body::empty(),
            patience,
        );
        deleted.await.expect("deleted");
    }

    /// Lets devices fail from now on.
    pub(crate) fn set_trouble(&self, devices: impl IntoIterator<Item = u32>, trouble: Trouble) {
        *self.meddler.trouble.lock() = devices.into_iter().map(|device| (device, trouble)).collect();
    }

    pub(crate) fn set_down(&self, devices: impl IntoIterator<Item = u32>) {
        self.set_trouble(devices, Trouble::Answers(FailureCode::DeviceDown));
    }
}

/// A byte of a stored shard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spot {
    Header(usize),
    FirstByte,
    LastByte,
}

/// Whether the record of a shard starts there (docs/formats.md).
fn is_record(bytes: &[u8], chunk_id: &[u8], shard: usize) -> bool {
    bytes.starts_with(b"CRec\x01\x01") && usize::from(bytes[6]) == shard && bytes[16..32] == *chunk_id
}

pub(crate) async fn read(datapath: &Datapath, chunk: &Chunk, from: usize, to: usize) -> Result<Vec<u8>, ReadError> {
    let pieces: Vec<Bytes> = datapath.read_chunk(chunk, from as u32..to as u32).await?;
    Ok(pieces.concat())
}

/// In memory where there is such a place: what is tested here is not the disk, and some thousand syncs would take minutes.
fn memory_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder")
}

/// All sets of `count` of `items`.
pub(crate) fn subsets(items: &[u32], count: usize) -> Vec<BTreeSet<u32>> {
    let choices = (0_u32..1 << items.len()).filter(|choice| choice.count_ones() as usize == count);
    let chosen = |choice: u32| {
        items
            .iter()
            .enumerate()
            .filter(move |(index, _)| choice >> index & 1 == 1)
    };
    choices
        .map(|choice| chosen(choice).map(|(_, item)| *item).collect())
        .collect()
}

fn cluster_map(devices: u32, scheme: Redundancy) -> ClusterMap {
    let device = |id| Device {
        id: DeviceId::new(id),
        incarnation: Incarnation::new(1),
        server: SERVER,
        weight_bytes: 1 << 40,
        failure_domain: format!("device-{id}"),
        disk: "disk".to_owned(),
    };
    let devices: BTreeMap<_, _> = (1..=devices).map(|id| (DeviceId::new(id), device(id))).collect();
    let widths = [scheme.width(), scheme.as_replicas().width()];
    let rows = widths
        .map(|width| (width, plan_rows(&devices, width, 64).expect("enough devices")))
        .into();
    ClusterMap {
        epoch: Epoch::new(5),
        group_bits: 6,
        devices,
        rows,
        ..ClusterMap::default()
    }
}

impl Meddler {
    pub(crate) fn server(&self) -> Option<Arc<ChunkServer>> {
        self.server.lock().clone()
    }

    async fn meet_trouble(&self, device: u32) -> Result<(), Failure> {
        let trouble = self.trouble.lock().get(&device).copied();
        match trouble {
            Some(Trouble::Answers(code)) => Err(failure(code, "as the test wants it")),
            Some(Trouble::Silent) => std::future::pending().await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Service for Meddler {
    async fn handle(&self, from: Peer, request: Request) -> Result<Response, Failure> {
        let server = self.server.lock().clone().expect("it was started");
        match request.kind {
            RequestKind::PutShard => {
                let put = PutShard::decode(request.header.clone()).expect("a put");
                self.meet_trouble(put.device).await?;
                self.puts.lock().push(put);
                server.handle(from, request).await
            }
            RequestKind::GetShard => {
                let get = GetShard::decode(request.header.clone()).expect("a get");
                self.meet_trouble(get.device).await?;
                let response = server.handle(from, request).await?;
                Ok(match &*self.lie.lock() {
                    Some(lie) => lie(&get, response),
                    None => response,
                })
            }
            _ => server.handle(from, request).await,
        }
    }
}
