//! Formats of the log: records, the walk over a segment of them, the segment's header and name.
//!
//! Invariant: positions and lengths agree with the bytes that they are of.

use std::convert::Infallible;

use bytes::Bytes;
use cairn_common::{checksum::Hash, limits::WIDTH_MAX};

use super::{IDENTITY, POSITION, SALT, sealed::seal};
use crate::core::{
    location::Location,
    position::{Position, SegmentId},
    record::{HEADER_LEN_MAX, RECORD_LEN_MAX, Record, RecordBody, RecordError, UNIT, forge, may_start},
    segment_header::{SEGMENT_HEADER_LEN, SegmentHeader},
    segment_name::{parse_segment_name, segment_name as name_of},
    walk::Walk,
};

/// In the first byte, for a record: it gets the right tag.
pub(super) const TAGGED: u8 = 1;
/// And the right place.
pub(super) const PLACED: u8 = 2;
/// For a segment: it ends just below the longest that there is.
pub(super) const HIGH: u8 = 4;

/// For a segment's header: the first copy is a body, to be put under a right envelope.
pub(super) const FIRST_SEALED: u8 = 1;
/// And the second.
pub(super) const SECOND_SEALED: u8 = 2;

/// Bytes of a record's header before its hashes.
const FIXED_LEN: usize = 96;

/// A record read at a fixed place.
pub fn record(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else {
        return false;
    };
    let mut bytes = rest.to_vec();
    if mode & TAGGED != 0 {
        forge(&mut bytes, (mode & PLACED != 0).then_some(POSITION), &SALT);
    }
    let Ok(record) = Record::decode(&bytes, POSITION, &SALT) else {
        return false;
    };
    assert_eq!(record.position, POSITION);
    check_record(&record, &bytes);
    true
}

/// `record` is what is written at the start of `bytes`.
pub(super) fn check_record(record: &Record, bytes: &[u8]) {
    let body = &record.body;
    let (payload_offset, record_len) = (body.payload_offset(), body.record_len());
    assert!(may_start(bytes));
    assert!(payload_offset <= HEADER_LEN_MAX && payload_offset + body.payload_len() <= record_len);
    assert!(record_len <= RECORD_LEN_MAX && record_len.is_multiple_of(body.alignment()));
    let location = Location::of(record);
    assert_eq!(location.is_some(), matches!(body, RecordBody::Shard(_)));
    assert!(location.is_none_or(|location| Location::decode(&location.encode()) == Some(location)));
    assert_eq!(record.end() as usize, record.position.offset as usize + record_len);
    assert!((record.position.offset as usize).is_multiple_of(body.alignment()));

    let encoded = record.encode(&SALT);
    let covered = FIXED_LEN + check_body(body);
    assert_eq!(encoded.len(), payload_offset);
    assert_eq!(encoded[..covered], bytes[..covered]);
    assert_eq!(Record::decode(&encoded, record.position, &SALT).as_ref(), Ok(record));
    for len in [0, FIXED_LEN - 1, covered - 1] {
        let cut = Record::decode(&bytes[..len], record.position, &SALT);
        assert_eq!(cut, Err(RecordError::Truncated), "{len} bytes");
    }
    assert_eq!(
        Record::decode(bytes, record.position, &[8; 32]),
        Err(RecordError::Tag),
        "of another segment"
    );
}

/// Gives the bytes of its hashes.
fn check_body(body: &RecordBody) -> usize {
    let RecordBody::Shard(shard) = body else { return 0 };
    assert!((1..=shard.chunk_len).contains(&shard.shard_len));
    let width = shard.shard_hashes.len() / Hash::LEN;
    assert!(usize::from(shard.key.index) < width && width <= WIDTH_MAX);
    shard.block_hashes.len() + shard.shard_hashes.len()
}

/// A segment: mode, 2 KiB of hole in its middle so many times, units by which it ends before or behind its bytes, bytes.
pub fn segment_walk(input: &[u8]) -> bool {
    let Some(([mode, hole, cut], rest)) = input.split_first_chunk() else {
        return false;
    };
    let middle = rest.len() / 2 / UNIT * UNIT;
    let hole = vec![0; usize::from(*hole) << 11];
    let mut bytes = [&rest[..middle], &hole, &rest[middle..]].concat();
    let room = u32::MAX as usize - bytes.len();
    let base = if mode & HIGH != 0 {
        room / UNIT * UNIT
    } else {
        SEGMENT_HEADER_LEN
    };
    let at = |offset: usize| Position {
        offset: u32::try_from(base + offset).expect("the segment is short enough"),
        segment: POSITION.segment,
    };
    if mode & TAGGED != 0 {
        // From behind: the tag of one may stand in what the tag of an earlier one covers.
        for start in (0..bytes.len()).step_by(UNIT).rev() {
            if may_start(&bytes[start..]) {
                forge(&mut bytes[start..], (mode & PLACED != 0).then(|| at(start)), &SALT);
            }
        }
    }
    let beyond = isize::from(cut.cast_signed()) * UNIT.cast_signed() / 2;
    let len = bytes.len().saturating_add_signed(beyond);
    let end = u32::try_from(base + len).unwrap_or(u32::MAX);

    let bytes = Bytes::from(bytes);
    let found = walk(&bytes, at(0), end);
    assert_eq!(found, every_record(&bytes[..len.min(bytes.len())], at(0), end));
    !found.is_empty()
}

/// What the walk gives, each looked at.
fn walk(bytes: &Bytes, start: Position, end: u32) -> Vec<Record> {
    let mut reads_left = bytes.len() / UNIT + 2;
    let read = |at: u32, len: usize| -> Result<Bytes, Infallible> {
        reads_left = reads_left.checked_sub(1).expect("each read is for another unit");
        assert!(at >= start.offset && at as usize + len <= end as usize);
        let from = bytes.len().min((at - start.offset) as usize);
        Ok(bytes.slice(from..bytes.len().min(from + len)))
    };
    let mut walk = Walk::new(start.segment, &SALT, start.offset, end, read);
    let mut found: Vec<Record> = Vec::new();
    loop {
        let Ok(next) = walk.next();
        let Some(record) = next else { break };
        let before = found.last().map_or(start.offset, Record::end);
        assert!(record.position.segment == start.segment && record.position.offset >= before);
        assert!(record.end() <= end);
        check_record(&record, &bytes[(record.position.offset - start.offset) as usize..]);
        found.push(record);
    }
    found
}

/// The same by looking at each unit.
fn every_record(bytes: &[u8], start: Position, end: u32) -> Vec<Record> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let offset = start.offset + u32::try_from(at).expect("the segment is short enough");
        match Record::decode(rest, Position { offset, ..start }, &SALT) {
            Ok(record) if record.end() <= end => {
                at += record.body.record_len();
                found.push(record);
            }
            _ => at += UNIT,
        }
    }
    found
}

/// A segment's first page; with `FIRST_SEALED` or `SECOND_SEALED`, mode, the first body's length, and both bodies.
pub fn segment_header(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else {
        return false;
    };
    let page = match mode & (FIRST_SEALED | SECOND_SEALED) {
        0 => rest.to_vec(),
        _ => page_of(*mode, rest),
    };
    let decode = |bytes: &[u8]| SegmentHeader::decode(bytes, &IDENTITY, POSITION.segment);
    let decoded = decode(&page);
    let copies = page.chunks_exact(SEGMENT_HEADER_LEN / 2).take(2).map(decode);
    let first_whole = copies.into_iter().find_map(Result::ok);
    assert_eq!(decoded.as_ref().ok(), first_whole.as_ref(), "a whole copy is enough");
    let Ok(header) = decoded else { return false };
    assert_eq!((header.identity, header.segment), (IDENTITY, POSITION.segment));
    assert_eq!(decode(&header.encode()), Ok(header));
    for len in [0, 11, SEGMENT_HEADER_LEN / 2 - 1] {
        assert!(decode(&page[..len]).is_err(), "{len} bytes");
    }
    true
}

fn page_of(mode: u8, rest: &[u8]) -> Vec<u8> {
    let (first_len, rest) = rest.split_first().unwrap_or((&0, &[]));
    let (first, second) = rest.split_at(rest.len().min((*first_len).into()));
    let mut page = Vec::with_capacity(SEGMENT_HEADER_LEN);
    for (is_sealed, body) in [(mode & FIRST_SEALED, first), (mode & SECOND_SEALED, second)] {
        let start = page.len();
        if is_sealed == 0 {
            page.extend_from_slice(body);
        } else {
            let sealed = seal(body);
            page.extend_from_slice(b"CAIRNSEG");
            page.extend_from_slice(&u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_le_bytes());
            page.extend_from_slice(&sealed);
        }
        page.resize(start + SEGMENT_HEADER_LEN / 2, 0);
    }
    page
}

/// The name of a segment's file.
pub fn segment_name(bytes: &[u8]) -> bool {
    let name = String::from_utf8_lossy(bytes);
    let Some((segment, stage)) = parse_segment_name(&name) else {
        return false;
    };
    assert_eq!(name_of(segment, stage), name);
    assert!(
        name.char_indices()
            .all(|(len, _)| parse_segment_name(&name[..len]).is_none())
    );
    let next = SegmentId::new(segment.value().wrapping_add(1));
    assert_ne!(name_of(next, stage), name);
    true
}
