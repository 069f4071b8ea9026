//! The bytes of records: round trips, damage, truncation, what was stored by version 1.

use cairn_common::ids::{ChunkId, SessionId};
use proptest::prelude::*;

use super::*;

const SALT: Salt = [9; 32];
const POSITION: Position = Position {
    segment: SegmentId::new(3),
    offset: 4096,
};

fn key() -> ShardKey {
    ShardKey {
        chunk: ChunkId {
            session: SessionId::new(0x0102_0304),
            counter: 5,
        },
        index: 1,
    }
}

fn record(shard_len: u32, width: usize) -> Record {
    let blocks = (shard_len as usize).div_ceil(BLOCK_SIZE_BYTES);
    Record {
        position: POSITION,
        sequence: Sequence::new(77),
        synced_end: Position {
            segment: SegmentId::new(2),
            offset: 8192,
        },
        body: RecordBody::Shard(ShardDescription {
            key: key(),
            shard_len,
            chunk_len: shard_len,
            block_hashes: (0..blocks * Hash::LEN).map(|index| index as u8).collect(),
            shard_hashes: (0..width * Hash::LEN).map(|index| !(index as u8)).collect(),
        }),
    }
}

fn tombstone() -> Record {
    let body = RecordBody::Tombstone {
        key: key(),
        target: SegmentId::new(2),
    };
    Record { body, ..record(1, 2) }
}

proptest! {
    #[test]
    fn round_trip(shard_len in 1..=8_u32 << 20, width in 2..=WIDTH_MAX, behind in 0_usize..100) {
        let record = record(shard_len, width);
        let mut bytes = record.encode(&SALT);
        prop_assert_eq!(bytes.len() % record.body.alignment(), 0);
        prop_assert!(bytes.len() <= HEADER_LEN_MAX);
        prop_assert!(record.body.record_len() <= RECORD_LEN_MAX);
        bytes.resize(bytes.len() + behind, 0xff);
        prop_assert_eq!(Record::decode(&bytes, POSITION, &SALT), Ok(record));
    }

    #[test]
    fn any_bytes_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = bytes;
        prop_assert!(Record::decode(&bytes, POSITION, &SALT).is_err());
        bytes.splice(0..0, *b"CRec\x01\x01");
        prop_assert!(Record::decode(&bytes, POSITION, &SALT).is_err());
    }
}

#[test]
fn a_record_of_another_place_or_store_is_none() {
    let bytes = record(100, 3).encode(&SALT);
    let elsewhere = Position {
        offset: POSITION.offset + 64,
        ..POSITION
    };
    assert_eq!(Record::decode(&bytes, elsewhere, &SALT), Err(RecordError::Inconsistent));
    assert_eq!(Record::decode(&bytes, POSITION, &[8; 32]), Err(RecordError::Tag));
}

/// Fuzzing found that only the lengths had to agree: such a record was taken, and was another one when written again.
#[test]
fn a_header_that_contradicts_itself_is_none_even_with_the_right_tag() {
    let shard = record(100, 3).encode(&SALT);
    let deleted = tombstone().encode(&SALT);
    let contradictions = [
        ("a shard's target", &shard, 64, 1),
        ("an empty shard", &record(1, 3).encode(&SALT), 72, 0),
        ("a chunk shorter than its shard", &shard, 76, 99),
        ("an index behind the last shard", &shard, 6, 3),
        ("a tombstone's shards", &deleted, 7, 1),
        ("a tombstone's shard length", &deleted, 72, 1),
        ("a tombstone's chunk length", &deleted, 76, 1),
        ("the length of another record", &shard, 8, 64),
    ];
    for (what, bytes, at, value) in contradictions {
        let mut bytes = [bytes.as_slice(), &[0; 64]].concat();
        bytes[at] = value;
        forge(&mut bytes, None, &SALT).expect("the header is whole");
        assert_eq!(
            Record::decode(&bytes, POSITION, &SALT),
            Err(RecordError::Inconsistent),
            "{what}"
        );
    }
}

/// Its end is worked out in 32 bits, and direct I/O takes its payload only on a page.
#[test]
fn a_record_that_ends_where_no_segment_does_or_starts_off_its_page_is_none() {
    let at = |record: Record, offset| {
        let position = Position { offset, ..POSITION };
        let bytes = Record { position, ..record }.encode(&SALT);
        Record::decode(&bytes, position, &SALT).err()
    };
    let last = u32::MAX - u32::MAX % 64;
    assert_eq!(at(tombstone(), last - 128), None);
    assert_eq!(at(tombstone(), last - 64), Some(RecordError::Inconsistent));
    assert_eq!(at(record(1 << 20, 3), 4096 + 64), Some(RecordError::Inconsistent));
}

#[test]
fn every_truncation_is_found() {
    for record in [record(100_000, 3), tombstone()] {
        let bytes = record.encode(&SALT);
        let needed = FIXED_LEN + record.body.hashes().concat().len();
        for len in 0..needed {
            let decoded = Record::decode(&bytes[..len], POSITION, &SALT);
            assert_eq!(decoded, Err(RecordError::Truncated), "{len} bytes");
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for record in [record(100_000, 3), tombstone()] {
        let bytes = record.encode(&SALT);
        let covered = FIXED_LEN + record.body.hashes().concat().len();
        for bit in 0..covered * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&flipped, POSITION, &SALT).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn small_records_are_packed_and_large_ones_lie_on_pages() {
    assert_eq!(record(4096, 3).body.record_len(), 4096 + 256);
    let large = record(1 << 20, 6).body;
    assert_eq!((large.payload_offset(), large.record_len()), (4096, 4096 + (1 << 20)));
    assert_eq!(tombstone().body.record_len(), 128);
}

#[test]
fn the_stored_samples_of_version_1_are_read_and_written() {
    let shard = include_bytes!("../../../tests/samples/record_shard_v1.bin");
    let deleted = include_bytes!("../../../tests/samples/record_tombstone_v1.bin");
    for (record, sample) in [(record(100_000, 3), shard.as_slice()), (tombstone(), deleted)] {
        assert_eq!(Record::decode(sample, POSITION, &SALT), Ok(record.clone()));
        assert_eq!(record.encode(&SALT), sample);
    }
}
