//! The text of one S3 request: path, signed headers, request head. Path-style addressing, buffers used again. Opens no
//! connection.

use std::fmt::Write as _;
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::args::BenchArgs;
use crate::sigv4::{SignedParts, Signer};

/// SHA-256 of nothing.
pub(crate) const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What SigV4 leaves unencoded in a path: unreserved characters, and the slash.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Writes the heads of the requests of one connection.
pub(crate) struct RequestWriter {
    host: String,
    bucket: String,
    signer: Signer,
    path: String,
    head: String,
}

/// One request, without its body.
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    /// The object; `None` is the bucket itself.
    pub(crate) key: Option<&'a str>,
    /// Canonical query string.
    pub(crate) query: &'static str,
    pub(crate) payload_hash: &'a str,
    /// Sent where there is a body, even an empty one.
    pub(crate) body_bytes: Option<u64>,
    /// Base64 of the body's MD5, which S3 asks for with DeleteObjects.
    pub(crate) content_md5: Option<&'a str>,
}

impl RequestWriter {
    pub(crate) fn new(args: &BenchArgs, host: &str) -> Self {
        Self {
            host: host.to_owned(),
            bucket: args.bucket.clone(),
            signer: Signer::new(&args.access_key, &args.secret_key, &args.region),
            path: String::new(),
            head: String::new(),
        }
    }

    /// The request's head, signed for `now`, up to and with the empty line.
    pub(crate) fn head(&mut self, request: &Request<'_>, now: SystemTime) -> &[u8] {
        let Self {
            host,
            bucket,
            signer,
            path,
            head,
        } = self;
        path.clear();
        path.push('/');
        path.extend(utf8_percent_encode(bucket, KEPT));
        if let Some(key) = request.key {
            path.push('/');
            path.extend(utf8_percent_encode(key, KEPT));
        }
        let date = signer.date(now);
        let headers = [
            ("host", host.as_str()),
            ("x-amz-content-sha256", request.payload_hash),
            ("x-amz-date", date.as_str()),
        ];
        head.clear();
        for piece in [
            request.method,
            " ",
            path,
            if request.query.is_empty() { "" } else { "?" },
            request.query,
        ] {
            head.push_str(piece);
        }
        head.push_str(" HTTP/1.1\r\n");
        for (name, value) in headers {
            push_header(head, name, value);
        }
        head.push_str("authorization: ");
        let parts = SignedParts {
            method: request.method,
            path,
            query: request.query,
            headers: &headers,
            payload_hash: request.payload_hash,
        };
        signer.sign(&date, &parts, head);
        head.push_str("\r\n");
        if let Some(bytes) = request.body_bytes {
            // Writing to a String cannot fail.
            let _ = write!(head, "content-length: {bytes}\r\n");
        }
        if let Some(digest) = request.content_md5 {
            push_header(head, "content-md5", digest);
        }
        head.push_str("\r\n");
        head.as_bytes()
    }
}

fn push_header(head: &mut String, name: &str, value: &str) {
    for piece in [name, ": ", value, "\r\n"] {
        head.push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn head(key: Option<&str>, query: &'static str, body_bytes: Option<u64>) -> String {
        let line = [
            "x",
            "--endpoint",
            "http://h",
            "--access-key",
            "AK",
            "--secret-key",
            "SK",
            "--bucket",
            "b",
        ];
        let args = Line::parse_from(line).args;
        let mut writer = RequestWriter::new(&args, "h:9000");
        let request = Request {
            method: "PUT",
            key,
            query,
            payload_hash: EMPTY_SHA256,
            body_bytes,
            content_md5: Some("m="),
        };
        String::from_utf8(
            writer
                .head(&request, UNIX_EPOCH + Duration::from_secs(1_369_353_600))
                .to_vec(),
        )
        .unwrap()
    }

    #[test]
    fn a_head_is_complete() {
        let text = head(Some("a b/ü~+$"), "", Some(12));
        assert!(
            text.starts_with("PUT /b/a%20b/%C3%BC~%2B%24 HTTP/1.1\r\nhost: h:9000\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nx-amz-date: 20130524T000000Z\r\nauthorization: AWS4-HMAC-SHA256 Credential=AK/"));
        assert!(
            text.ends_with("\r\ncontent-length: 12\r\ncontent-md5: m=\r\n\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_bucket_request_has_no_key() {
        assert!(head(None, "delete=", None).starts_with("PUT /b?delete= HTTP/1.1\r\n"));
    }
}
