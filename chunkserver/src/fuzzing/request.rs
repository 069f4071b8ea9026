//! Requests to a chunkserver, as far as they are looked at before a device is.
//!
//! Invariant: the shard of an accepted request can be stored and is read back as it was.

use std::fmt::Debug;

use bytes::Bytes;
use cairn_common::{
    checksum::{Hash, shard_hash},
    limits::{BLOCK_SIZE_BYTES, CHUNK_SIZE_BYTES, WIDTH_MAX},
    wire::shard::{DeleteShard, DeviceStatusRequest, GetShard, ListShards, PutShard},
};
use prost::Message;

use super::{POSITION, SALT, log::check_record};
use crate::{
    core::{
        position::{Position, Sequence},
        record::{Record, RecordBody},
    },
    shard::{ShardDescription, ShardKey},
};

/// In the first byte, for a shard to be stored: it gets as many block hashes as it needs, and the right hash of its own.
pub(super) const HASHED: u8 = 8;

/// A request of the kind that the lowest three bits of the first byte say.
pub fn shard_request(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else {
        return false;
    };
    match mode & 7 {
        0 => decode(rest).is_some_and(|message: PutShard| check_put(message, mode & HASHED != 0)),
        1 => decode(rest).is_some_and(|message: GetShard| check_name(&message.chunk_id, message.shard_index)),
        2 => decode(rest).is_some_and(|message: DeleteShard| check_name(&message.chunk_id, message.shard_index)),
        3 => decode(rest).is_some_and(|message: ListShards| check_cursor(&message.cursor)),
        _ => decode::<DeviceStatusRequest>(rest).is_some(),
    }
}

fn decode<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(Bytes::copy_from_slice(bytes)).ok()?;
    assert_eq!(M::decode(message.encode_to_vec().as_slice()).as_ref(), Ok(&message));
    Some(message)
}

fn check_put(mut message: PutShard, is_hashed: bool) -> bool {
    if is_hashed {
        add_hashes(&mut message);
    }
    let sent = message.clone();
    let Ok(shard) = ShardDescription::new(message) else {
        return false;
    };
    assert_eq!(shard.key.chunk.to_bytes().as_slice(), sent.chunk_id);
    assert_eq!(u32::from(shard.key.index), sent.shard_index);
    assert_eq!((shard.shard_len, shard.chunk_len), (sent.shard_len, sent.chunk_len));
    assert_eq!(
        (&shard.block_hashes, &shard.shard_hashes),
        (&sent.block_hashes, &sent.shard_hashes)
    );
    assert_eq!(shard.own_hash(), own_hash(&sent));
    check_stored(shard);
    true
}

/// What a client would send along with these lengths.
fn add_hashes(message: &mut PutShard) {
    let blocks = (message.shard_len as usize)
        .min(CHUNK_SIZE_BYTES)
        .div_ceil(BLOCK_SIZE_BYTES);
    let mut block_hashes = message.block_hashes.to_vec();
    block_hashes.resize(blocks * Hash::LEN, 0);
    message.block_hashes = block_hashes.into();
    let own = own_hash(message);
    let mut shard_hashes = message.shard_hashes.to_vec();
    if let Some(place) = shard_hashes
        .chunks_exact_mut(Hash::LEN)
        .nth(message.shard_index as usize)
    {
        place.copy_from_slice(own.as_bytes());
    }
    message.shard_hashes = shard_hashes.into();
}

fn own_hash(message: &PutShard) -> Hash {
    let blocks = message.block_hashes.chunks_exact(Hash::LEN);
    let blocks: Vec<_> = blocks.filter_map(Hash::from_slice).collect();
    shard_hash(message.shard_len as usize, &blocks)
}

fn check_stored(shard: ShardDescription) {
    let record = Record {
        position: POSITION,
        sequence: Sequence::new(1),
        synced_end: Position::default(),
        body: RecordBody::Shard(shard),
    };
    check_record(&record, &record.encode(&SALT));
}

fn check_name(chunk_id: &[u8], index: u32) -> bool {
    let Some(key) = ShardKey::new(chunk_id, index) else {
        return false;
    };
    assert!(usize::from(key.index) < WIDTH_MAX && u32::from(key.index) == index);
    assert_eq!(key.chunk.to_bytes().as_slice(), chunk_id);
    check_cursor(&key.to_bytes())
}

fn check_cursor(cursor: &[u8]) -> bool {
    let Some(key) = ShardKey::from_bytes(cursor) else {
        return false;
    };
    assert_eq!(key.to_bytes().as_slice(), cursor);
    assert_eq!(ShardKey::from_bytes(&cursor[..ShardKey::LEN - 1]), None);
    true
}
