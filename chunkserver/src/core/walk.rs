//! The way through a segment's records, over damage too.
//!
//! Pure: bytes come from a function. Where no record is found at a place the next unit is looked at, so one that is damaged
//! hides none but itself. Invariant: every whole record between the bounds is given, in order.

use bytes::Bytes;

use super::{
    position::{Position, SegmentId},
    record::{HEADER_LEN_MAX, Record, Salt, UNIT, may_start},
};

/// Bytes that are read at a time.
const WINDOW_LEN: usize = 128 << 10;

const _: () = assert!(HEADER_LEN_MAX < WINDOW_LEN);

/// A walk through a part of a segment.
pub(crate) struct Walk<'a, Read> {
    segment: SegmentId,
    salt: &'a Salt,
    read: Read,
    at: u32,
    end: u32,
    window: Bytes,
    window_start: u32,
}

impl<'a, Read, E> Walk<'a, Read>
where
    Read: FnMut(u32, usize) -> Result<Bytes, E>,
{
    /// The records of `segment` from `at` up to `end`. `read` gives so many bytes at an offset, fewer where the file ends.
    pub(crate) fn new(segment: SegmentId, salt: &'a Salt, at: u32, end: u32, read: Read) -> Self {
        Self {
            segment,
            salt,
            read,
            at,
            end,
            window: Bytes::new(),
            window_start: at,
        }
    }

    /// The next record.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, E> {
        while self.at < self.end {
            let behind = self.fill()?;
            let bytes = &self.window[behind..];
            if bytes.len() < UNIT {
                return Ok(None);
            }
            if !may_start(bytes) {
                let starts = bytes.chunks(UNIT).position(may_start);
                self.skip(starts.map_or_else(|| bytes.len().next_multiple_of(UNIT), |units| units * UNIT));
                continue;
            }
            let position = Position {
                segment: self.segment,
                offset: self.at,
            };
            match Record::decode(bytes, position, self.salt) {
                Ok(record) if record.end() <= self.end => {
                    self.at = record.end();
                    return Ok(Some(record));
                }
                _ => self.skip(UNIT),
            }
        }
        Ok(None)
    }

    fn skip(&mut self, len: usize) {
        self.at = self.at.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// Has the longest header from the present place on in the window; gives where in it that place is.
    fn fill(&mut self) -> Result<usize, E> {
        let wanted = HEADER_LEN_MAX.min((self.end - self.at) as usize);
        let behind = self
            .at
            .checked_sub(self.window_start)
            .map_or(usize::MAX, |behind| behind as usize);
        if behind <= self.window.len() && self.window.len() - behind >= wanted {
            return Ok(behind);
        }
        self.window = (self.read)(self.at, WINDOW_LEN.min((self.end - self.at) as usize))?;
        self.window_start = self.at;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use cairn_common::ids::{ChunkId, SessionId};

    use super::*;
    use crate::{
        core::{position::Sequence, record::RecordBody},
        shard::ShardKey,
    };

    const SALT: Salt = [1; 32];
    const SEGMENT: SegmentId = SegmentId::new(4);

    fn tombstone(offset: u32, counter: u64) -> Record {
        Record {
            position: Position {
                segment: SEGMENT,
                offset,
            },
            sequence: Sequence::new(counter),
            synced_end: Position::default(),
            body: RecordBody::Tombstone {
                key: ShardKey {
                    chunk: ChunkId {
                        session: SessionId::new(1),
                        counter,
                    },
                    index: 0,
                },
                target: SegmentId::new(1),
            },
        }
    }

    fn walk(bytes: &[u8]) -> Vec<Record> {
        let read = |at: u32, len: usize| -> Result<Bytes, Infallible> {
            let at = at as usize;
            Ok(Bytes::copy_from_slice(&bytes[at..bytes.len().min(at + len)]))
        };
        let mut walk = Walk::new(SEGMENT, &SALT, 0, bytes.len() as u32, read);
        std::iter::from_fn(|| {
            let Ok(next) = walk.next();
            next
        })
        .collect()
    }

    #[test]
    fn all_records_are_found_behind_each_other_and_behind_holes() {
        let offsets = [0, 128, 4096, 300_032, 300_160, 399_872];
        let records: Vec<_> = (0..)
            .zip(offsets)
            .map(|(counter, offset)| tombstone(offset, counter))
            .collect();
        let mut bytes = vec![0; 400_000];
        for record in &records {
            let offset = record.position.offset as usize;
            bytes[offset..offset + 128].copy_from_slice(&record.encode(&SALT));
        }
        assert_eq!(walk(&bytes), records);
        bytes[300_032 + 20] ^= 1;
        let mut others = records;
        others.remove(3);
        assert_eq!(walk(&bytes), others, "a damaged one hides none but itself");
    }

    #[test]
    fn a_record_that_was_copied_elsewhere_is_none() {
        let mut bytes = vec![0; 1000];
        bytes[64..192].copy_from_slice(&tombstone(0, 1).encode(&SALT));
        assert_eq!(walk(&bytes), []);
    }
}
