//! Formats of the index and of the device's superblock.
//!
//! Invariant: what is under an envelope decodes to the same value again once it was written; what is not, to the same bytes.

use std::fmt::Debug;

use super::sealed::seal;
use crate::{
    core::{
        index_record::{
            SHARD_KEY_LEN, open_scrub, open_state, open_tombstones, open_usage, parse_segment_key, parse_shard_key,
            parse_tombstone_key, seal_scrub, seal_state, seal_tombstones, seal_usage, segment_key, shard_key,
            tombstone_key,
        },
        location::{LOCATION_LEN, Location},
        position::SegmentId,
    },
    shard::ShardKey,
    superblock::{decode_any, encode},
};

/// In the first byte: the rest is a body, to be put under a right envelope.
pub(super) const SEALED: u8 = 1;

/// Bytes of an envelope before its body.
const ENVELOPE_LEN: usize = 5;

const SUPERBLOCK_MAGIC: &[u8; 8] = b"CAIRNDEV";

/// A superblock; with `SEALED`, the body of one.
pub fn superblock(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else {
        return false;
    };
    let bytes = match mode & SEALED {
        0 => rest.to_vec(),
        _ => [SUPERBLOCK_MAGIC, seal(rest).as_slice()].concat(),
    };
    let Ok(identity) = decode_any(&bytes) else {
        return false;
    };
    assert!(bytes.starts_with(SUPERBLOCK_MAGIC));
    assert_eq!(decode_any(&encode(&identity)), Ok(identity));
    for len in 0..SUPERBLOCK_MAGIC.len() + ENVELOPE_LEN {
        assert!(decode_any(&bytes[..len]).is_err(), "{len} bytes");
    }
    true
}

/// A location.
pub fn location(bytes: &[u8]) -> bool {
    let Some(location) = Location::decode(bytes) else {
        return false;
    };
    assert_eq!(location.encode().as_slice(), bytes);
    assert_eq!(Location::decode(&bytes[..LOCATION_LEN - 1]), None);
    assert_eq!(Location::decode(&[bytes, &[0]].concat()), None);
    true
}

/// A record of the index, of the kind that the bits above `SEALED` say; with it, the body of one.
pub fn index_record(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else {
        return false;
    };
    let bytes = match mode & SEALED {
        0 => rest.to_vec(),
        _ => seal(rest),
    };
    match (mode >> 1) % 4 {
        0 => check_sealed(&bytes, open_state, seal_state),
        1 => check_sealed(&bytes, open_usage, seal_usage),
        2 => check_sealed(&bytes, open_tombstones, seal_tombstones),
        _ => check_sealed(&bytes, open_scrub, seal_scrub),
    }
}

/// A key of any family of the index.
pub fn index_key(bytes: &[u8]) -> bool {
    let of_shard = parse_shard_key(bytes);
    if let Some(key) = of_shard {
        assert_eq!(shard_key(&key).as_slice(), bytes);
        assert_eq!(parse_shard_key(&bytes[..SHARD_KEY_LEN - 1]), None);
    }
    let of_segment = parse_segment_key(bytes);
    assert_eq!(of_segment.is_some(), bytes.len() == 8, "any 8 bytes are a segment's");
    if let Some(segment) = of_segment {
        assert_eq!(segment_key(segment).as_slice(), bytes);
    }
    let of_tombstones = parse_tombstone_key(bytes);
    assert_eq!(
        of_tombstones.is_some(),
        bytes.len() == 16,
        "any 16 bytes are tombstones'"
    );
    if let Some(segment) = of_tombstones {
        let target = parse_segment_key(&bytes[..8]).expect("8 bytes are a segment's");
        assert_eq!(tombstone_key(target, segment).as_slice(), bytes);
    }
    // Random bytes never carry the hash of their chunk id, so that one is put before them.
    let named = ShardKey::from_bytes(bytes);
    if let Some(key) = named {
        assert_eq!(key.to_bytes().as_slice(), bytes);
        assert_eq!(parse_shard_key(&shard_key(&key)), Some(key));
        let other = ShardKey { index: 0, ..key };
        assert_eq!(key.cmp(&other), shard_key(&key).cmp(&shard_key(&other)));
    }
    of_shard.is_some() || of_segment.is_some_and(|segment| segment != SegmentId::default()) || named.is_some()
}

fn check_sealed<T, E>(bytes: &[u8], open: fn(&[u8]) -> Result<T, E>, seal: fn(&T) -> Vec<u8>) -> bool
where
    T: Debug + PartialEq,
    E: Debug + PartialEq,
{
    let Ok(opened) = open(bytes) else { return false };
    for len in 0..ENVELOPE_LEN {
        assert!(open(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert_eq!(open(&seal(&opened)), Ok(opened));
    true
}
