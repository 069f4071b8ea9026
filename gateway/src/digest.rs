//! MD5 and one checksum of a body, computed in one pass as its pieces arrive, and held against what the client claimed.
//!
//! Must never keep the bytes. Invariant: a claim is either verified or the body is refused; no claim is dropped silently. MD5
//! runs on the task that receives the body: at 0.6 GB/s a piece of 64 KiB costs 0.1 ms, less than a hand-over to a helper saves.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use cairn_common::wire::object::ObjectChecksum;
use http::HeaderMap;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
};

use crate::{
    checksum::{self, Algorithm},
    error,
};

/// What the headers of a request claim of its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    md5: Option<Vec<u8>>,
    checksum: Option<(Algorithm, Option<Vec<u8>>)>,
}

impl Claims {
    /// Reads `Content-MD5`, `x-amz-checksum-*`, `x-amz-trailer` and `x-amz-sdk-checksum-algorithm`.
    pub(crate) fn from_headers(headers: &HeaderMap) -> S3Result<Self> {
        let md5 = headers
            .get("content-md5")
            .map(|value| parse_md5(value.as_bytes()))
            .transpose()?;
        let mut checksum = None;
        for algorithm in Algorithm::ALL {
            let Some(value) = headers.get(algorithm.header()) else {
                continue;
            };
            if checksum.is_some() {
                return Err(error::invalid_request(
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
            checksum = Some((algorithm, Some(parse_checksum(algorithm, value.as_bytes())?)));
        }
        if checksum.is_none() {
            checksum = announced(headers)?.map(|algorithm| (algorithm, None));
        }
        Ok(Self { md5, checksum })
    }

    /// The algorithm that the client chose, if any.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.checksum.as_ref().map(|(algorithm, _)| *algorithm)
    }

    /// Takes the value that came in a trailer.
    pub(crate) fn add_trailer(&mut self, name: &str, value: &str) -> S3Result<()> {
        let Some(algorithm) = Algorithm::from_header(name) else {
            return Ok(());
        };
        if self.algorithm().is_some_and(|announced| announced != algorithm) {
            return Err(malformed_trailer());
        }
        self.checksum = Some((algorithm, Some(parse_checksum(algorithm, value.as_bytes())?)));
        Ok(())
    }

    /// Holds the digests of the received bytes against the claims.
    pub(crate) fn verify(&self, digests: &Digests) -> S3Result<()> {
        if self.md5.as_ref().is_some_and(|md5| md5[..] != digests.md5) {
            let text = "The Content-MD5 you specified did not match what we received.";
            return Err(error::answer(S3ErrorCode::BadDigest, text));
        }
        let Some((algorithm, Some(claimed))) = &self.checksum else {
            return Ok(());
        };
        if *algorithm != digests.algorithm || *claimed != digests.checksum {
            let name = algorithm.name();
            let text = format!("The {name} you specified did not match the calculated checksum.");
            return Err(error::answer(S3ErrorCode::BadDigest, text));
        }
        Ok(())
    }
}

/// The algorithm that a trailer or the SDK's own header announces.
fn announced(headers: &HeaderMap) -> S3Result<Option<Algorithm>> {
    let trailers = headers
        .get_all("x-amz-trailer")
        .iter()
        .filter_map(|value| value.to_str().ok());
    if let Some(algorithm) = trailers
        .flat_map(|value| value.split(','))
        .find_map(|name| Algorithm::from_header(name.trim()))
    {
        return Ok(Some(algorithm));
    }
    let Some(value) = headers
        .get("x-amz-sdk-checksum-algorithm")
        .or_else(|| headers.get("x-amz-checksum-algorithm"))
    else {
        return Ok(None);
    };
    let algorithm = value.to_str().ok().and_then(Algorithm::from_name);
    algorithm.map(Some).ok_or_else(|| {
        error::invalid_request("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
    })
}

fn parse_md5(value: &[u8]) -> S3Result<Vec<u8>> {
    let parsed = BASE64.decode(value).ok().filter(|raw| raw.len() == 16);
    parsed.ok_or_else(|| {
        error::answer(
            S3ErrorCode::InvalidDigest,
            "The Content-MD5 you specified is not valid.",
        )
    })
}

fn parse_checksum(algorithm: Algorithm, value: &[u8]) -> S3Result<Vec<u8>> {
    let parsed = std::str::from_utf8(value)
        .ok()
        .and_then(|text| algorithm.decode(text.trim()));
    parsed.ok_or_else(|| error::invalid_request(format!("Value for {} header is invalid.", algorithm.header())))
}

/// The error for trailers that are not what the request announced.
pub(crate) fn malformed_trailer() -> S3Error {
    error::custom(
        "MalformedTrailerError",
        http::StatusCode::BAD_REQUEST,
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    )
}

/// The digests of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) md5: [u8; 16],
    algorithm: Algorithm,
    checksum: Vec<u8>,
}

impl Digests {
    /// The entity tag: the MD5 in hexadecimal, without quotes.
    pub(crate) fn etag(&self) -> String {
        hex::encode(self.md5)
    }

    /// The checksum as it is stored and returned.
    pub(crate) fn checksum(&self) -> ObjectChecksum {
        checksum::encode(self.algorithm, &self.checksum)
    }
}

/// Computes the digests of a body, piece by piece.
pub(crate) struct Digester {
    md5: Md5,
    hasher: Hasher,
    algorithm: Algorithm,
}

enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Box<Sha256>),
}

impl Digester {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let hasher = match algorithm {
            Algorithm::Crc32 => Hasher::Crc32(Crc32::new()),
            Algorithm::Crc32c => Hasher::Crc32c(Crc32c::new()),
            Algorithm::Crc64Nvme => Hasher::Crc64Nvme(Crc64Nvme::new()),
            Algorithm::Sha1 => Hasher::Sha1(Sha1::new()),
            Algorithm::Sha256 => Hasher::Sha256(Box::new(Sha256::new())),
        };
        Self {
            md5: Md5::new(),
            hasher,
            algorithm,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        match &mut self.hasher {
            Hasher::Crc32(hasher) => hasher.update(bytes),
            Hasher::Crc32c(hasher) => hasher.update(bytes),
            Hasher::Crc64Nvme(hasher) => hasher.update(bytes),
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digests {
        let checksum = match self.hasher {
            Hasher::Crc32(hasher) => hasher.finalize().to_vec(),
            Hasher::Crc32c(hasher) => hasher.finalize().to_vec(),
            Hasher::Crc64Nvme(hasher) => hasher.finalize().to_vec(),
            Hasher::Sha1(hasher) => hasher.finalize().to_vec(),
            Hasher::Sha256(hasher) => hasher.finalize().to_vec(),
        };
        Digests {
            md5: self.md5.finalize(),
            algorithm: self.algorithm,
            checksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn digests(algorithm: Algorithm, bytes: &[u8]) -> Digests {
        let mut digester = Digester::new(algorithm);
        bytes.chunks(3).for_each(|piece| digester.update(piece));
        digester.finish()
    }

    #[test]
    fn digests_match_the_check_vectors() {
        let digests = digests(Algorithm::Crc32, b"123456789");
        assert_eq!(digests.etag(), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(digests.checksum().value, BASE64.encode([0xcb, 0xf4, 0x39, 0x26]));
    }

    #[test]
    fn claims_are_verified() {
        let good = headers(&[
            ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw=="),
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
        ]);
        let digests = digests(Algorithm::Crc32, b"123456789");
        assert!(Claims::from_headers(&good).unwrap().verify(&digests).is_ok());
        for wrong in [
            ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("x-amz-checksum-crc32", "AAAAAA=="),
        ] {
            let error = Claims::from_headers(&headers(&[wrong]))
                .unwrap()
                .verify(&digests)
                .unwrap_err();
            assert_eq!(error.code(), &S3ErrorCode::BadDigest, "{wrong:?}");
        }
    }

    #[test]
    fn malformed_claims_are_refused() {
        let cases: [(&[(&'static str, &str)], &str); 5] = [
            (&[("content-md5", "bad")], "InvalidDigest"),
            (&[("content-md5", "")], "InvalidDigest"),
            (&[("x-amz-checksum-sha256", "bad")], "InvalidRequest"),
            (
                &[
                    ("x-amz-checksum-crc32", "y/Q5Jg=="),
                    ("x-amz-checksum-crc32c", "y/Q5Jg=="),
                ],
                "InvalidRequest",
            ),
            (&[("x-amz-sdk-checksum-algorithm", "MD4")], "InvalidRequest"),
        ];
        for (pairs, code) in cases {
            assert_eq!(
                Claims::from_headers(&headers(pairs)).unwrap_err().code().as_str(),
                code,
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn a_trailer_is_a_claim() {
        let announced = headers(&[("x-amz-trailer", "x-amz-checksum-crc32")]);
        let mut claims = Claims::from_headers(&announced).unwrap();
        assert_eq!(claims.algorithm(), Some(Algorithm::Crc32));
        assert!(
            claims
                .add_trailer("x-amz-checksum-sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=")
                .is_err()
        );
        claims.add_trailer("x-amz-checksum-crc32", "AAAAAA==").unwrap();
        let error = claims.verify(&digests(Algorithm::Crc32, b"123456789")).unwrap_err();
        assert_eq!(error.code(), &S3ErrorCode::BadDigest);
    }
}
