//! AWS Signature Version 4 in the `authorization` header, as the AWS documentation of S3 describes it ("Authenticating
//! Requests: Using the Authorization Header"). The signing key is derived once a day, buffers are used again, and the
//! clock is the caller's.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::args::SecretKey;

/// Stands for the payload's hash where the payload is not signed.
pub(crate) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Signs the requests of one connection.
pub(crate) struct Signer {
    access_key: String,
    secret_key: SecretKey,
    region: String,
    date: AmzDate,
    day_key: Option<DayKey>,
    canonical: String,
    to_sign: String,
}

/// A moment as signatures write it, `20130524T000000Z`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AmzDate {
    unix_seconds: u64,
    text: String,
}

/// The parts of a request that are signed.
pub(crate) struct SignedParts<'a> {
    pub(crate) method: &'a str,
    /// Absolute and percent-encoded.
    pub(crate) path: &'a str,
    /// Canonical: sorted, encoded, each name with its `=`.
    pub(crate) query: &'a str,
    /// Lower-case names in ascending order; `x-amz-date` carries [`Signer::date`].
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// Hexadecimal SHA-256 of the payload, or [`UNSIGNED_PAYLOAD`].
    pub(crate) payload_hash: &'a str,
}

/// A signing key, good for one day.
struct DayKey {
    scope: String,
    mac: Hmac<Sha256>,
}

impl Signer {
    pub(crate) fn new(access_key: &str, secret_key: &SecretKey, region: &str) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret_key: secret_key.clone(),
            region: region.to_owned(),
            date: AmzDate::default(),
            day_key: None,
            canonical: String::new(),
            to_sign: String::new(),
        }
    }

    /// The date that the next signature will carry.
    pub(crate) fn date(&mut self, now: SystemTime) -> AmzDate {
        // A clock before 1970 is refused by any server; the first second of 1970 is as good an answer.
        let unix_seconds = now.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        if self.date.unix_seconds != unix_seconds || self.date.text.is_empty() {
            let date = AmzDate::new(unix_seconds);
            if self.date.text.get(..8) != date.text.get(..8) {
                self.day_key = None;
            }
            self.date = date;
        }
        self.date.clone()
    }

    /// Appends the value of the `authorization` header to `out`.
    pub(crate) fn sign(&mut self, date: &AmzDate, parts: &SignedParts<'_>, out: &mut String) {
        let Self {
            access_key,
            secret_key,
            region,
            day_key,
            canonical,
            to_sign,
            ..
        } = self;
        let key = day_key.get_or_insert_with(|| DayKey::derive(secret_key, date.day(), region));
        canonical.clear();
        write_canonical(parts, canonical);
        to_sign.clear();
        for piece in [ALGORITHM, "\n", date.as_str(), "\n", &key.scope, "\n"] {
            to_sign.push_str(piece);
        }
        push_hex(&Sha256::digest(canonical.as_bytes()), to_sign);
        let signature = key.mac.clone().chain_update(to_sign.as_bytes()).finalize().into_bytes();
        for piece in [
            ALGORITHM,
            " Credential=",
            access_key,
            "/",
            &key.scope,
            ",SignedHeaders=",
        ] {
            out.push_str(piece);
        }
        write_header_names(parts.headers, out);
        out.push_str(",Signature=");
        push_hex(&signature, out);
    }
}

impl AmzDate {
    fn new(unix_seconds: u64) -> Self {
        let date = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(unix_seconds);
        let mut text = String::with_capacity(16);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{:04}{:02}{:02}T",
            date.year(),
            u8::from(date.month()),
            date.day()
        );
        let _ = write!(text, "{:02}{:02}{:02}Z", date.hour(), date.minute(), date.second());
        Self { unix_seconds, text }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    fn day(&self) -> &str {
        &self.text[..8]
    }
}

impl DayKey {
    fn derive(secret_key: &SecretKey, day: &str, region: &str) -> Self {
        let first = format!("AWS4{}", secret_key.reveal());
        let mut mac = keyed(first.as_bytes());
        for part in [day, region, "s3", "aws4_request"] {
            mac.update(part.as_bytes());
            mac = keyed(&mac.finalize().into_bytes());
        }
        Self {
            scope: format!("{day}/{region}/s3/aws4_request"),
            mac,
        }
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn write_canonical(parts: &SignedParts<'_>, out: &mut String) {
    for line in [parts.method, parts.path, parts.query] {
        out.push_str(line);
        out.push('\n');
    }
    for (name, value) in parts.headers {
        for piece in [name, ":", value, "\n"] {
            out.push_str(piece);
        }
    }
    out.push('\n');
    write_header_names(parts.headers, out);
    out.push('\n');
    out.push_str(parts.payload_hash);
}

fn write_header_names(headers: &[(&str, &str)], out: &mut String) {
    for (place, (name, _)) in headers.iter().enumerate() {
        if place > 0 {
            out.push(';');
        }
        out.push_str(name);
    }
}

fn push_hex(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn example_signer() -> Signer {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".parse().unwrap();
        Signer::new("AKIAIOSFODNN7EXAMPLE", &secret, "us-east-1")
    }

    fn at(unix_seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(unix_seconds)
    }

    fn signed(method: &str, path: &str, query: &str, middle: &[(&str, &str)], payload_hash: &str) -> String {
        let mut signer = example_signer();
        let date = signer.date(at(1_369_353_600));
        let mut headers = vec![
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-date", date.as_str()),
        ];
        headers.extend_from_slice(middle);
        headers.push(("x-amz-content-sha256", payload_hash));
        headers.sort_unstable();
        let mut out = String::new();
        signer.sign(
            &date,
            &SignedParts {
                method,
                path,
                query,
                headers: &headers,
                payload_hash,
            },
            &mut out,
        );
        out
    }

    /// The examples of the AWS documentation of S3's header signatures.
    #[test]
    fn the_published_examples_are_met() {
        let get = signed("GET", "/test.txt", "", &[("range", "bytes=0-9")], EMPTY_SHA256);
        assert_eq!(
            get,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let body = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        let middle = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let put = signed("PUT", "/test%24file.text", "", &middle, body);
        assert!(
            put.ends_with("98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
            "{put}"
        );
        let lifecycle = signed("GET", "/", "lifecycle=", &[], EMPTY_SHA256);
        assert!(
            lifecycle.ends_with("fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            "{lifecycle}"
        );
    }

    #[test]
    fn dates_are_written_as_aws_does() {
        assert_eq!(AmzDate::new(1_369_353_600).as_str(), "20130524T000000Z");
        assert_eq!(AmzDate::new(1_709_251_199).as_str(), "20240229T235959Z");
    }

    #[test]
    fn a_new_day_has_a_new_key() {
        let mut signer = example_signer();
        let mut signature_at = |seconds| {
            let date = signer.date(at(seconds));
            let headers = [("host", "h"), ("x-amz-date", date.as_str())];
            let parts = SignedParts {
                method: "GET",
                path: "/",
                query: "",
                headers: &headers,
                payload_hash: UNSIGNED_PAYLOAD,
            };
            let mut out = String::new();
            signer.sign(&date, &parts, &mut out);
            out
        };
        assert!(signature_at(1_369_439_999).contains("/20130524/"));
        assert!(signature_at(1_369_440_000).contains("/20130525/"));
    }
}
