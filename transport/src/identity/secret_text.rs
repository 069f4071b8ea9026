//! Secrets as text that a person carries: a head that says what it is, and bytes with a checksum.
//!
//! ```text
//! <head><base64url without padding of: bytes | CRC32C of head and bytes, big-endian>
//! ```

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

const CHECKSUM_BYTES: usize = 4;

pub(super) fn write(head: &str, bytes: &[u8]) -> String {
    let sum = checksum(head, bytes).to_be_bytes();
    format!("{head}{}", URL_SAFE_NO_PAD.encode([bytes, &sum].concat()))
}

/// The bytes of what stands behind `head` in a text; none where it was changed or cut.
pub(super) fn read(head: &str, encoded: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    let (bytes, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    (checksum(head, bytes) == u32::from_be_bytes(*sum)).then(|| bytes.to_vec())
}

fn checksum(head: &str, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head.as_bytes()), bytes)
}
