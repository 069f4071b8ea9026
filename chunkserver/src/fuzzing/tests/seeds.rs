//! Makes the first inputs of the corpus: what is really written, and the same damaged.
//!
//! Invariant: it writes only into `fuzz/corpus`, and only when asked to.

mod request;

use std::fs;

use bytes::Bytes;
use cairn_common::{
    checksum::{Hash, shard_hash},
    ids::{ChunkId, SessionId},
    limits::BLOCK_SIZE_BYTES,
    wire::shard::PutShard,
};

use super::fuzz_folder;
use crate::{
    core::{
        changes::Tombstones,
        index_record::{
            IndexState, seal_scrub, seal_state, seal_tombstones, seal_usage, segment_key, shard_key, tombstone_key,
        },
        location::Location,
        position::{Position, SegmentId, Sequence},
        record::{Record, RecordBody},
        scrub::ScrubState,
        segment_header::SegmentHeader,
        segment_name::{Stage, segment_name},
        usage::Usage,
    },
    fuzzing::{
        IDENTITY, POSITION, SALT,
        index::SEALED,
        log::{FIRST_SEALED, HIGH, PLACED, SECOND_SEALED, TAGGED},
    },
    shard::{ShardDescription, ShardKey},
    superblock,
};

const ENVELOPE_LEN: usize = 5;

type Seeds = Vec<(&'static str, &'static str, Vec<u8>)>;

#[test]
#[ignore = "writes into the tree"]
fn write_the_seeds() {
    let all = [log_seeds(), segment_seeds(), index_seeds(), request::request_seeds()].concat();
    for (target, name, bytes) in all {
        let folder = fuzz_folder().join("corpus").join(target);
        fs::create_dir_all(&folder).expect("the tree is writable");
        fs::write(folder.join(name), bytes).expect("the tree is writable");
    }
}

fn key(counter: u64) -> ShardKey {
    ShardKey {
        chunk: ChunkId {
            session: SessionId::new(0x0102_0304),
            counter,
        },
        index: 1,
    }
}

fn put(shard_len: u32) -> PutShard {
    let blocks = (shard_len as usize).div_ceil(BLOCK_SIZE_BYTES);
    let block_hashes = vec![5; blocks * Hash::LEN];
    let list: Vec<_> = block_hashes
        .chunks_exact(Hash::LEN)
        .filter_map(Hash::from_slice)
        .collect();
    let mut shard_hashes = vec![6; 3 * Hash::LEN];
    shard_hashes[Hash::LEN..2 * Hash::LEN].copy_from_slice(shard_hash(shard_len as usize, &list).as_bytes());
    PutShard {
        device: 3,
        incarnation: 9,
        chunk_id: Bytes::copy_from_slice(&key(5).chunk.to_bytes()),
        shard_index: 1,
        shard_len,
        chunk_len: shard_len * 2,
        block_hashes: block_hashes.into(),
        shard_hashes: shard_hashes.into(),
    }
}

fn shard_record(shard_len: u32, offset: u32) -> Record {
    let shard = ShardDescription::new(put(shard_len)).expect("its numbers agree");
    Record {
        position: Position { offset, ..POSITION },
        sequence: Sequence::new(77),
        synced_end: Position::default(),
        body: RecordBody::Shard(shard),
    }
}

fn tombstone(offset: u32) -> Record {
    let body = RecordBody::Tombstone {
        key: key(5),
        target: SegmentId::new(2),
    };
    Record {
        body,
        ..shard_record(1, offset)
    }
}

fn with(head: &[u8], bytes: &[u8]) -> Vec<u8> {
    [head, bytes].concat()
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

fn log_seeds() -> Seeds {
    let shard = shard_record(100_000, POSITION.offset).encode(&SALT);
    let large = shard_record(1 << 20, POSITION.offset).encode(&SALT);
    let deleted = tombstone(POSITION.offset).encode(&SALT);
    let mut packed = Vec::new();
    for (counter, shard_len) in [(0, 30), (1, 100), (2, 64)] {
        let record = shard_record(shard_len, POSITION.offset + u32::try_from(packed.len()).expect("short"));
        packed.extend(record.encode(&SALT));
        packed.resize(
            packed.len() + record.body.record_len() - record.body.payload_offset(),
            counter,
        );
        packed.extend(tombstone(POSITION.offset + u32::try_from(packed.len()).expect("short")).encode(&SALT));
    }
    let forged = TAGGED | PLACED;
    vec![
        ("record", "shard", with(&[0], &shard)),
        ("record", "shard_tagged", with(&[TAGGED], &shard)),
        ("record", "shard_placed", with(&[forged], &shard)),
        // Without the zeros up to its page, which nothing reads.
        ("record", "shard_large", with(&[TAGGED], &large[..96 + 19 * Hash::LEN])),
        ("record", "tombstone", with(&[0], &deleted)),
        ("record", "tombstone_placed", with(&[forged], &deleted)),
        (
            "record",
            "tombstone_with_a_chunk",
            with(&[TAGGED], &flipped(&deleted, 76)),
        ),
        ("record", "shard_flipped", with(&[0], &flipped(&shard, 40))),
        ("record", "shard_cut", with(&[0], &shard[..120])),
        (
            "record",
            "shard_contradicts_itself",
            with(&[TAGGED], &flipped(&shard, 8)),
        ),
        ("segment_walk", "packed", with(&[0, 0, 0], &packed)),
        ("segment_walk", "hole", with(&[forged, 70, 0], &packed)),
        ("segment_walk", "ends_early", with(&[forged, 0, 0xfe], &packed)),
        ("segment_walk", "ends_late", with(&[forged, 1, 2], &packed)),
        ("segment_walk", "high", with(&[forged | HIGH, 1, 0], &packed)),
        ("segment_walk", "flipped", with(&[0, 0, 0], &flipped(&packed, 40))),
        ("segment_walk", "elsewhere", with(&[0, 0, 0], &packed[64..])),
        (
            "segment_walk",
            "large",
            with(&[forged, 0, 120], &large[..96 + 19 * Hash::LEN]),
        ),
    ]
}

fn segment_seeds() -> Seeds {
    let header = SegmentHeader {
        identity: IDENTITY,
        segment: POSITION.segment,
        size_bytes: 1 << 28,
        salt: SALT,
    };
    let page = header.encode();
    let copy_len = page.len() / 2;
    let len = usize::from(page[8]);
    let body = &page[12 + ENVELOPE_LEN..12 + len];
    let both = [&[u8::try_from(body.len()).expect("short")], body, body].concat();
    let cut = [&[u8::try_from(body.len() - 1).expect("short")], &body[1..], body].concat();
    let name = |stage| segment_name(POSITION.segment, stage).into_bytes();
    vec![
        // One copy alone: a page and its mode would be longer than an input may be.
        ("segment_header", "one_copy", with(&[0], &page[..copy_len])),
        ("segment_header", "flipped", with(&[0], &flipped(&page[..copy_len], 30))),
        ("segment_header", "cut", with(&[0], &page[..copy_len - 1])),
        ("segment_header", "both", with(&[FIRST_SEALED | SECOND_SEALED], &both)),
        ("segment_header", "second_only", with(&[SECOND_SEALED], &both)),
        (
            "segment_header",
            "first_contradicts",
            with(&[FIRST_SEALED | SECOND_SEALED], &cut),
        ),
        ("segment_name", "making", name(Stage::Making)),
        ("segment_name", "serving", name(Stage::Serving)),
        ("segment_name", "condemned", name(Stage::Condemned)),
        ("segment_name", "set_aside", name(Stage::SetAside)),
        ("segment_name", "sign", b"+0000000000000000042.segment".to_vec()),
        ("segment_name", "largest", b"18446744073709551615.segment".to_vec()),
        ("segment_name", "too_large", b"18446744073709551616.segment".to_vec()),
        ("segment_name", "short", b"42.segment".to_vec()),
    ]
}

fn index_seeds() -> Seeds {
    let state = seal_state(&IndexState {
        settled_end: POSITION,
        next_sequence: Sequence::new(78),
    });
    let usage = seal_usage(&Usage {
        used_bytes: 1 << 20,
        live_bytes: 1 << 19,
        damaged: 1,
    });
    let tombstones = seal_tombstones(&Tombstones { bytes: 128, end: 4224 });
    let scrub = seal_scrub(&ScrubState {
        next: POSITION,
        started_ms: 7,
        finished_ms: 6,
        found: 1,
    });
    let device = superblock::encode(&IDENTITY);
    let location = Location::of(&shard_record(100_000, POSITION.offset)).expect("a shard has a location");
    let location = location.encode();
    let of_shard = shard_key(&key(5));
    let body = |bytes: &[u8]| bytes[ENVELOPE_LEN..].to_vec();
    vec![
        ("index_record", "state", with(&[0], &state)),
        ("index_record", "usage", with(&[2], &usage)),
        ("index_record", "tombstones", with(&[4], &tombstones)),
        ("index_record", "scrub", with(&[6], &scrub)),
        ("index_record", "state_body", with(&[SEALED], &body(&state))),
        ("index_record", "usage_body", with(&[2 | SEALED], &body(&usage))),
        (
            "index_record",
            "tombstones_body",
            with(&[4 | SEALED], &body(&tombstones)),
        ),
        ("index_record", "scrub_body", with(&[6 | SEALED], &body(&scrub))),
        ("index_record", "state_flipped", with(&[0], &flipped(&state, 6))),
        ("index_record", "scrub_cut", with(&[6], &scrub[..4])),
        ("index_record", "newer", with(&[0], &flipped(&state, 0))),
        ("superblock", "whole", with(&[0], &device)),
        ("superblock", "body", with(&[SEALED], &device[8 + ENVELOPE_LEN..])),
        ("superblock", "flipped", with(&[0], &flipped(&device, 20))),
        ("superblock", "cut", with(&[0], &device[..10])),
        (
            "superblock",
            "other_layout",
            with(&[SEALED], &flipped(&device[8 + ENVELOPE_LEN..], 23)),
        ),
        ("location", "whole", location.to_vec()),
        ("location", "damaged", flipped(&location, 1)),
        ("location", "newer", flipped(&location, 0)),
        ("location", "cut", location[..47].to_vec()),
        ("index_key", "shard", of_shard.to_vec()),
        ("index_key", "shard_of_another_hash", flipped(&of_shard, 0)),
        ("index_key", "name", key(5).to_bytes().to_vec()),
        ("index_key", "segment", segment_key(POSITION.segment).to_vec()),
        (
            "index_key",
            "tombstones",
            tombstone_key(POSITION.segment, SegmentId::new(4)).to_vec(),
        ),
    ]
}
