//! A client of a metadata group as real programs use it: over QUIC, with an identity of its own.
//!
//! *Invariant*: an error is told as "not done" only where the client library says that the command did not and will not happen.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use cairn_client::{Client, ClientConfig, ClientError};
use cairn_common::cluster_map::{ClusterMap, Device};
use cairn_common::ids::{DeviceId, Epoch, Incarnation, NodeId};
use cairn_common::limits;
use cairn_common::planner::plan_rows;
use cairn_common::redundancy::Redundancy;
use cairn_common::wire::command::{
    Command, InstallMap, Outcome, RaiseFeatureLevel, WriteCondition, WriteReply, WriteRequest,
};
use cairn_common::wire::kind::RequestKind;
use cairn_common::wire::map::MapMessage;
use cairn_common::wire::object::ObjectAttributes;
use cairn_common::wire::query::{Answer, ListQuery, ObjectQuery, Query, ReadReply, ReadRequest};
use cairn_datapath::{ChunkBudget, Metrics};
use cairn_transport::identity::load_credentials;
use cairn_transport::{
    Addresses, Body, CallError, Identity, NodeAddresses, QuicSettings, QuicTransport, TransportMetrics, call,
};

use super::client::{MetadataClient, Missed};
use crate::history::{KeyReply, Tag};

const BUCKET: &str = "histories";
const TIMEOUT: Duration = Duration::from_secs(10);
/// Memory for chunk buffers: objects are small enough to need none.
const BUDGET_BYTES: usize = 1 << 20;

/// The way to a group for a node that is no member of it.
pub struct GroupWay {
    transport: Arc<QuicTransport>,
    addresses: NodeAddresses,
    members: Vec<NodeId>,
}

/// One session of the client library.
pub struct GroupClient(Client);

impl GroupWay {
    /// For the node of the directory `data`, to members at these addresses. Runs within a tokio runtime.
    ///
    /// # Errors
    /// The directory is no node's, or no socket can be opened.
    pub fn open(data: &Path, members: &[(u64, String)]) -> Result<Self> {
        let identity = Identity::member(load_credentials(&data.join("cluster"))?)?;
        let addresses = NodeAddresses::new();
        for (node, address) in members {
            Addresses::set(&addresses, NodeId::new(*node), address);
        }
        let (settings, metrics) = (QuicSettings::default(), TransportMetrics::default());
        let transport = QuicTransport::new(&identity, addresses.clone(), settings, metrics)?;
        Ok(Self {
            transport: Arc::new(transport),
            addresses,
            members: members.iter().map(|(node, _)| NodeId::new(*node)).collect(),
        })
    }

    /// Raises the feature level, and installs a map of one device that nobody runs, so that buckets can be made.
    ///
    /// # Errors
    /// A group that was just made refuses.
    pub async fn prepare(&self, leader: u64) -> Result<()> {
        let level = limits::FEATURE_LEVEL;
        self.command(leader, Command::RaiseFeatureLevel(RaiseFeatureLevel { level }))
            .await?;
        let device = Device {
            id: DeviceId::new(1),
            incarnation: Incarnation::new(1),
            server: NodeId::new(leader),
            weight_bytes: 1 << 40,
            failure_domain: "none".to_owned(),
            disk: "none".to_owned(),
        };
        let mut map = ClusterMap {
            epoch: Epoch::new(1),
            group_bits: limits::GROUP_BITS,
            devices: [(device.id, device)].into(),
            ..ClusterMap::default()
        };
        let rows = plan_rows(&map.devices, 1, 1 << map.group_bits)?;
        map.rows.insert(1, rows);
        let map = Some(MapMessage::from(&map));
        self.command(leader, Command::InstallMap(InstallMap { map })).await?;
        let client = self.client().await?;
        client.0.create_bucket(BUCKET, "").await?;
        Ok(())
    }

    /// A client with a session of its own.
    ///
    /// # Errors
    /// The group does not answer.
    pub async fn client(&self) -> Result<GroupClient> {
        let config = ClientConfig {
            metadata: self.members.clone(),
            transport: self.transport.clone(),
            addresses: Some(Arc::new(self.addresses.clone())),
            default_redundancy: Some(Redundancy::replicated(1)?),
            budget: ChunkBudget::new(BUDGET_BYTES),
            metrics: Metrics::default(),
            mounts: false,
        };
        Ok(GroupClient(Client::connect(config).await?))
    }

    /// Reads a key at one member and nowhere else; a refusal says why.
    ///
    /// # Errors
    /// The member did not answer, or does not know.
    pub async fn read_at(&self, member: u64, key: &str) -> Result<KeyReply, Missed> {
        let query = Query::Object(ObjectQuery {
            bucket: BUCKET.to_owned(),
            key: Bytes::copy_from_slice(key.as_bytes()),
            with_plan: false,
            plan_from: 0,
        });
        let request = ReadRequest {
            query: Some(query),
            ..ReadRequest::default()
        };
        let asked = self.ask(member, RequestKind::MetadataRead, &request).await;
        // A query changes nothing: whatever went wrong, it was not done.
        let reply: ReadReply = asked.map_err(|error| Missed::NotDone(error.to_string()))?;
        let answered = match reply.answer {
            Some(Answer::Object(answer)) => answer.info.context("the answer is empty").map_err(strange),
            Some(Answer::Refused(refusal)) => Err(ClientError::from(refusal)),
            other => Err(strange(format!("{other:?}"))),
        };
        found(answered.map(|info| info.attributes.unwrap_or_default().etag))
    }

    async fn command(&self, leader: u64, command: Command) -> Result<()> {
        let request = WriteRequest {
            command: Some(command),
            ..WriteRequest::default()
        };
        let reply: WriteReply = self.ask(leader, RequestKind::MetadataWrite, &request).await?;
        match reply.outcome {
            Some(Outcome::Done(_)) => Ok(()),
            other => bail!("the group answered {other:?}"),
        }
    }

    async fn ask<Reply: prost::Message + Default>(
        &self,
        member: u64,
        kind: RequestKind,
        message: &impl prost::Message,
    ) -> Result<Reply, CallError> {
        let node = NodeId::new(member);
        let asked = call(self.transport.as_ref(), node, kind, message, Body::empty(), TIMEOUT).await;
        asked.map(|(reply, _)| reply)
    }
}

impl GroupClient {
    /// Writes `count` further objects, with as many bytes in their records as these may hold.
    ///
    /// # Errors
    /// One is not written.
    pub async fn fill(&self, count: usize) -> Result<()> {
        for number in 0..count {
            let mut writer = self.0.body_writer(BUCKET).await?;
            writer.write(Bytes::from(vec![b'x'; limits::INLINE_SIZE_BYTES])).await?;
            let (body, key) = (writer.finish().await?, format!("fill/{number}"));
            let (attributes, condition) = (ObjectAttributes::default(), WriteCondition::default());
            self.0
                .put_object(BUCKET, key.as_bytes(), attributes, body, condition)
                .await?;
        }
        Ok(())
    }

    async fn store(&self, key: &str, tag: Tag, condition: WriteCondition) -> Result<KeyReply, Missed> {
        let writer = self.0.body_writer(BUCKET).await.map_err(not_begun)?;
        let body = writer.finish().await.map_err(not_begun)?;
        let attributes = ObjectAttributes {
            etag: tag.to_string(),
            ..ObjectAttributes::default()
        };
        let stored = self
            .0
            .put_object(BUCKET, key.as_bytes(), attributes, body, condition)
            .await;
        changed(stored.map(|_| ()))
    }

    async fn remove(&self, key: &str, condition: WriteCondition) -> Result<KeyReply, Missed> {
        changed(self.0.delete_object(BUCKET, key.as_bytes(), condition).await)
    }
}

impl MetadataClient for GroupClient {
    async fn put(&self, key: &str, tag: Tag) -> Result<KeyReply, Missed> {
        self.store(key, tag, WriteCondition::default()).await
    }

    async fn put_if_absent(&self, key: &str, tag: Tag) -> Result<KeyReply, Missed> {
        let condition = WriteCondition {
            must_be_absent: true,
            ..WriteCondition::default()
        };
        self.store(key, tag, condition).await
    }

    async fn compare_and_swap(&self, key: &str, expected: Tag, tag: Tag) -> Result<KeyReply, Missed> {
        self.store(key, tag, exactly(expected)).await
    }

    async fn read(&self, key: &str) -> Result<KeyReply, Missed> {
        let info = self.0.object_info(BUCKET, key.as_bytes()).await;
        found(info.map(|info| info.attributes.unwrap_or_default().etag))
    }

    async fn delete(&self, key: &str) -> Result<KeyReply, Missed> {
        self.remove(key, WriteCondition::default()).await
    }

    async fn compare_and_delete(&self, key: &str, expected: Tag) -> Result<KeyReply, Missed> {
        self.remove(key, exactly(expected)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Missed> {
        let query = ListQuery {
            bucket: BUCKET.to_owned(),
            prefix: Bytes::copy_from_slice(prefix.as_bytes()),
            limit: 1000,
            ..ListQuery::default()
        };
        let page = self.0.list(query).await.map_err(not_begun)?;
        if !page.next_from.is_empty() {
            return Err(Missed::NotDone("one page does not hold the listing".to_owned()));
        }
        let entry = |key: Bytes, etag: &str| {
            let key = String::from_utf8(key.to_vec()).ok()?;
            Some((key, etag.parse().ok()?))
        };
        let entries = page.entries.into_iter();
        let entries = entries
            .map(|listed| entry(listed.key, &listed.etag))
            .collect::<Option<_>>();
        entries.ok_or_else(|| Missed::NotDone("a listed key or tag is not what was written".to_owned()))
    }
}

/// The condition that the key holds exactly this value.
fn exactly(tag: Tag) -> WriteCondition {
    WriteCondition {
        etag: tag.to_string(),
        ..WriteCondition::default()
    }
}

/// What came of a write or delete.
fn changed(outcome: Result<(), ClientError>) -> Result<KeyReply, Missed> {
    match outcome {
        Ok(()) => Ok(KeyReply::Done),
        Err(ClientError::PreconditionFailed) => Ok(KeyReply::Mismatch),
        Err(ClientError::NoSuchKey) => Ok(KeyReply::Absent),
        Err(ClientError::OutcomeUnknown(why)) => Err(Missed::Unknown(why)),
        Err(error) => Err(not_begun(error)),
    }
}

/// What came of a read.
fn found(etag: Result<String, ClientError>) -> Result<KeyReply, Missed> {
    match etag {
        Ok(etag) => match etag.parse() {
            Ok(tag) => Ok(KeyReply::Found(Some(tag))),
            Err(_) => Err(Missed::NotDone(format!("{etag:?} is no tag that was written"))),
        },
        Err(ClientError::NoSuchKey) => Ok(KeyReply::Found(None)),
        Err(error) => Err(not_begun(error)),
    }
}

fn not_begun(error: ClientError) -> Missed {
    Missed::NotDone(error.to_string())
}

fn strange(answer: impl std::fmt::Display) -> ClientError {
    ClientError::Internal(format!("an answer of another kind: {answer}"))
}
