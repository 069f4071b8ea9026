//! A raw S3 client: one connection, requests signed by hand, keys as bytes, nothing retried and nothing tidied up.
//! For what real clients refuse to send, and for load where it must be known exactly what was acknowledged.

use std::borrow::Cow;

use anyhow::{Context, Result, anyhow};
use time::{Duration, OffsetDateTime};

use crate::chunked::Chunked;
use crate::http::{self, Connection, Response};
use crate::sigv4::{self, ChunkSigner, Credentials, Signed, UNSIGNED_PAYLOAD};

#[derive(Debug)]
pub struct Client {
    /// `host:port`.
    address: String,
    credentials: Credentials,
    /// The certificate that the server shows, PEM, where TLS is spoken.
    trusted: Option<String>,
    connection: Option<Connection>,
    /// How long it waits for the next bytes of an answer.
    timeout: std::time::Duration,
}

/// One request, with every knob that a test turns.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    /// Bucket and key as they are, not encoded; starts with `/`.
    path: Vec<u8>,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: Option<Chunked>,
    payload_hash: String,
    clock_skew: Duration,
    host: Option<String>,
    is_signed: bool,
}

/// A request whose body is sent piece by piece.
#[derive(Debug)]
pub struct Upload {
    connection: Connection,
    method: String,
}

impl Request {
    #[must_use]
    pub fn bucket(method: &str, bucket: &str) -> Self {
        Self::path(method, format!("/{bucket}").into_bytes())
    }

    #[must_use]
    pub fn object(method: &str, bucket: &str, key: impl AsRef<[u8]>) -> Self {
        Self::path(method, [b"/", bucket.as_bytes(), b"/", key.as_ref()].concat())
    }

    #[must_use]
    pub fn path(method: &str, path: Vec<u8>) -> Self {
        Self {
            method: method.to_owned(),
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            chunked: None,
            payload_hash: UNSIGNED_PAYLOAD.to_owned(),
            clock_skew: Duration::ZERO,
            host: None,
            is_signed: true,
        }
    }

    #[must_use]
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_string()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The value of `x-amz-content-sha256`; without this call the payload is not signed.
    #[must_use]
    pub fn payload_hash(mut self, hash: &str) -> Self {
        hash.clone_into(&mut self.payload_hash);
        self
    }

    /// Signs as if the client's clock were off by this much.
    #[must_use]
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// The Host header, for virtual-host style.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    #[must_use]
    pub fn unsigned(mut self) -> Self {
        self.is_signed = false;
        self
    }

    /// Makes one header of all with this name: a list, in the order they were given.
    #[must_use]
    pub fn joined(mut self, name: &str) -> Self {
        let (same, others): (Vec<_>, Vec<_>) = self.headers.into_iter().partition(|(own, _)| own == name);
        let values: Vec<String> = same.into_iter().map(|(_, value)| value).collect();
        self.headers = others;
        self.header(name, values.join(","))
    }

    /// Gives a header another value.
    #[must_use]
    pub fn replaced(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(own, _)| own != name);
        self.header(name, value)
    }

    /// Sends the body in the `aws-chunked` framing.
    #[must_use]
    pub fn chunked(self, chunked: Chunked) -> Self {
        let mut request = self
            .payload_hash(chunked.payload_hash())
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", chunked.decoded_length());
        if let Some((name, _)) = &chunked.trailer {
            request = request.header("x-amz-trailer", name);
        }
        request.chunked = Some(chunked);
        request
    }

    /// The request as it goes over the wire, but for its length.
    fn head(&self, address: &str, credentials: &Credentials) -> Head {
        let time = OffsetDateTime::now_utc() + self.clock_skew;
        let path = sigv4::encoded_path(&self.path);
        let query = sigv4::encoded_query(&self.query);
        let mut headers = self.headers.clone();
        headers.push((
            "host".to_owned(),
            self.host.clone().unwrap_or_else(|| address.to_owned()),
        ));
        let mut signer = None;
        if self.is_signed {
            headers.push(("x-amz-content-sha256".to_owned(), self.payload_hash.clone()));
            headers.push(("x-amz-date".to_owned(), sigv4::stamp(time)));
            headers.sort();
            let signed = Signed {
                method: &self.method,
                path: &path,
                query: &query,
                headers: &headers,
                payload_hash: &self.payload_hash,
                time,
            };
            let (authorization, chunk_signer) = sigv4::authorization(&signed, credentials);
            headers.push(("authorization".to_owned(), authorization));
            signer = Some(chunk_signer);
        }
        let target = if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        };
        Head {
            target,
            headers,
            signer,
        }
    }

    fn wire_body(&self, signer: Option<ChunkSigner>) -> Cow<'_, [u8]> {
        match (&self.chunked, signer) {
            (Some(chunked), Some(signer)) => Cow::Owned(chunked.encoded(signer)),
            _ => Cow::Borrowed(&self.body),
        }
    }
}

/// What goes out before the body.
struct Head {
    target: String,
    headers: Vec<(String, String)>,
    signer: Option<ChunkSigner>,
}

impl Head {
    /// The length is not signed: proxies may change it, and clients leave it out of the signature.
    fn send(&mut self, connection: &mut Connection, method: &str, length: u64) -> Result<()> {
        self.headers.push(("content-length".to_owned(), length.to_string()));
        connection.send_head(method, &self.target, &self.headers)
    }
}

impl Client {
    /// A client for `address` (`host:port`).
    #[must_use]
    pub fn new(address: &str, credentials: Credentials) -> Self {
        Self {
            address: address.to_owned(),
            credentials,
            trusted: None,
            connection: None,
            timeout: http::TIMEOUT,
        }
    }

    /// One that gives a request up where nothing comes for so long.
    #[must_use]
    pub fn with_timeout(mut self, timeout: std::time::Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Speaks TLS with a server that shows this certificate, PEM.
    #[must_use]
    pub fn trusting(mut self, certificate: &str) -> Self {
        self.trusted = Some(certificate.to_owned());
        self
    }

    fn open(&self) -> Result<Connection> {
        match &self.trusted {
            Some(certificate) => Connection::open_tls(&self.address, certificate),
            None => Connection::open_with(&self.address, self.timeout),
        }
    }

    /// Sends a request and reads its answer, whatever the status. A connection that the server closed is opened again
    /// for the next request, never for this one: what failed half-way stays unknown.
    ///
    /// # Errors
    /// No whole answer came.
    pub fn send(&mut self, request: &Request) -> Result<Response> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open()?,
        };
        let mut head = request.head(&self.address, &self.credentials);
        let body = request.wire_body(head.signer.take());
        head.send(&mut connection, &request.method, body.len() as u64)?;
        // A server may refuse by the head alone and close: then its answer counts, not the broken pipe.
        let sent = connection.send(&body);
        let response = connection
            .response(&request.method)
            .map_err(|error| sent.as_ref().err().map(|sent| anyhow!("{sent}")).unwrap_or(error))
            .with_context(|| format!("{} {}", request.method, head.target))?;
        let closes = response
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if sent.is_ok() && !closes {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    /// Reads an object piece by piece, on a connection of its own.
    ///
    /// # Errors
    /// No answer, or one that is not 2xx, or `take` failed.
    pub fn stream(&self, bucket: &str, key: &str, take: impl FnMut(&[u8]) -> Result<()>) -> Result<Response> {
        let mut connection = self.open()?;
        let request = Request::object("GET", bucket, key);
        request
            .head(&self.address, &self.credentials)
            .send(&mut connection, &request.method, 0)?;
        connection.stream_response(take)?.success()
    }

    /// Sends a request, but only one part in so many of its body, and then nothing more; `None` if the server closes
    /// without an answer.
    ///
    /// # Errors
    /// The server is gone.
    pub fn send_part(&self, request: &Request, one_in: usize) -> Result<Option<Response>> {
        let mut connection = self.open()?;
        let mut head = request.head(&self.address, &self.credentials);
        let body = request.wire_body(head.signer.take());
        head.send(&mut connection, &request.method, body.len() as u64)?;
        connection.send(&body[..body.len() / one_in])?;
        Ok(Upload {
            connection,
            method: request.method.clone(),
        }
        .cut_off()
        .ok())
    }

    /// Sends the head of a request whose body of `length` bytes follows piece by piece.
    ///
    /// # Errors
    /// The server is gone.
    pub fn begin(&self, request: &Request, length: u64) -> Result<Upload> {
        let mut connection = self.open()?;
        request
            .head(&self.address, &self.credentials)
            .send(&mut connection, &request.method, length)?;
        Ok(Upload {
            connection,
            method: request.method.clone(),
        })
    }

    /// # Errors
    /// No answer, or one that is not 2xx.
    pub fn make_bucket(&mut self, bucket: &str) -> Result<Response> {
        self.send(&Request::bucket("PUT", bucket))?.success()
    }

    /// # Errors
    /// No answer, or one that is not 2xx: then it is unknown whether the object is stored.
    pub fn put(&mut self, bucket: &str, key: impl AsRef<[u8]>, body: impl Into<Vec<u8>>) -> Result<Response> {
        self.send(&Request::object("PUT", bucket, key).body(body))?.success()
    }

    /// The body of an object.
    ///
    /// # Errors
    /// No answer, or one that is not 2xx.
    pub fn get(&mut self, bucket: &str, key: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        Ok(self.send(&Request::object("GET", bucket, key))?.success()?.body)
    }

    /// # Errors
    /// No answer, or one that is not 2xx.
    pub fn delete(&mut self, bucket: &str, key: impl AsRef<[u8]>) -> Result<Response> {
        self.send(&Request::object("DELETE", bucket, key))?.success()
    }

    /// All keys of a bucket, page by page.
    ///
    /// # Errors
    /// No answer, or one that is not 2xx.
    pub fn keys(&mut self, bucket: &str) -> Result<Vec<String>> {
        self.keys_under(bucket, "")
    }

    /// All keys of a bucket that begin so, page by page.
    ///
    /// # Errors
    /// No answer, or one that is not 2xx.
    pub fn keys_under(&mut self, bucket: &str, prefix: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut request = Request::bucket("GET", bucket)
                .query("list-type", 2)
                .query("prefix", prefix);
            if let Some(token) = token {
                request = request.query("continuation-token", token);
            }
            let page = self.send(&request)?.success()?;
            keys.extend(page.elements("Key"));
            if page.element("IsTruncated").as_deref() != Some("true") {
                return Ok(keys);
            }
            token = Some(
                page.element("NextContinuationToken")
                    .context("a truncated page has a token")?,
            );
        }
    }

    /// A whole multipart upload.
    ///
    /// # Errors
    /// No answer, or one that is not 2xx.
    pub fn put_parts(&mut self, bucket: &str, key: &str, parts: &[Vec<u8>]) -> Result<Response> {
        let upload = self.create_upload(bucket, key)?;
        let mut tags = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let number = index + 1;
            let request = Request::object("PUT", bucket, key)
                .query("partNumber", number)
                .query("uploadId", &upload)
                .body(part.clone());
            let response = self.send(&request)?.success()?;
            tags.push((
                number,
                response.header("etag").context("a part has an ETag")?.to_owned(),
            ));
        }
        self.send(&complete_request(bucket, key, &upload, &tags))?.success()
    }

    /// The id of a new multipart upload.
    ///
    /// # Errors
    /// No answer, or one that is not 2xx.
    pub fn create_upload(&mut self, bucket: &str, key: &str) -> Result<String> {
        let response = self
            .send(&Request::object("POST", bucket, key).query("uploads", ""))?
            .success()?;
        response.element("UploadId").context("an upload has an id")
    }
}

/// CompleteMultipartUpload with these (part number, ETag).
#[must_use]
pub fn complete_request(bucket: &str, key: &str, upload: &str, parts: &[(usize, String)]) -> Request {
    let parts: String = parts
        .iter()
        .map(|(number, tag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"))
        .collect();
    Request::object("POST", bucket, key)
        .query("uploadId", upload)
        .body(format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"))
}

impl Upload {
    /// # Errors
    /// The server is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.connection.send(bytes)
    }

    /// # Errors
    /// No whole answer came.
    pub fn finish(mut self) -> Result<Response> {
        self.connection.response(&self.method)
    }

    /// Stops in the middle, and reads what the server says to that.
    ///
    /// # Errors
    /// It said nothing.
    pub fn cut_off(mut self) -> Result<Response> {
        self.connection.finish_sending()?;
        self.connection.response(&self.method)
    }
}
