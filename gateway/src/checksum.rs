//! The checksums that S3 knows, as values: their names, their headers, and how those of parts make that of an object.
//!
//! Owns no state and touches no stream. Invariant: a full-object checksum made from parts equals the checksum of the
//! concatenated bytes; a composite one is the checksum of the parts' raw checksums, with `-` and their number.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use cairn_common::wire::object::ObjectChecksum;
use crc_fast::{CrcAlgorithm, checksum_combine};
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};

/// A checksum algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The name as S3 spells it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header or trailer that carries its value.
    pub(crate) const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Bytes of a value.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn from_header(header: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.header().eq_ignore_ascii_case(header))
    }

    /// The CRC whose values of parts can be combined; none for hashes.
    const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// Whether parts can give the checksum of the whole object.
    pub(crate) const fn is_combinable(self) -> bool {
        self.crc().is_some()
    }

    /// The raw value of `text`, where that is one of this algorithm.
    pub(crate) fn decode(self, text: &str) -> Option<Vec<u8>> {
        BASE64.decode(text).ok().filter(|raw| raw.len() == self.len())
    }

    /// The checksum of `bytes`.
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Crc32 => Crc32::checksum(bytes).to_vec(),
            Self::Crc32c => Crc32c::checksum(bytes).to_vec(),
            Self::Crc64Nvme => Crc64Nvme::checksum(bytes).to_vec(),
            Self::Sha1 => Sha1::checksum(bytes).to_vec(),
            Self::Sha256 => Sha256::checksum(bytes).to_vec(),
        }
    }
}

/// A raw value as S3 sends it.
pub(crate) fn encode(algorithm: Algorithm, raw: &[u8]) -> ObjectChecksum {
    ObjectChecksum {
        algorithm: algorithm.name().to_owned(),
        value: BASE64.encode(raw),
        composite: false,
    }
}

/// The value of this algorithm among `checksums`.
pub(crate) fn value_of(checksums: &[ObjectChecksum], algorithm: Algorithm) -> Option<&str> {
    checksums
        .iter()
        .find(|checksum| checksum.algorithm == algorithm.name())
        .map(|checksum| checksum.value.as_str())
}

/// The checksum of the parts' checksums. `None` where a part's value is not one.
pub(crate) fn composite(algorithm: Algorithm, parts: &[&str]) -> Option<ObjectChecksum> {
    let mut raw = Vec::with_capacity(parts.len() * algorithm.len());
    for part in parts {
        raw.extend(algorithm.decode(part)?);
    }
    let value = format!("{}-{}", BASE64.encode(algorithm.of(&raw)), parts.len());
    Some(ObjectChecksum {
        algorithm: algorithm.name().to_owned(),
        value,
        composite: true,
    })
}

/// The checksum of the whole object, of its parts' values and lengths in bytes. `None` for hashes, or where a part's value
/// is not one.
pub(crate) fn full_object(algorithm: Algorithm, parts: &[(&str, u64)]) -> Option<ObjectChecksum> {
    let crc = algorithm.crc()?;
    let mut whole = None;
    for (value, size) in parts {
        let raw = algorithm.decode(value)?;
        let part = raw.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        whole = Some(whole.map_or(part, |whole| checksum_combine(crc, whole, part, *size)));
    }
    let raw = whole?.to_be_bytes();
    Some(encode(algorithm, &raw[raw.len() - algorithm.len()..]))
}

/// Fills the checksum fields of an answer's part.
macro_rules! set_checksums {
    ($target:expr, $checksums:expr) => {{
        let checksums: &[cairn_common::wire::object::ObjectChecksum] = $checksums;
        let value = |algorithm| $crate::checksum::value_of(checksums, algorithm).map(str::to_owned);
        $target.checksum_crc32 = value($crate::checksum::Algorithm::Crc32);
        $target.checksum_crc32c = value($crate::checksum::Algorithm::Crc32c);
        $target.checksum_crc64nvme = value($crate::checksum::Algorithm::Crc64Nvme);
        $target.checksum_sha1 = value($crate::checksum::Algorithm::Sha1);
        $target.checksum_sha256 = value($crate::checksum::Algorithm::Sha256);
    }};
}
pub(crate) use set_checksums;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(algorithm: Algorithm, bytes: &[u8]) -> String {
        encode(algorithm, &algorithm.of(bytes)).value
    }

    #[test]
    fn values_match_the_check_vectors() {
        // The check value of each CRC is that of the nine digits, as catalogued; the hashes are those of the standards.
        let cases = [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc64Nvme, "ae8b14860a799888"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (
                Algorithm::Sha256,
                "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ),
        ];
        for (algorithm, expected) in cases {
            assert_eq!(hex::encode(algorithm.of(b"123456789")), expected, "{algorithm:?}");
            assert_eq!(algorithm.len() * 2, expected.len());
        }
    }

    #[test]
    fn parts_combine_to_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|index| (index * 7 % 251) as u8).collect();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let pieces = [&bytes[..1], &bytes[1..40_000], &bytes[40_000..]];
            let values = pieces.map(|piece| value(algorithm, piece));
            let parts: Vec<_> = values
                .iter()
                .zip(pieces)
                .map(|(value, piece)| (value.as_str(), piece.len() as u64))
                .collect();
            assert_eq!(
                full_object(algorithm, &parts).unwrap().value,
                value(algorithm, &bytes),
                "{algorithm:?}"
            );
        }
        assert_eq!(full_object(Algorithm::Sha256, &[("", 0)]), None);
    }

    #[test]
    fn composite_is_the_checksum_of_checksums() {
        let (first, second) = (value(Algorithm::Sha256, b"a"), value(Algorithm::Sha256, b"b"));
        let raw = [Algorithm::Sha256.of(b"a"), Algorithm::Sha256.of(b"b")].concat();
        let made = composite(Algorithm::Sha256, &[&first, &second]).unwrap();
        assert_eq!(made.value, format!("{}-2", value(Algorithm::Sha256, &raw)));
        assert!(made.composite);
        assert_eq!(composite(Algorithm::Sha256, &["bad"]), None);
    }
}
