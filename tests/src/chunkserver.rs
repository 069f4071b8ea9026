//! `cairn chunkserver` as a real process, and a node that stores shards on it over QUIC.
//!
//! Invariant: what is asked of the process is asked as another node of the cluster would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use cairn_common::checksum::{block_hashes, shard_hash};
use cairn_common::ids::{ChunkId, NodeId, SessionId};
use cairn_common::wire::kind::RequestKind;
use cairn_common::wire::shard::{
    DeleteShard, DeleteShardReply, GetShard, GetShardReply, ListShards, ListShardsReply, PutShard, PutShardReply,
};
use cairn_transport::identity::load_credentials;
use cairn_transport::{Body, CallError, Identity, NodeAddresses, QuicSettings, QuicTransport, TransportMetrics, call};
use prost::Message;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::daemon::{Daemon, Output, field};
use crate::metadata_group::MetadataGroup;
use crate::place;
use crate::process::{Printed, run, run_any};

const TIMEOUT: Duration = Duration::from_secs(20);
const SHARD_BYTES_MAX: usize = 8 << 20;

/// A node that serves devices, and the first node that let it in.
#[derive(Debug)]
pub struct Chunkserver {
    // Fields drop in this order: the processes before their folder.
    process: Option<Daemon>,
    output: Output,
    data: PathBuf,
    /// Its node id.
    pub node: u64,
    cluster: MetadataGroup,
}

/// Another node, which stores and reads shards.
pub struct ShardClient {
    runtime: Runtime,
    transport: Arc<QuicTransport>,
    node: NodeId,
}

impl Chunkserver {
    /// A node of these roles that has not started yet.
    ///
    /// # Errors
    /// It cannot join.
    pub fn prepare(name: &str, roles: &str) -> Result<Self> {
        let cluster = MetadataGroup::start(name, 1)?;
        let data = cluster.folder().join("chunkserver");
        let node = cluster.join(&data, roles)?;
        Ok(Self {
            process: None,
            output: Output::in_folder(cluster.folder(), "chunkserver"),
            data,
            node,
            cluster,
        })
    }

    /// `cairn chunkserver` on the node's directory, with device directories of these names.
    fn command(&self, devices: &[&str]) -> Result<Command> {
        let mut command = Command::new(place::cairn_binary()?);
        command.arg("chunkserver").arg("--data").arg(&self.data);
        command.args([
            "--cluster-listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--segment-mib",
            "16",
        ]);
        for device in devices {
            command.arg("--device").arg(self.device(device));
        }
        Ok(command)
    }

    /// Starts it, with devices of these names beside those that it knows.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(&mut self, devices: &[&str]) -> Result<()> {
        self.process = Some(self.output.start(&mut self.command(devices)?)?);
        Ok(())
    }

    /// What it says where it must not start.
    ///
    /// # Errors
    /// It runs.
    pub fn start_refused(&self, devices: &[&str]) -> Result<String> {
        let refused = Output::in_folder(self.cluster.folder(), "refused");
        let (status, said) = refused.start_refused(&mut self.command(devices)?)?;
        ensure!(!status.success(), "it ended as if all were well: {said}");
        Ok(said)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to stop, and waits for it to end well.
    ///
    /// # Errors
    /// It ends with a failure, or not at all.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().context("it runs")?.stop()
    }

    /// Its directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The directory of a device.
    #[must_use]
    pub fn device(&self, name: &str) -> PathBuf {
        self.cluster.folder().join(name)
    }

    /// What it said at its last start.
    #[must_use]
    pub fn printed(&self) -> String {
        self.output.printed()
    }

    /// The last lines that it logged, over all its starts.
    #[must_use]
    pub fn log_end(&self) -> String {
        self.output.log_end()
    }

    /// What `cairn status` tells, and whether that ended well.
    ///
    /// # Errors
    /// It tells nothing.
    pub fn status(&self) -> Result<(bool, Value)> {
        let mut command = Command::new(place::cairn_binary()?);
        let (succeeded, printed) = run_any(command.args(["status", "--json", "--data"]).arg(&self.data))?;
        Ok((
            succeeded,
            serde_json::from_str(&printed.stdout).context(printed.stderr)?,
        ))
    }

    /// `cairn chunkserver …` on a device that is not served.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn maintain(&self, arguments: &[&str], device: &str) -> Result<(bool, Printed)> {
        let mut command = Command::new(place::cairn_binary()?);
        run_any(command.arg("chunkserver").args(arguments).arg(self.device(device)))
    }

    /// What `cairn chunkserver …` prints that must succeed.
    ///
    /// # Errors
    /// It fails.
    pub fn maintained(&self, arguments: &[&str], device: &str) -> Result<String> {
        let mut command = Command::new(place::cairn_binary()?);
        Ok(run(command.arg("chunkserver").args(arguments).arg(self.device(device)))?.stdout)
    }

    /// Another node, which may do what these roles may.
    ///
    /// # Errors
    /// It cannot join.
    pub fn client(&self, roles: &str) -> Result<ShardClient> {
        let data = self.cluster.folder().join(format!("client-{roles}"));
        if !data.exists() {
            fs::create_dir_all(&data)?;
            self.cluster.join(&data, roles)?;
        }
        let identity = Identity::member(load_credentials(&data.join("cluster"))?)?;
        let addresses = NodeAddresses::new();
        let address = field(&self.printed(), "cluster")?;
        let address = address.split(' ').next().context("an address")?;
        addresses.set(NodeId::new(self.node), address.parse()?);
        let runtime = Runtime::new()?;
        let transport = {
            let _within = runtime.enter();
            let (settings, metrics) = (QuicSettings::default(), TransportMetrics::default());
            QuicTransport::new(&identity, addresses, settings, metrics)?
        };
        Ok(ShardClient {
            runtime,
            transport: Arc::new(transport),
            node: NodeId::new(self.node),
        })
    }
}

impl ShardClient {
    fn call<R: Message + Default>(
        &self,
        kind: RequestKind,
        header: &impl Message,
        body: Bytes,
    ) -> Result<(R, Bytes), CallError> {
        self.runtime.block_on(async {
            let body = if body.is_empty() {
                Body::empty()
            } else {
                Body::from(body)
            };
            let (reply, body) = call::<R>(&*self.transport, self.node, kind, header, body, TIMEOUT).await?;
            let bytes = body.collect(SHARD_BYTES_MAX).await.unwrap_or_default();
            Ok((reply, bytes.concat().into()))
        })
    }

    /// Stores a chunk of one shard.
    ///
    /// # Errors
    /// It was not stored.
    pub fn put(&self, device: u32, counter: u64, bytes: &[u8]) -> Result<(), CallError> {
        let blocks = block_hashes(bytes);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let put = PutShard {
            device,
            incarnation: 1,
            chunk_id: chunk_id(counter),
            shard_index: 0,
            shard_len: len,
            chunk_len: len,
            block_hashes: blocks.iter().flat_map(|hash| *hash.as_bytes()).collect(),
            shard_hashes: Bytes::copy_from_slice(shard_hash(bytes.len(), &blocks).as_bytes()),
        };
        self.call::<PutShardReply>(RequestKind::PutShard, &put, Bytes::copy_from_slice(bytes))?;
        Ok(())
    }

    /// The bytes of a shard.
    ///
    /// # Errors
    /// They are not there.
    pub fn get(&self, device: u32, counter: u64) -> Result<Bytes, CallError> {
        let get = GetShard {
            device,
            incarnation: 1,
            chunk_id: chunk_id(counter),
            shard_index: 0,
            first_block: 0,
            block_count: u32::MAX,
        };
        let (_, bytes) = self.call::<GetShardReply>(RequestKind::GetShard, &get, Bytes::new())?;
        Ok(bytes)
    }

    /// Deletes a shard.
    ///
    /// # Errors
    /// It was not deleted.
    pub fn delete(&self, device: u32, counter: u64) -> Result<(), CallError> {
        let delete = DeleteShard {
            device,
            incarnation: 1,
            chunk_id: chunk_id(counter),
            shard_index: 0,
            stray_epoch: 0,
        };
        self.call::<DeleteShardReply>(RequestKind::DeleteShard, &delete, Bytes::new())?;
        Ok(())
    }

    /// How many shards a device lists on its first page.
    ///
    /// # Errors
    /// It does not answer.
    pub fn count(&self, device: u32) -> Result<usize, CallError> {
        let list = ListShards {
            device,
            incarnation: 1,
            cursor: Bytes::new(),
        };
        let (page, _) = self.call::<ListShardsReply>(RequestKind::ListShards, &list, Bytes::new())?;
        Ok(page.shards.len())
    }
}

fn chunk_id(counter: u64) -> Bytes {
    let session = SessionId::new(7);
    Bytes::copy_from_slice(&ChunkId { session, counter }.to_bytes())
}
