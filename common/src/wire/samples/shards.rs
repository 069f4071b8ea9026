//! Values of the messages of [`crate::wire::shard`].

use bytes::Bytes;

use super::{Sample, objects, sample, servers};
use crate::wire::shard::{
    DeleteShard, DeleteShardReply, DeviceStatus, DeviceStatusReply, DeviceStatusRequest, GetShard, GetShardReply,
    ListShards, ListShardsReply, PutShard, PutShardReply, RepairShard, RepairShardReply, ShardName,
};

pub(super) fn samples() -> Vec<Sample> {
    let devices = vec![device_status()];
    vec![
        sample("PutShard", put_shard()),
        sample("PutShardReply", PutShardReply {}),
        sample("GetShard", shard_read()),
        sample("GetShardReply", shard_read_reply()),
        sample("DeleteShard", delete_shard()),
        sample("DeleteShardReply", DeleteShardReply {}),
        sample("RepairShard", repair_shard()),
        sample("RepairShardReply", RepairShardReply { read_bytes: 262_144 }),
        sample("ListShards", list_shards()),
        sample("ListShardsReply", list_shards_reply()),
        sample("ShardName", shard_name()),
        sample(
            "ShardName/damaged",
            ShardName {
                damaged: true,
                ..ShardName::default()
            },
        ),
        sample("DeviceStatusRequest", DeviceStatusRequest {}),
        sample("DeviceStatusReply", DeviceStatusReply { devices }),
        sample("DeviceStatus", device_status()),
        sample(
            "DeviceStatus/scrub",
            DeviceStatus {
                scrub_finished_ms: 5,
                opening: 4,
                opening_before: 3,
                ..DeviceStatus::default()
            },
        ),
    ]
}

fn chunk_id() -> Bytes {
    Bytes::from_static(b"0123456789abcdef")
}

fn put_shard() -> PutShard {
    PutShard {
        device: 300,
        incarnation: 2,
        chunk_id: chunk_id(),
        shard_index: 5,
        shard_len: 65_536,
        chunk_len: 262_144,
        block_hashes: Bytes::from_static(&[1; 32]),
        shard_hashes: Bytes::from_static(&[2; 64]),
    }
}

fn repair_shard() -> RepairShard {
    RepairShard {
        chunk: Some(objects::chunk()),
        shard_index: 5,
        device: 300,
        incarnation: 2,
        holders: vec![objects::device()],
        servers: vec![servers::address()],
        epoch: 9,
        rate_mib: 64,
    }
}

fn shard_read() -> GetShard {
    GetShard {
        device: 300,
        incarnation: 2,
        chunk_id: chunk_id(),
        shard_index: 5,
        first_block: 6,
        block_count: 7,
    }
}

fn shard_read_reply() -> GetShardReply {
    GetShardReply {
        shard_len: 65_536,
        block_hashes: Bytes::from_static(&[1; 32]),
        shard_hashes: Bytes::from_static(&[2; 64]),
    }
}

fn delete_shard() -> DeleteShard {
    DeleteShard {
        device: 300,
        incarnation: 2,
        chunk_id: chunk_id(),
        shard_index: 5,
        stray_epoch: 9,
    }
}

fn list_shards() -> ListShards {
    ListShards {
        device: 300,
        incarnation: 2,
        cursor: Bytes::from_static(b"cursor"),
    }
}

fn list_shards_reply() -> ListShardsReply {
    ListShardsReply {
        shards: vec![shard_name()],
        next_cursor: Bytes::from_static(b"cursor"),
    }
}

fn shard_name() -> ShardName {
    ShardName {
        chunk_id: chunk_id(),
        shard_index: 5,
        damaged: false,
    }
}

pub(super) fn device_status() -> DeviceStatus {
    DeviceStatus {
        device: 300,
        incarnation: 2,
        path: "/srv/1".to_owned(),
        up: true,
        reason: "none".to_owned(),
        total_bytes: 1 << 40,
        free_bytes: 1 << 39,
        used_bytes: 1 << 38,
        corrupt_shards: 1,
        scrub_finished_ms: 0,
        opening: 0,
        opening_before: 0,
    }
}
