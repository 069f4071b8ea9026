//! The digests of a request that carries XML, verified before s3s sees the last of its bytes.
//!
//! s3s answers `InternalError` for an XML body that does not match its signed hash, and knows nothing of `Content-MD5` and
//! checksums. Invariant: a body whose declared length has arrived and that breaks a claim never reaches a handler whole.

use http::HeaderMap;
use s3s::{
    S3Result,
    crypto::{Checksum as _, Sha256},
};

use crate::{
    checksum::Algorithm,
    content_sha256,
    digest::{Claims, Digester},
};

/// Verifies one XML body of a declared length.
pub(crate) struct XmlCheck {
    claims: Claims,
    length: u64,
    digester: Option<Digester>,
    sha256: Option<(Sha256, [u8; 32])>,
}

impl XmlCheck {
    /// `None` where no length is declared; s3s refuses such a body itself.
    pub(crate) fn from_headers(headers: &HeaderMap) -> S3Result<Option<Self>> {
        let length = headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(length) = length else { return Ok(None) };
        let claims = Claims::from_headers(headers)?;
        let digester = Digester::new(claims.algorithm().unwrap_or(Algorithm::Crc64Nvme));
        let sha256 = headers
            .get("x-amz-content-sha256")
            .and_then(|value| content_sha256::parse(value.as_bytes()));
        Ok(Some(Self {
            claims,
            length,
            digester: Some(digester),
            sha256: sha256.map(|expected| (Sha256::new(), expected)),
        }))
    }

    /// Takes further bytes; `received` counts them too.
    pub(crate) fn update(&mut self, bytes: &[u8], received: u64) -> S3Result<()> {
        if let Some(digester) = &mut self.digester {
            digester.update(bytes);
        }
        if let Some((hasher, _)) = &mut self.sha256 {
            hasher.update(bytes);
        }
        if received < self.length {
            return Ok(());
        }
        if let Some((hasher, expected)) = self.sha256.take()
            && hasher.finalize() != expected
        {
            return Err(content_sha256::mismatch());
        }
        self.digester
            .take()
            .map_or(Ok(()), |digester| self.claims.verify(&digester.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, value: &str) -> XmlCheck {
        let mut headers = HeaderMap::new();
        headers.insert("content-length", "9".parse().unwrap());
        headers.insert(name, value.parse().unwrap());
        XmlCheck::from_headers(&headers).unwrap().unwrap()
    }

    #[test]
    fn the_last_byte_decides() {
        let mut good = check("x-amz-checksum-crc32", "y/Q5Jg==");
        assert!(good.update(b"12345", 5).is_ok());
        assert!(good.update(b"6789", 9).is_ok());
        let mut bad = check("x-amz-checksum-crc32", "y/Q5Jg==");
        assert!(bad.update(b"12345", 5).is_ok());
        assert_eq!(bad.update(b"678X", 9).unwrap_err().code().as_str(), "BadDigest");
        let mut unsigned = check("x-amz-content-sha256", &"0".repeat(64));
        assert_eq!(
            unsigned.update(b"123456789", 9).unwrap_err().code().as_str(),
            "XAmzContentSHA256Mismatch"
        );
    }
}
