//! The envelope around every stored record.
//!
//! ```text
//! offset  size  field
//!      0     1  version of the record kind
//!      1     4  CRC-32C of version and body, little-endian
//!      5     n  body: a protobuf message with stable tags
//! ```
//!
//! Invariant: a record whose checksum or version does not fit is an error, never a default value.

use prost::Message;

const HEADER_LEN: usize = 5;

/// Why a stored record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Shorter than its header.
    #[error("the record is truncated: {0} bytes")]
    Truncated(usize),
    /// Written by a newer program.
    #[error("the record has version {found}, this program reads up to {newest}: start a newer cairn")]
    Version {
        /// Version found.
        found: u8,
        /// Newest version this program reads.
        newest: u8,
    },
    /// Its bytes have changed.
    #[error("the record's checksum does not match its bytes")]
    Checksum,
    /// The checksum matches but the body is not of the expected kind.
    #[error("the record's body cannot be decoded: {0}")]
    Body(String),
}

/// A message that is stored as a record, with the version it is written under.
pub trait Record: Message + Default + Clone + 'static {
    /// Version written today; all versions from 1 up to it can be read.
    const VERSION: u8;
}

/// The stored bytes of `record`.
pub fn seal<R: Record>(record: &R) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + record.encoded_len());
    bytes.push(R::VERSION);
    bytes.extend_from_slice(&[0; 4]);
    record.encode_raw(&mut bytes);
    let checksum = checksum_of(&bytes);
    bytes[1..HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The record in `bytes`, verified.
pub fn open<R: Record>(bytes: &[u8]) -> Result<R, EnvelopeError> {
    let (Some(version), Some(stored)) = (bytes.first(), bytes.get(1..HEADER_LEN)) else {
        return Err(EnvelopeError::Truncated(bytes.len()));
    };
    if stored != checksum_of(bytes).to_le_bytes() {
        return Err(EnvelopeError::Checksum);
    }
    if *version == 0 || *version > R::VERSION {
        return Err(EnvelopeError::Version {
            found: *version,
            newest: R::VERSION,
        });
    }
    R::decode(&bytes[HEADER_LEN..]).map_err(|error| EnvelopeError::Body(error.to_string()))
}

fn checksum_of(sealed: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&sealed[..1]), &sealed[HEADER_LEN..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Sample {
        #[prost(uint64, tag = "1")]
        number: u64,
        #[prost(bytes = "vec", tag = "2")]
        bytes: Vec<u8>,
    }

    impl Record for Sample {
        const VERSION: u8 = 1;
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let sample = Sample {
            number: 7,
            bytes: b"cairn".to_vec(),
        };
        let sealed = seal(&sample);
        assert_eq!(open::<Sample>(&sealed), Ok(sample));
        for length in 0..sealed.len() {
            assert!(open::<Sample>(&sealed[..length]).is_err(), "{length} bytes");
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open::<Sample>(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut sealed = seal(&Sample::default());
        sealed[0] = 2;
        let checksum = checksum_of(&sealed);
        sealed[1..HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(
            open::<Sample>(&sealed),
            Err(EnvelopeError::Version { found: 2, newest: 1 })
        );
    }
}
