//! Requests to a chunkserver as a client sends them, and the same damaged.
//!
//! Invariant: none writes anything; the file above does.

use bytes::Bytes;
use cairn_common::wire::shard::{DeleteShard, GetShard, ListShards, PutShard};
use prost::Message;

use super::{Seeds, flipped, key, put, with};
use crate::fuzzing::request::HASHED;

pub(super) fn request_seeds() -> Seeds {
    let chunk_id = Bytes::copy_from_slice(&key(5).chunk.to_bytes());
    let read = GetShard {
        device: 3,
        incarnation: 9,
        chunk_id: chunk_id.clone(),
        shard_index: 1,
        first_block: 2,
        block_count: 4,
    };
    let delete = DeleteShard {
        device: 3,
        incarnation: 9,
        chunk_id,
        shard_index: 1,
        stray_epoch: 0,
    };
    let list = ListShards {
        device: 3,
        incarnation: 9,
        cursor: Bytes::copy_from_slice(&key(5).to_bytes()),
    };
    let small = put(100).encode_to_vec();
    let large = PutShard {
        block_hashes: Bytes::new(),
        ..put(8 << 20)
    };
    vec![
        ("shard_request", "put", with(&[0], &small)),
        ("shard_request", "put_hashed", with(&[HASHED], &small)),
        ("shard_request", "put_largest", with(&[HASHED], &large.encode_to_vec())),
        (
            "shard_request",
            "put_flipped",
            with(&[0], &flipped(&small, small.len() / 2)),
        ),
        ("shard_request", "put_cut", with(&[0], &small[..small.len() - 1])),
        ("shard_request", "get", with(&[1], &read.encode_to_vec())),
        ("shard_request", "delete", with(&[2], &delete.encode_to_vec())),
        ("shard_request", "list", with(&[3], &list.encode_to_vec())),
        ("shard_request", "status", vec![4]),
    ]
}
