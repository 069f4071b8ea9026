//! The chunkserver as its callers see it: requests in, replies or failures out; and a disk that is really full.

use std::{path::Path, process::Command, time::Duration};

use bytes::Bytes;
use cairn_chunkserver::{ChunkServer, ChunkServerConfig, DeviceConfig, DeviceIdentity, DeviceSettings, format_device};
use cairn_common::{
    checksum::{Hash, block_hashes, shard_hash},
    ids::{ChunkId, DeviceId, Incarnation, NodeId, SessionId},
    wire::{
        failure::FailureCode,
        kind::RequestKind,
        shard::{
            DeleteShard, DeleteShardReply, DeviceStatus, DeviceStatusReply, DeviceStatusRequest, GetShard,
            GetShardReply, ListShards, ListShardsReply, PutShard, PutShardReply,
        },
    },
};
use cairn_transport::{Body, CallError, InProcess, call};
use prost::Message;

const SERVER: NodeId = NodeId::new(4);

struct Caller(InProcess);

impl Caller {
    async fn call<R: Message + Default>(
        &self,
        kind: RequestKind,
        message: &impl Message,
        body: Bytes,
    ) -> Result<(R, Vec<u8>), FailureCode> {
        match call(
            &self.0,
            SERVER,
            kind,
            message,
            Body::from(body),
            Duration::from_secs(60),
        )
        .await
        {
            Ok((reply, body)) => Ok((reply, body.collect(usize::MAX).await.expect("whole").concat())),
            Err(CallError::Failed(failure)) => Err(failure.code()),
            Err(other) => panic!("{other}"),
        }
    }

    async fn put(&self, message: &PutShard, bytes: &[u8]) -> Result<(), FailureCode> {
        self.call::<PutShardReply>(RequestKind::PutShard, message, Bytes::copy_from_slice(bytes))
            .await
            .map(|_| ())
    }

    async fn get(&self, put: &PutShard) -> Result<Vec<u8>, FailureCode> {
        let message = GetShard {
            device: put.device,
            incarnation: put.incarnation,
            chunk_id: put.chunk_id.clone(),
            shard_index: put.shard_index,
            first_block: 0,
            block_count: 1000,
        };
        self.call::<GetShardReply>(RequestKind::GetShard, &message, Bytes::new())
            .await
            .map(|(_, bytes)| bytes)
    }

    async fn delete(&self, put: &PutShard) -> Result<(), FailureCode> {
        let message = DeleteShard {
            device: put.device,
            incarnation: put.incarnation,
            chunk_id: put.chunk_id.clone(),
            shard_index: put.shard_index,
            stray_epoch: 0,
        };
        self.call::<DeleteShardReply>(RequestKind::DeleteShard, &message, Bytes::new())
            .await
            .map(|_| ())
    }

    async fn list(&self, cursor: Bytes) -> Result<ListShardsReply, FailureCode> {
        let message = ListShards {
            device: 1,
            incarnation: 1,
            cursor,
        };
        self.call(RequestKind::ListShards, &message, Bytes::new())
            .await
            .map(|(reply, _)| reply)
    }

    async fn status(&self) -> Vec<DeviceStatus> {
        let answer = self
            .call(RequestKind::DeviceStatus, &DeviceStatusRequest {}, Bytes::new())
            .await;
        let (reply, _): (DeviceStatusReply, _) = answer.expect("a status");
        reply.devices
    }
}

/// A server with devices 1 and 2 in `folder`; `reserve_bytes` as given.
async fn start(folder: &Path, formatted: &[u32], reserve_bytes: u64) -> Caller {
    let settings = DeviceSettings {
        reserve_bytes,
        // A shard of the full disk's test fills one.
        segment_bytes: Some(16 << 20),
        ..DeviceSettings::default()
    };
    start_with(folder, formatted, settings).await
}

async fn start_with(folder: &Path, formatted: &[u32], settings: DeviceSettings) -> Caller {
    let device = |id| DeviceConfig {
        id: DeviceId::new(id),
        incarnation: Incarnation::new(1),
        path: folder.join(format!("device-{id}")),
        cluster_id: [1; 16],
    };
    for id in formatted {
        let DeviceConfig {
            id,
            incarnation,
            path,
            cluster_id,
        } = device(*id);
        format_device(
            &path,
            &DeviceIdentity {
                cluster_id,
                device: id,
                incarnation,
            },
        )
        .expect("formatted");
    }
    let config = ChunkServerConfig {
        settings,
        ..ChunkServerConfig::new(SERVER, vec![device(1), device(2)])
    };
    let server = ChunkServer::start(config).await;
    Caller(InProcess::new().with_service(SERVER, ChunkServer::KINDS, std::sync::Arc::new(server), 100))
}

fn joined(hashes: &[Hash]) -> Bytes {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

fn put_of(counter: u64, bytes: &[u8]) -> PutShard {
    let blocks = block_hashes(bytes);
    PutShard {
        device: 1,
        incarnation: 1,
        chunk_id: Bytes::copy_from_slice(
            &ChunkId {
                session: SessionId::new(1),
                counter,
            }
            .to_bytes(),
        ),
        shard_index: 1,
        shard_len: bytes.len() as u32,
        chunk_len: bytes.len() as u32,
        block_hashes: joined(&blocks),
        shard_hashes: joined(&[shard_hash(bytes.len(), &blocks); 3]),
    }
}

#[tokio::test]
async fn a_shard_lives_and_dies() {
    let folder = tempfile::tempdir().expect("a folder");
    let caller = start(folder.path(), &[1, 2], 0).await;
    let bytes = vec![5; 200_000];
    let put = put_of(1, &bytes);
    assert_eq!(caller.get(&put).await, Err(FailureCode::NotFound));
    caller.put(&put, &bytes).await.expect("stored");
    assert_eq!(caller.get(&put).await, Ok(bytes));
    let page = caller.list(Bytes::new()).await.expect("a page");
    assert_eq!(
        (page.shards.len(), page.shards[0].shard_index, page.next_cursor),
        (1, 1, Bytes::new())
    );
    caller.delete(&put).await.expect("deleted");
    assert_eq!(caller.get(&put).await, Err(FailureCode::NotFound));
    assert!(caller.list(Bytes::new()).await.expect("a page").shards.is_empty());
}

#[tokio::test]
async fn inventories_are_paged() {
    let folder = tempfile::tempdir().expect("a folder");
    let caller = start(folder.path(), &[1, 2], 0).await;
    let puts = (0..1100).map(|counter| put_of(counter, b"x"));
    let stored = puts.map(|put| {
        let caller = &caller;
        async move { caller.put(&put, b"x").await }
    });
    let stored: Vec<_> = futures::StreamExt::collect(futures::StreamExt::buffer_unordered(
        futures::stream::iter(stored.collect::<Vec<_>>()),
        50,
    ))
    .await;
    assert!(stored.iter().all(Result::is_ok));
    let first = caller.list(Bytes::new()).await.expect("a page");
    let second = caller.list(first.next_cursor.clone()).await.expect("a page");
    assert_eq!((first.shards.len(), second.shards.len()), (1000, 100));
    assert!(second.next_cursor.is_empty());
    assert_eq!(
        caller.list(Bytes::from_static(b"junk")).await,
        Err(FailureCode::Malformed)
    );
}

/// Requests of `good`, each with one number or hash that does not fit the rest.
fn contradictions(good: &PutShard) -> Vec<PutShard> {
    vec![
        PutShard {
            chunk_id: Bytes::from_static(b"short"),
            ..good.clone()
        },
        PutShard {
            shard_index: 3,
            ..good.clone()
        },
        PutShard {
            shard_index: 300,
            ..good.clone()
        },
        PutShard {
            shard_len: 69_999,
            ..good.clone()
        },
        PutShard {
            shard_len: 70_001,
            chunk_len: 70_001,
            ..good.clone()
        },
        PutShard {
            shard_len: u32::MAX,
            chunk_len: u32::MAX,
            ..good.clone()
        },
        PutShard {
            chunk_len: 69_999,
            ..good.clone()
        },
        PutShard {
            block_hashes: good.block_hashes.slice(32..),
            ..good.clone()
        },
        PutShard {
            shard_hashes: good.shard_hashes.slice(1..),
            ..good.clone()
        },
        PutShard {
            shard_hashes: Bytes::from(vec![0; 96]),
            ..good.clone()
        },
        PutShard {
            shard_hashes: Bytes::new(),
            ..good.clone()
        },
    ]
}

#[tokio::test]
async fn requests_that_contradict_themselves_store_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let caller = start(folder.path(), &[1, 2], 0).await;
    let bytes = vec![5; 70_000];
    let good = put_of(1, &bytes);
    for message in contradictions(&good) {
        assert_eq!(
            caller.put(&message, &bytes).await,
            Err(FailureCode::Malformed),
            "{message:?}"
        );
    }
    assert_eq!(
        caller
            .put(
                &PutShard {
                    device: 9,
                    ..good.clone()
                },
                &bytes
            )
            .await,
        Err(FailureCode::WrongDevice)
    );
    assert_eq!(
        caller
            .put(
                &PutShard {
                    incarnation: 2,
                    ..good.clone()
                },
                &bytes
            )
            .await,
        Err(FailureCode::WrongDevice)
    );
    assert!(caller.list(Bytes::new()).await.expect("a page").shards.is_empty());
    caller.put(&good, &bytes).await.expect("stored");
    let other = vec![6; 70_000];
    let conflict = PutShard {
        chunk_id: good.chunk_id.clone(),
        ..put_of(1, &other)
    };
    assert_eq!(caller.put(&conflict, &other).await, Err(FailureCode::Malformed));
    assert_eq!(caller.get(&good).await, Ok(bytes));
}

#[tokio::test]
async fn a_device_that_cannot_be_opened_is_down_and_the_other_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let caller = start(folder.path(), &[1], 0).await;
    let put = put_of(1, b"bytes");
    caller.put(&put, b"bytes").await.expect("device 1 serves");
    assert_eq!(
        caller.put(&PutShard { device: 2, ..put }, b"bytes").await,
        Err(FailureCode::DeviceDown)
    );
    assert!(!folder.path().join("device-2").exists(), "nothing is made at start");
    let status = caller.status().await;
    assert_eq!(status.iter().map(|device| device.up).collect::<Vec<_>>(), [true, false]);
    assert!(status[0].total_bytes > 0 && status[0].reason.is_empty() && !status[1].reason.is_empty());
}

/// A full device whose shards are replaced as fast as it goes: compaction is waited for, and nobody is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_full_of_garbage_makes_room_for_those_who_write() {
    const SHARDS: u64 = 800;
    let folder = tempfile::tempdir().expect("a folder");
    let settings = DeviceSettings {
        reserve_bytes: 32 << 20,
        segment_bytes: Some(16 << 20),
        // Twenty segments, of which two are the reserve; the shards take a dozen and a half.
        capacity_bytes: Some(320 << 20),
        ..DeviceSettings::default()
    };
    let caller = start_with(folder.path(), &[1], settings).await;
    let bytes = vec![5; 256 << 10];
    for counter in 0..SHARDS {
        caller.put(&put_of(counter, &bytes), &bytes).await.expect("stored");
    }
    let (caller, bytes) = (&caller, &bytes);
    let writer = |number: u64| async move {
        for counter in (number..2 * SHARDS).step_by(8) {
            // In no order, so that no segment empties by itself.
            let victim = counter * 37 % SHARDS + counter / SHARDS * SHARDS;
            caller
                .delete(&put_of(victim, bytes))
                .await
                .expect("deletes need no room");
            let put = put_of(victim + SHARDS, bytes);
            caller
                .put(&put, bytes)
                .await
                .unwrap_or_else(|code| panic!("{counter}: {code:?}"));
        }
    };
    futures::future::join_all((0..8).map(writer)).await;
    for counter in [2 * SHARDS, 3 * SHARDS - 1] {
        assert!(caller.get(&put_of(counter, bytes)).await.expect("kept") == *bytes);
    }
}

/// Runs a test of this file again in a mount namespace of its own, where it may mount; root is not needed.
fn in_mount_namespace(test: &str) {
    let binary = std::env::current_exe().expect("a path");
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount"])
        .arg(binary)
        .args(["--exact", test, "--nocapture"]);
    let status = command.env("CAIRN_TEST_NAMESPACE", "1").status().expect("unshare runs");
    assert!(status.success(), "{test} failed in its mount namespace");
}

#[test]
fn a_disk_that_fills_up_refuses_and_recovers() {
    if std::env::var_os("CAIRN_TEST_NAMESPACE").is_none() {
        return in_mount_namespace("a_disk_that_fills_up_refuses_and_recovers");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"])
        .arg(folder.path())
        .status();
    assert!(mount.expect("mount runs").success());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        // The reserve keeps 72 MiB free; two segments where it is less.
        for (reserve_bytes, id) in [(0, 1), (72 << 20, 2)] {
            let caller = start(folder.path(), &[id], reserve_bytes).await;
            let bytes = vec![5; 8 << 20];
            let mut stored = Vec::new();
            let refusal = loop {
                let put = PutShard {
                    device: id,
                    ..put_of(stored.len() as u64, &bytes)
                };
                match caller.put(&put, &bytes).await {
                    Ok(()) => stored.push(put),
                    Err(refusal) => break refusal,
                }
                assert!(stored.len() <= 20, "more was stored than fits");
            };
            assert_eq!(refusal, FailureCode::DeviceFull);
            assert_eq!(
                stored.len() > 8,
                reserve_bytes == 0,
                "{} shards were stored",
                stored.len()
            );
            for put in &stored {
                assert!(caller.get(put).await.expect("kept") == bytes);
            }
            caller.delete(&stored[0]).await.expect("deletes need no room");
            let made_room = async {
                while caller.put(&stored[0], &bytes).await.is_err() {
                    tokio::task::yield_now().await;
                }
            };
            let waited = tokio::time::timeout(Duration::from_secs(20), made_room).await;
            waited.expect("compaction makes room");
            for put in &stored {
                caller.delete(put).await.expect("deleted");
            }
            let came_back = async {
                while caller.status().await[id as usize - 1].free_bytes < 90 << 20 {
                    tokio::task::yield_now().await;
                }
            };
            let waited = tokio::time::timeout(Duration::from_secs(20), came_back).await;
            waited.expect("compaction gives the room back");
            assert!(caller.status().await[id as usize - 1].up);
        }
    });
}
