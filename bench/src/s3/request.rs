//! The text of one S3 request: path, signed headers, request head. The bucket stands in the path or in the host; buffers are
//! used again. Opens no connection.

use std::fmt::Write as _;
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::s3::config::S3Config;
use crate::s3::sigv4::{SignedParts, Signer};

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
    /// Empty where the host names the bucket.
    bucket: String,
    signer: Signer,
    path: String,
    head: String,
}

/// One request, without its body.
#[derive(Clone, Copy, Default)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    /// The object; `None` is the bucket itself.
    pub(crate) key: Option<&'a str>,
    /// Canonical query string.
    pub(crate) query: &'a str,
    pub(crate) payload_hash: &'a str,
    /// Sent where there is a body, even an empty one.
    pub(crate) body_bytes: Option<u64>,
    /// Base64 of the body's MD5, which S3 asks for with DeleteObjects.
    pub(crate) content_md5: Option<&'a str>,
    /// Percent-encoded path of the object to be copied.
    pub(crate) copy_source: Option<&'a str>,
    /// First and last byte that are wanted.
    pub(crate) range: Option<(u64, u64)>,
}

impl RequestWriter {
    pub(crate) fn new(config: &S3Config, host: &str) -> Self {
        let bucket = if config.virtual_host {
            String::new()
        } else {
            config.bucket.clone()
        };
        Self {
            host: host.to_owned(),
            bucket,
            signer: Signer::new(&config.access_key, &config.secret_key, &config.region),
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
        write_path(path, bucket, request.key);
        let date = signer.date(now);
        let headers = [
            ("host", host.as_str()),
            ("x-amz-content-sha256", request.payload_hash),
            ("x-amz-copy-source", request.copy_source.unwrap_or_default()),
            ("x-amz-date", date.as_str()),
        ];
        let plain = [headers[0], headers[1], headers[3]];
        // In ascending order, as they are signed.
        let headers: &[(&str, &str)] = if request.copy_source.is_some() {
            &headers
        } else {
            &plain
        };
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
        for &(name, value) in headers {
            push_header(head, name, value);
        }
        head.push_str("authorization: ");
        let parts = SignedParts {
            method: request.method,
            path,
            query: request.query,
            headers,
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
        if let Some((first, last)) = request.range {
            let _ = write!(head, "range: bytes={first}-{last}\r\n");
        }
        head.push_str("\r\n");
        head.as_bytes()
    }
}

/// What `x-amz-copy-source` says of an object.
pub(crate) fn copy_source(bucket: &str, key: &str) -> String {
    let mut path = String::new();
    write_path(&mut path, bucket, Some(key));
    path
}

/// A value in a query string.
pub(crate) fn encoded(value: &str) -> String {
    utf8_percent_encode(value, KEPT).to_string().replace('/', "%2F")
}

fn write_path(path: &mut String, bucket: &str, key: Option<&str>) {
    path.clear();
    if !bucket.is_empty() {
        path.push('/');
        path.extend(utf8_percent_encode(bucket, KEPT));
    }
    if let Some(key) = key {
        path.push('/');
        path.extend(utf8_percent_encode(key, KEPT));
    }
    if path.is_empty() {
        path.push('/');
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

    use super::*;

    const NOW: Duration = Duration::from_secs(1_369_353_600);

    fn head(virtual_host: bool, request: &Request<'_>) -> String {
        let config = S3Config {
            virtual_host,
            ..S3Config::example("h:9000")
        };
        let mut writer = RequestWriter::new(&config, "h:9000");
        let head = writer.head(request, UNIX_EPOCH + NOW).to_vec();
        String::from_utf8(head).unwrap()
    }

    #[test]
    fn a_head_is_complete() {
        let text = head(
            false,
            &Request {
                method: "PUT",
                key: Some("a b/ü~+$"),
                payload_hash: EMPTY_SHA256,
                body_bytes: Some(12),
                content_md5: Some("m="),
                ..Request::default()
            },
        );
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
        let request = Request {
            method: "PUT",
            query: "delete=",
            ..Request::default()
        };
        assert!(head(false, &request).starts_with("PUT /b?delete= HTTP/1.1\r\n"));
        assert!(head(true, &request).starts_with("PUT /?delete= HTTP/1.1\r\n"));
    }

    #[test]
    fn a_copy_signs_its_source_and_a_range_is_named() {
        let source = copy_source("b", "x y");
        assert_eq!(source, "/b/x%20y");
        let text = head(
            true,
            &Request {
                method: "GET",
                key: Some("k"),
                copy_source: Some(&source),
                range: Some((5, 9)),
                ..Request::default()
            },
        );
        assert!(text.starts_with("GET /k HTTP/1.1\r\n"), "{text}");
        assert!(
            text.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-copy-source;x-amz-date,"),
            "{text}"
        );
        assert!(text.contains("\r\nx-amz-copy-source: /b/x%20y\r\n") && text.contains("\r\nrange: bytes=5-9\r\n"));
    }
}
