//! The first page of a segment: whose it is, and what its records are keyed with.
//!
//! ```text
//! offset  size  field (little-endian)
//!      0     8  magic "CAIRNSEG"
//!      8     4  n, bytes of the sealed record
//!     12     n  sealed record (docs/formats.md)
//!    ...        zeros
//!   2048        all of it again: without the salt no record can be read, so damage to one sector must not cost it
//!   4096        the first record
//! ```
//!
//! Pure. Invariant: a segment is used only by the device, in the life, that made it.

use cairn_common::{
    aligned::ALIGNMENT,
    envelope::{self, EnvelopeError},
};
use prost::Message;

use super::{position::SegmentId, record::Salt};
use crate::superblock::DeviceIdentity;

/// Bytes of the header; the first record starts behind it.
pub(crate) const SEGMENT_HEADER_LEN: usize = ALIGNMENT;

const MAGIC: &[u8; 8] = b"CAIRNSEG";
const COPIES: usize = 2;
const COPY_LEN: usize = SEGMENT_HEADER_LEN / COPIES;

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: DeviceIdentity,
    pub(crate) segment: SegmentId,
    pub(crate) size_bytes: u64,
    pub(crate) salt: Salt,
}

/// Why a segment is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SegmentHeaderError {
    #[error("it has no whole header")]
    Absent,
    #[error("its header is damaged: {0}")]
    Damaged(#[from] EnvelopeError),
    #[error("it belongs to another device, to another life of this one, or has another number than its name says")]
    Foreign,
}

#[derive(Clone, PartialEq, Message)]
struct Sealed {
    #[prost(bytes = "vec", tag = "1")]
    cluster_id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    device: u32,
    #[prost(uint64, tag = "3")]
    incarnation: u64,
    #[prost(uint64, tag = "4")]
    segment: u64,
    #[prost(uint64, tag = "5")]
    size_bytes: u64,
    #[prost(bytes = "vec", tag = "6")]
    salt: Vec<u8>,
}

impl envelope::Record for Sealed {
    const VERSION: u8 = 1;
}

impl SegmentHeader {
    /// The page.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let sealed = envelope::seal(&Sealed {
            cluster_id: self.identity.cluster_id.to_vec(),
            device: self.identity.device.value(),
            incarnation: self.identity.incarnation.value(),
            segment: self.segment.value(),
            size_bytes: self.size_bytes,
            salt: self.salt.to_vec(),
        });
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_LEN);
        for copy in 1..=COPIES {
            let len = u32::try_from(sealed.len()).expect("a hundred bytes");
            bytes.extend_from_slice(MAGIC);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&sealed);
            bytes.resize(copy * COPY_LEN, 0);
        }
        bytes
    }

    /// The header of segment `segment` of the device, in the first page of its file.
    pub(crate) fn decode(
        bytes: &[u8],
        identity: &DeviceIdentity,
        segment: SegmentId,
    ) -> Result<Self, SegmentHeaderError> {
        let copies = bytes.chunks_exact(COPY_LEN).take(COPIES);
        let decoded = copies.map(|copy| Self::decode_copy(copy, identity, segment));
        let first_error =
            |before: Result<Self, _>, next: Result<Self, _>| before.or_else(|error| next.map_err(|_| error));
        decoded.reduce(first_error).unwrap_or(Err(SegmentHeaderError::Absent))
    }

    fn decode_copy(bytes: &[u8], identity: &DeviceIdentity, segment: SegmentId) -> Result<Self, SegmentHeaderError> {
        let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or(SegmentHeaderError::Absent)?;
        let (len, rest) = rest.split_first_chunk().ok_or(SegmentHeaderError::Absent)?;
        if magic != MAGIC {
            return Err(SegmentHeaderError::Absent);
        }
        let sealed = rest.get(..u32::from_le_bytes(*len) as usize);
        let sealed: Sealed = envelope::open(sealed.ok_or(SegmentHeaderError::Absent)?)?;
        let header = Self {
            identity: *identity,
            segment,
            size_bytes: sealed.size_bytes,
            salt: sealed
                .salt
                .as_slice()
                .try_into()
                .map_err(|_| SegmentHeaderError::Absent)?,
        };
        let own = sealed.cluster_id == identity.cluster_id
            && sealed.device == identity.device.value()
            && sealed.incarnation == identity.incarnation.value()
            && sealed.segment == segment.value();
        if own {
            Ok(header)
        } else {
            Err(SegmentHeaderError::Foreign)
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::ids::{DeviceId, Incarnation};

    use super::*;

    const IDENTITY: DeviceIdentity = DeviceIdentity {
        cluster_id: [7; 16],
        device: DeviceId::new(3),
        incarnation: Incarnation::new(9),
    };

    fn header() -> SegmentHeader {
        SegmentHeader {
            identity: IDENTITY,
            segment: SegmentId::new(5),
            size_bytes: 1 << 28,
            salt: [4; 32],
        }
    }

    #[test]
    fn the_stored_sample_of_version_1_is_read_and_written() {
        let sample = include_bytes!("../../tests/samples/segment_header_v1.bin");
        assert!(header().encode() == sample);
        let decoded = SegmentHeader::decode(sample, &IDENTITY, SegmentId::new(5));
        assert_eq!(decoded, Ok(header()));
    }

    #[test]
    fn another_device_life_or_number_is_refused() {
        let bytes = header().encode();
        let other = DeviceIdentity {
            incarnation: Incarnation::new(10),
            ..IDENTITY
        };
        let foreign = Err(SegmentHeaderError::Foreign);
        assert_eq!(SegmentHeader::decode(&bytes, &other, SegmentId::new(5)), foreign);
        assert_eq!(SegmentHeader::decode(&bytes, &IDENTITY, SegmentId::new(6)), foreign);
    }

    #[test]
    fn a_whole_copy_is_enough_and_no_bytes_are_taken_for_one() {
        let bytes = header().encode();
        let decode = |bytes: &[u8]| SegmentHeader::decode(bytes, &IDENTITY, SegmentId::new(5));
        for len in 0..COPY_LEN {
            assert!(decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        let counted = bytes[..COPY_LEN]
            .iter()
            .rposition(|byte| *byte != 0)
            .expect("it is not empty")
            + 1;
        for bit in 0..counted * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), Ok(header()), "bit {bit} of one copy");
            flipped[COPY_LEN + bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit} of both");
        }
    }
}
