//! Requests that must fail: each with the status and the error code that AWS documents, and after each the store holds
//! exactly what it held before.

use anyhow::{Result, ensure};
use cairn_tests::content;
use cairn_tests::http::{Connection, Response};
use cairn_tests::s3::{Client, Request, complete_request};
use cairn_tests::server::{self, Options, Server};
use cairn_tests::sigv4::Credentials;
use time::Duration;

const BUCKET: &str = "errors";
/// Exists before every case, and must exist unchanged after it.
const VICTIM: &str = "victim";
const VICTIM_LENGTH: usize = 300_000;
/// Exists before no case, and must not after it.
const ABSENT: &str = "absent";

struct Store {
    _server: Server,
    address: String,
    client: Client,
}

impl Store {
    fn start() -> Result<Self> {
        let server = Server::start_with("errors", Options::new(1, "1"))?;
        let mut client = server.client()?;
        client.make_bucket(BUCKET)?;
        client.put(BUCKET, VICTIM, content::bytes(1, VICTIM_LENGTH))?;
        Ok(Self {
            address: server.address()?.to_owned(),
            _server: server,
            client,
        })
    }

    /// Sends each request, compares the answer, and looks whether anything changed.
    fn assert_refused(&mut self, cases: Vec<(&str, Request)>) -> Result<()> {
        for (expected, request) in cases {
            let response = self.client.send(&request)?;
            assert_eq!(response.verdict(), expected, "{request:?}\n{}", response.text());
            assert_is_documented(&response);
            self.assert_unchanged()?;
        }
        Ok(())
    }

    fn assert_unchanged(&mut self) -> Result<()> {
        assert_eq!(self.client.keys(BUCKET)?, [VICTIM]);
        ensure!(
            self.client.get(BUCKET, VICTIM)? == content::bytes(1, VICTIM_LENGTH),
            "the victim has changed"
        );
        Ok(())
    }
}

/// An error document names its code, a message, the resource and the request.
fn assert_is_documented(response: &Response) {
    if response.body.is_empty() {
        return;
    }
    assert!(
        response.element("Message").is_some_and(|message| !message.is_empty()),
        "{}",
        response.text()
    );
    let kind = response.header("content-type").unwrap_or_default();
    assert!(
        kind.starts_with("application/xml") || kind.starts_with("text/xml"),
        "content type {kind:?}"
    );
}

fn put(key: &str) -> Request {
    Request::object("PUT", BUCKET, key).body(content::bytes(2, 70_000))
}

#[test]
fn requests_without_authority_are_refused() -> Result<()> {
    let mut store = Store::start()?;
    let far = Duration::minutes(20);
    store.assert_refused(vec![
        ("403 AccessDenied", put(ABSENT).unsigned()),
        ("403 AccessDenied", put(VICTIM).unsigned()),
        ("403 AccessDenied", Request::object("GET", BUCKET, VICTIM).unsigned()),
        ("403 AccessDenied", Request::object("DELETE", BUCKET, VICTIM).unsigned()),
        ("403 RequestTimeTooSkewed", put(ABSENT).clock_skew(far)),
        ("403 RequestTimeTooSkewed", put(VICTIM).clock_skew(-far)),
        (
            "403 RequestTimeTooSkewed",
            Request::object("DELETE", BUCKET, VICTIM).clock_skew(-far),
        ),
    ])?;
    let near = Request::object("GET", BUCKET, VICTIM).clock_skew(Duration::minutes(-10));
    assert_eq!(store.client.send(&near)?.status, 200);

    let wrong_secret = Credentials {
        secret_key: "wrong".to_owned(),
        ..server::credentials()
    };
    let unknown = Credentials {
        access_key: "NOBODY00000000000000".to_owned(),
        ..server::credentials()
    };
    for (expected, credentials) in [
        ("403 SignatureDoesNotMatch", wrong_secret),
        ("403 InvalidAccessKeyId", unknown),
    ] {
        let mut stranger = Client::new(&store.address, credentials);
        for request in [put(ABSENT), put(VICTIM), Request::object("DELETE", BUCKET, VICTIM)] {
            assert_eq!(stranger.send(&request)?.verdict(), expected);
            store.assert_unchanged()?;
        }
    }
    Ok(())
}

#[test]
fn bodies_that_are_not_what_was_promised_are_refused() -> Result<()> {
    let mut store = Store::start()?;
    let other = content::sha256(b"another body");
    let small = |key| Request::object("PUT", BUCKET, key).body("x");
    store.assert_refused(vec![
        ("400 XAmzContentSHA256Mismatch", put(ABSENT).payload_hash(&other)),
        ("400 XAmzContentSHA256Mismatch", put(VICTIM).payload_hash(&other)),
        ("400 XAmzContentSHA256Mismatch", small(VICTIM).payload_hash(&other)),
        // The MD5 of the empty body.
        (
            "400 BadDigest",
            put(ABSENT).header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ),
        (
            "400 BadDigest",
            put(VICTIM).header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ),
        (
            "400 BadDigest",
            small(VICTIM).header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ),
        (
            "400 InvalidDigest",
            put(VICTIM).header("content-md5", "not base64 at all"),
        ),
        ("400 InvalidDigest", put(VICTIM).header("content-md5", "c2hvcnQ=")),
        ("400 BadDigest", put(VICTIM).header("x-amz-checksum-crc32", "AAAAAA==")),
        ("400 BadDigest", put(ABSENT).header("x-amz-checksum-crc32c", "AAAAAA==")),
        (
            "400 BadDigest",
            put(VICTIM).header("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
        ),
        (
            "400 BadDigest",
            put(ABSENT).header("x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ),
        (
            "400 BadDigest",
            put(VICTIM).header("x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ),
        (
            "400 InvalidRequest",
            put(VICTIM).header("x-amz-checksum-crc32", "rubbish"),
        ),
    ])
}

#[test]
fn a_body_that_stops_in_the_middle_stores_nothing() -> Result<()> {
    let mut store = Store::start()?;
    // Small enough to be inlined, one chunk, several chunks.
    for (length, sent) in [(1_000, 400), (1 << 20, 700_000), (1 << 20, 0), (40 << 20, 20 << 20)] {
        for key in [VICTIM, ABSENT] {
            let request = Request::object("PUT", BUCKET, key);
            let mut upload = store.client.begin(&request, length)?;
            upload.send(&content::bytes(3, sent))?;
            // AWS answers IncompleteBody; where the connection just ends, nobody was told that it worked either.
            if let Ok(response) = upload.cut_off() {
                assert_eq!(response.verdict(), "400 IncompleteBody", "{sent} of {length} bytes");
            }
            store.assert_unchanged()?;
        }
    }
    Ok(())
}

#[test]
fn names_out_of_bounds_are_refused() -> Result<()> {
    let mut store = Store::start()?;
    let mut cases: Vec<(&str, Request)> = vec![
        ("400 KeyTooLongError", put(&"k".repeat(1025))),
        ("400 KeyTooLongError", put(&format!("{}x", "ä/".repeat(400)))),
        ("404 NoSuchKey", Request::object("GET", BUCKET, ABSENT)),
        ("404 NoSuchBucket", Request::object("GET", "no-such-bucket", VICTIM)),
        (
            "404 NoSuchBucket",
            Request::object("PUT", "no-such-bucket", VICTIM).body("x"),
        ),
        ("404 NoSuchBucket", Request::object("DELETE", "no-such-bucket", VICTIM)),
        (
            "404 NoSuchBucket",
            Request::bucket("GET", "no-such-bucket").query("list-type", 2),
        ),
        ("404 NoSuchBucket", Request::bucket("DELETE", "no-such-bucket")),
        (
            "404 NoSuchBucket",
            Request::object("POST", "no-such-bucket", VICTIM).query("uploads", ""),
        ),
        ("409 BucketNotEmpty", Request::bucket("DELETE", BUCKET)),
        ("404", Request::object("HEAD", BUCKET, ABSENT)),
        ("404", Request::bucket("HEAD", "no-such-bucket")),
    ];
    let long = "x".repeat(64);
    for name in [
        "Upper",
        "under_score",
        "ab",
        "192.168.1.1",
        &long,
        "-start",
        "end-",
        "a..b",
        "xn--abc",
    ] {
        cases.push(("400 InvalidBucketName", Request::bucket("PUT", name)));
    }
    store.assert_refused(cases)
}

#[test]
fn bad_parameters_are_refused() -> Result<()> {
    let mut store = Store::start()?;
    let list = || Request::bucket("GET", BUCKET).query("list-type", 2);
    let range = |range: &str| Request::object("GET", BUCKET, VICTIM).header("range", range);
    let copy = |key, source: &str| Request::object("PUT", BUCKET, key).header("x-amz-copy-source", source);
    let metadata = Request::object("PUT", BUCKET, ABSENT)
        .header("x-amz-meta-large", "m".repeat(3000))
        .body("x");
    let deletions: String = (0..1001)
        .map(|index| format!("<Object><Key>k{index}</Key></Object>"))
        .collect();
    store.assert_refused(vec![
        ("416 InvalidRange", range("bytes=300000-")),
        ("416 InvalidRange", range("bytes=999999-1000000")),
        ("400 InvalidArgument", list().query("max-keys", "many")),
        ("400 InvalidArgument", list().query("max-keys", "-1")),
        ("400 InvalidArgument", list().query("encoding-type", "rot13")),
        ("404 NoSuchKey", copy(ABSENT, "/errors/nothing-here")),
        ("404 NoSuchBucket", copy(ABSENT, "/no-such-bucket/victim")),
        ("400 InvalidRequest", copy(VICTIM, "/errors/victim")),
        ("400 InvalidArgument", copy(ABSENT, "nonsense")),
        ("400 MetadataTooLarge", metadata),
        ("412 PreconditionFailed", put(VICTIM).header("if-none-match", "*")),
        (
            "412 PreconditionFailed",
            put(VICTIM).header("if-match", "\"00000000000000000000000000000000\""),
        ),
        (
            "404 NoSuchKey",
            put(ABSENT).header("if-match", "\"00000000000000000000000000000000\""),
        ),
        (
            "400 MalformedXML",
            Request::bucket("POST", BUCKET).query("delete", "").body("<Delete><Oh"),
        ),
        (
            "400 MalformedXML",
            Request::bucket("POST", BUCKET).query("delete", "").body("not xml"),
        ),
        (
            "400 MalformedXML",
            Request::bucket("POST", BUCKET)
                .query("delete", "")
                .body(format!("<Delete>{deletions}</Delete>")),
        ),
    ])
}

#[test]
fn an_object_beyond_the_limit_is_refused_by_its_length() -> Result<()> {
    let mut store = Store::start()?;
    let upload = store
        .client
        .begin(&Request::object("PUT", BUCKET, VICTIM), (5 << 30) + 1)?;
    assert_eq!(upload.finish()?.verdict(), "400 EntityTooLarge");
    store.assert_unchanged()
}

#[test]
fn multipart_uploads_refuse_what_does_not_fit() -> Result<()> {
    let mut store = Store::start()?;
    let upload = store.client.create_upload(BUCKET, VICTIM)?;
    let part = |number: &str, upload: &str| {
        Request::object("PUT", BUCKET, VICTIM)
            .query("partNumber", number)
            .query("uploadId", upload)
            .body("small")
    };
    let mut tags = Vec::new();
    for number in ["1", "2", "10000"] {
        let response = store.client.send(&part(number, &upload))?.success()?;
        tags.push((number.parse()?, response.header("etag").unwrap_or_default().to_owned()));
    }
    let complete = |parts: &[(usize, String)]| complete_request(BUCKET, VICTIM, &upload, parts);
    let swapped = [tags[1].clone(), tags[0].clone()];
    let twice = [tags[0].clone(), tags[0].clone()];
    let wrong = [(1, "\"00000000000000000000000000000000\"".to_owned())];
    let unsent = [tags[0].clone(), (3, tags[1].1.clone())];
    let garbage = |body: &str| {
        Request::object("POST", BUCKET, VICTIM)
            .query("uploadId", &upload)
            .body(body)
    };
    let nowhere = "no-such-upload";
    let stranger = |method: &str| Request::object(method, BUCKET, VICTIM).query("uploadId", nowhere);
    store.assert_refused(vec![
        ("400 InvalidArgument", part("0", &upload)),
        ("400 InvalidArgument", part("10001", &upload)),
        ("400 InvalidArgument", part("one", &upload)),
        (
            "400 BadDigest",
            part("3", &upload).header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ),
        ("400 EntityTooSmall", complete(&tags)),
        ("400 InvalidPartOrder", complete(&swapped)),
        ("400 InvalidPartOrder", complete(&twice)),
        ("400 InvalidPart", complete(&wrong)),
        ("400 InvalidPart", complete(&unsent)),
        ("400 MalformedXML", complete(&[])),
        ("400 MalformedXML", garbage("rubbish")),
        ("404 NoSuchUpload", part("1", nowhere)),
        ("404 NoSuchUpload", stranger("GET")),
        ("404 NoSuchUpload", stranger("DELETE")),
        (
            "404 NoSuchUpload",
            complete_request(BUCKET, VICTIM, nowhere, &tags[..1]),
        ),
        (
            "404 NoSuchUpload",
            complete_request(BUCKET, ABSENT, &upload, &tags[..1]),
        ),
    ])?;

    // None of that ended the upload.
    store.client.send(&complete(&tags[..1]))?.success()?;
    ensure!(
        store.client.get(BUCKET, VICTIM)? == b"small",
        "the one part is the object"
    );
    let again = store.client.send(&part("1", &upload))?;
    assert_eq!(again.verdict(), "404 NoSuchUpload");
    Ok(())
}

/// The client may send the body or its next request; were the connection kept, one could be taken for the other.
#[test]
fn a_refused_body_that_was_never_asked_for_ends_the_connection() -> Result<()> {
    let store = Store::start()?;
    let mut connection = Connection::open(&store.address)?;
    let headers = [
        ("host", store.address.as_str()),
        ("expect", "100-continue"),
        ("content-length", "5"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    connection.send_head("PUT", &format!("/{BUCKET}/{ABSENT}"), &headers)?;
    let response = connection.response("PUT")?;
    assert_eq!(response.verdict(), "403 AccessDenied");
    assert_eq!(response.header("connection"), Some("close"));
    Ok(())
}
