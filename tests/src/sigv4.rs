//! AWS Signature Version 4 in the Authorization header, from Amazon's description "Authenticating Requests: Using the
//! Authorization Header". Signs what it is given: a wrong time or secret gives a wrong signature, which is the point.

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Everything but A–Z a–z 0–9 - . _ ~ is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In paths the slash stays.
const ENCODED_IN_PATHS: &AsciiSet = &ENCODED.remove(b'/');

const STAMP: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
}

/// What is signed. Path and query are encoded already, the query sorted; header names are lower-case and sorted.
#[derive(Debug)]
pub struct Signed<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a [(String, String)],
    pub payload_hash: &'a str,
    pub time: OffsetDateTime,
}

/// The value of `x-amz-date`.
///
/// # Panics
/// The year has more than four digits.
#[must_use]
pub fn stamp(time: OffsetDateTime) -> String {
    time.format(STAMP).expect("a date of our era can be written")
}

#[must_use]
pub fn encoded_path(path: &[u8]) -> String {
    percent_encode(path, ENCODED_IN_PATHS).to_string()
}

/// The canonical query string: encoded and sorted.
#[must_use]
pub fn encoded_query(query: &[(String, String)]) -> String {
    let encode = |text: &str| percent_encode(text.as_bytes(), ENCODED).to_string();
    let mut pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// The value of the Authorization header, and what signs the chunks of a body that follows.
#[must_use]
pub fn authorization(signed: &Signed<'_>, credentials: &Credentials) -> (String, ChunkSigner) {
    let stamp = stamp(signed.time);
    let day = &stamp[..8];
    let scope = format!("{day}/{}/s3/aws4_request", credentials.region);
    let names: Vec<&str> = signed.headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines: String = signed
        .headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let request = [
        signed.method,
        signed.path,
        signed.query,
        &lines,
        &names,
        signed.payload_hash,
    ]
    .join("\n");
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", digest(request.as_bytes()));

    let mut key = format!("AWS4{}", credentials.secret_key).into_bytes();
    for part in [day, &credentials.region, "s3", "aws4_request"] {
        key = mac(&key, part.as_bytes());
    }
    let signature = hex::encode(mac(&key, text.as_bytes()));
    let access_key = &credentials.access_key;
    let value =
        format!("AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}");
    (
        value,
        ChunkSigner {
            stamp,
            scope,
            key,
            previous: signature,
        },
    )
}

/// Signs the chunks of a body, each together with the signature before it.
#[derive(Debug)]
pub struct ChunkSigner {
    stamp: String,
    scope: String,
    key: Vec<u8>,
    previous: String,
}

impl ChunkSigner {
    pub fn chunk(&mut self, data: &[u8]) -> String {
        let hashes = format!("{}\n{}", digest(b""), digest(data));
        self.next("AWS4-HMAC-SHA256-PAYLOAD", &hashes)
    }

    /// `lines` is `name:value` with a newline after each.
    pub fn trailer(&mut self, lines: &str) -> String {
        self.next("AWS4-HMAC-SHA256-TRAILER", &digest(lines.as_bytes()))
    }

    fn next(&mut self, algorithm: &str, hashes: &str) -> String {
        let text = format!(
            "{algorithm}\n{}\n{}\n{}\n{hashes}",
            self.stamp, self.scope, self.previous
        );
        self.previous = hex::encode(mac(&self.key, text.as_bytes()));
        self.previous.clone()
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::{ChunkSigner, Credentials, Signed, authorization, encoded_query, mac};

    /// "Example: GET Object" of Amazon's description.
    #[test]
    fn the_published_example_is_signed_alike() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = [
            header("host", "examplebucket.s3.amazonaws.com"),
            header("range", "bytes=0-9"),
            header("x-amz-content-sha256", empty),
            header("x-amz-date", "20130524T000000Z"),
        ];
        let signed = Signed {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &headers,
            payload_hash: empty,
            time: datetime!(2013-05-24 00:00 UTC),
        };
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            region: "us-east-1".to_owned(),
        };
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(
            authorization(&signed, &credentials)
                .0
                .ends_with(&format!("Signature={signature}"))
        );
    }

    /// The chunks of the example "PUT Object" of Amazon's description of chunked uploads.
    #[test]
    fn the_published_chunks_are_signed_alike() {
        let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_vec();
        for part in ["20130524", "us-east-1", "s3", "aws4_request"] {
            key = mac(&key, part.as_bytes());
        }
        let mut signer = ChunkSigner {
            stamp: "20130524T000000Z".to_owned(),
            scope: "20130524/us-east-1/s3/aws4_request".to_owned(),
            key,
            previous: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".to_owned(),
        };
        let expected = [
            (
                65536,
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            ),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ];
        for (length, signature) in expected {
            assert_eq!(signer.chunk(&vec![b'a'; length]), signature);
        }
    }

    #[test]
    fn queries_are_encoded_and_sorted() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let query = [pair("prefix", "a b/ä+"), pair("list-type", "2"), pair("delete", "")];
        assert_eq!(encoded_query(&query), "delete=&list-type=2&prefix=a%20b%2F%C3%A4%2B");
    }
}
