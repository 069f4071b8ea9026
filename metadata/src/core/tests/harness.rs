//! A state machine in memory with one session, and commands in short form.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{ChunkId, DeviceId, Epoch, Incarnation, NodeId, SessionId},
    limits,
    planner::plan_rows,
    wire::{
        command::{
            Command, CreateBucket, DeleteObject, EntryBatch, ErrorCode, Heartbeat, InstallMap, OpenSession, Outcome,
            PutObject, RaiseFeatureLevel, WriteCondition, WriteReply, WriteRequest,
        },
        map::MapMessage,
        object::{Body, Chunk, Extent, ObjectAttributes},
        query::{Answer, ListPage, ListQuery, ObjectAnswer, ObjectQuery, Query},
    },
};

use crate::core::{
    Verdict, answer, apply, judge,
    view::{MemoryView, ViewError},
};

pub(crate) const BUCKET: &str = "bucket";

pub(crate) struct Machine {
    pub(crate) view: MemoryView,
    pub(crate) log_index: u64,
    pub(crate) session: u64,
    pub(crate) sequence: u64,
    pub(crate) chunk_counter: u64,
    pub(crate) time_ms: u64,
}

pub(crate) fn map() -> ClusterMap {
    let devices: BTreeMap<DeviceId, Device> = (1..=6)
        .map(|id| {
            let device = Device {
                id: DeviceId::new(id),
                incarnation: Incarnation::new(1),
                server: NodeId::new(1),
                weight_bytes: 1,
                failure_domain: format!("d{id}"),
                disk: "disk".to_owned(),
            };
            (device.id, device)
        })
        .collect();
    let rows = [1, 3, 6]
        .map(|width| (width, plan_rows(&devices, width, 16).expect("six devices")))
        .into();
    ClusterMap {
        epoch: Epoch::new(1),
        group_bits: 4,
        devices,
        rows,
        ..ClusterMap::default()
    }
}

impl Machine {
    /// A machine with a map, a session and a bucket of 4+2.
    pub(crate) fn new() -> Self {
        let view = MemoryView::default();
        let mut machine = Self {
            view,
            log_index: 0,
            session: 0,
            sequence: 0,
            chunk_counter: 0,
            time_ms: 1000,
        };
        let map = Some(MapMessage::from(&map()));
        machine.send(0, 0, 0, Command::InstallMap(InstallMap { map }));
        let level = RaiseFeatureLevel {
            level: limits::FEATURE_LEVEL,
        };
        machine.send(0, 0, 0, Command::RaiseFeatureLevel(level));
        machine.open_session();
        let create = CreateBucket {
            name: BUCKET.to_owned(),
            data_shards: 4,
            parity_shards: 2,
            chunk_size_bytes: 0,
            owner_key: String::new(),
        };
        assert!(machine.run(Command::CreateBucket(create)).is_ok());
        machine
    }

    pub(crate) fn open_session(&mut self) {
        let reply = self.send(0, 0, 0, Command::OpenSession(OpenSession::default()));
        let Some(Outcome::Session(id)) = reply.outcome else {
            panic!("no session: {reply:?}")
        };
        self.session = id;
        self.sequence = 0;
        self.chunk_counter = 0;
    }

    /// Applies one command as an entry of its own.
    pub(crate) fn send(&mut self, session: u64, sequence: u64, answered_below: u64, command: Command) -> WriteReply {
        let request = WriteRequest {
            session,
            sequence,
            answered_below,
            group: 0,
            resent: false,
            settles: false,
            command: Some(command),
        };
        self.apply(vec![request]).pop().expect("one reply for one command")
    }

    pub(crate) fn apply(&mut self, requests: Vec<WriteRequest>) -> Vec<WriteReply> {
        self.log_index += 1;
        self.time_ms += 1;
        let batch = EntryBatch {
            time_ms: self.time_ms,
            requests,
        };
        let applied = apply(&self.view, self.log_index, &batch).expect("a sound state");
        self.view.commit(applied.writes);
        applied.replies
    }

    /// Runs a numbered command of the session.
    pub(crate) fn run(&mut self, command: Command) -> Result<Outcome, ErrorCode> {
        self.sequence += 1;
        let reply = self.send(self.session, self.sequence, self.sequence, command);
        match reply.outcome.expect("an outcome") {
            Outcome::Refused(refusal) => Err(refusal.code()),
            outcome => Ok(outcome),
        }
    }

    pub(crate) fn ask(&self, query: Query) -> Answer {
        answer(&self.view, self.log_index, &query)
            .expect("a sound state")
            .answer
            .expect("an answer")
    }

    /// Whether a shard of the chunk is nobody's, wherever it lies.
    pub(crate) fn is_orphan(&self, id: ChunkId) -> Result<bool, ViewError> {
        let verdicts = judge(&self.view, DeviceId::new(1), &[(id, 0)])?;
        Ok(verdicts == [Verdict::Orphan])
    }

    pub(crate) fn heartbeat(&mut self, settled_below: u64, reads_from: u64) {
        let heartbeat = Heartbeat {
            settled_below,
            reads_from,
            ..Heartbeat::default()
        };
        self.send(self.session, 0, 0, Command::Heartbeat(heartbeat));
    }

    /// A body of `chunks` chunks of 100 bytes under new ids.
    pub(crate) fn body(&mut self, chunks: u64) -> Body {
        let extents = (0..chunks).map(|index| self.extent(index * 100)).collect();
        Body {
            size: chunks * 100,
            inline: Bytes::new(),
            extents,
        }
    }

    fn extent(&mut self, file_offset: u64) -> Extent {
        self.chunk_counter += 1;
        let id = ChunkId {
            session: SessionId::new(self.session),
            counter: self.chunk_counter,
        };
        let chunk = Chunk {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            data_shards: 1,
            parity_shards: 2,
            length: 100,
            hash: Bytes::from(vec![7; 32]),
            explicit_devices: Vec::new(),
            epoch: 1,
            missing: 0,
        };
        Extent {
            file_offset,
            length: 100,
            chunk_offset: 0,
            chunk: Some(chunk),
            inline: Bytes::new(),
        }
    }

    pub(crate) fn put_command(&mut self, key: &[u8], chunks: u64, condition: WriteCondition) -> PutObject {
        let body = if chunks == 0 {
            Body {
                size: key.len().min(100) as u64,
                inline: Bytes::copy_from_slice(&key[..key.len().min(100)]),
                ..Body::default()
            }
        } else {
            self.body(chunks)
        };
        PutObject {
            bucket: BUCKET.to_owned(),
            key: Bytes::copy_from_slice(key),
            attributes: Some(attributes(&format!("tag-{}", self.sequence + 1))),
            body: Some(body),
            condition: Some(condition),
        }
    }

    pub(crate) fn put(&mut self, key: &[u8], chunks: u64) -> Result<Outcome, ErrorCode> {
        let command = self.put_command(key, chunks, WriteCondition::default());
        self.run(Command::PutObject(command))
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<Outcome, ErrorCode> {
        let key = Bytes::copy_from_slice(key);
        self.run(Command::DeleteObject(DeleteObject {
            bucket: BUCKET.to_owned(),
            key,
            condition: None,
        }))
    }

    pub(crate) fn object(&self, key: &[u8]) -> Option<ObjectAnswer> {
        let key = Bytes::copy_from_slice(key);
        let query = ObjectQuery {
            bucket: BUCKET.to_owned(),
            key,
            with_plan: true,
            plan_from: 0,
        };
        match self.ask(Query::Object(query)) {
            Answer::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(crate) fn list_page(&self, prefix: &[u8], delimiter: &[u8], from: &[u8], limit: u32) -> ListPage {
        let bytes = Bytes::copy_from_slice;
        let (prefix, delimiter, from) = (bytes(prefix), bytes(delimiter), bytes(from));
        let query = ListQuery {
            bucket: BUCKET.to_owned(),
            prefix,
            delimiter,
            from,
            limit,
        };
        match self.ask(Query::List(query)) {
            Answer::List(page) => page,
            other => panic!("no list: {other:?}"),
        }
    }

    /// The whole listing in pages of `limit`: keys, and prefixes with a mark.
    pub(crate) fn list(&self, prefix: &[u8], delimiter: &[u8], from: &[u8], limit: u32) -> Vec<(Vec<u8>, bool)> {
        let mut all = Vec::new();
        let mut from = from.to_vec();
        loop {
            let page = self.list_page(prefix, delimiter, &from, limit);
            assert!(page.entries.len() <= limit as usize);
            all.extend(
                page.entries
                    .into_iter()
                    .map(|entry| (entry.key.to_vec(), entry.is_prefix)),
            );
            if page.next_from.is_empty() {
                return all;
            }
            from = page.next_from.to_vec();
        }
    }
}

pub(crate) fn attributes(etag: &str) -> ObjectAttributes {
    ObjectAttributes {
        etag: etag.to_owned(),
        ..ObjectAttributes::default()
    }
}
