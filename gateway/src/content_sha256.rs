//! The value of `x-amz-content-sha256` where it is a hash.
//!
//! Knows nothing of bodies. Invariant: what is no hash of 64 digits is a keyword, and never compared.

use http::StatusCode;
use s3s::S3Error;

use crate::error;

/// The error for a body that is not what its signed hash says.
pub(crate) fn mismatch() -> S3Error {
    error::custom(
        "XAmzContentSHA256Mismatch",
        StatusCode::BAD_REQUEST,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
}

/// The hash in `value`, where it is one and not a keyword.
pub(crate) fn parse(value: &[u8]) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(value, &mut hash).ok().map(|()| hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_no_hashes() {
        assert_eq!(parse("ab".repeat(32).as_bytes()), Some([0xab; 32]));
        for keyword in ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "", "abcd"] {
            assert_eq!(parse(keyword.as_bytes()), None, "{keyword}");
        }
    }
}
