//! S3 requests over one connection, reopened when it was lost. Each request is tried once, but for one that is safe to repeat and
//! met the end of an idle connection; what to do after an error is the caller's. Invariant: a connection is kept only after a
//! response was read to its end.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::content::{Dataset, Object};
use crate::failure::OpError;
use crate::limits::MAX_LISTING_BYTES;
use crate::reading::Reading;
use crate::s3::config::S3Config;
use crate::s3::connection::{Connection, ResponseHead, Sink};
use crate::s3::endpoint::Endpoint;
use crate::s3::request::{EMPTY_SHA256, Request, RequestWriter, copy_source};
use crate::s3::sigv4::UNSIGNED_PAYLOAD;
use crate::s3::transfer::{content_sha256, early_answer, error_in_xml, keep_beginning, receive_error, send_object};

/// The query of DeleteObjects.
const DELETE_BATCH: &str = "delete=";

/// An S3 client with one connection.
pub(crate) struct Client<'a> {
    config: &'a S3Config,
    endpoint: &'a Endpoint,
    halt: &'a AtomicBool,
    writer: RequestWriter,
    connection: Option<Connection<'a>>,
}

impl<'a> Client<'a> {
    /// Slots share the endpoints evenly.
    pub(crate) fn new(config: &'a S3Config, slot: u32, halt: &'a AtomicBool) -> Self {
        let endpoint = &config.endpoints[slot as usize % config.endpoints.len()];
        Self {
            config,
            endpoint,
            halt,
            writer: RequestWriter::new(config, &endpoint.host),
            connection: None,
        }
    }

    /// Opens the connection where there is none, or none any more, so that the time it takes is not a request's.
    pub(crate) fn connect(&mut self) -> Result<(), OpError> {
        if !self.connection.as_mut().is_some_and(Connection::is_idle) {
            let S3Config {
                buffer_bytes,
                idle_limit,
                ..
            } = *self.config;
            self.connection = Some(Connection::open(self.endpoint, buffer_bytes, idle_limit, self.halt)?);
        }
        Ok(())
    }

    /// Whether the bucket exists; the answer's head.
    pub(crate) fn head_bucket(&mut self) -> Result<ResponseHead, OpError> {
        self.small(&Request::of("HEAD", None), None, &mut discard)
    }

    /// Creates the bucket, with the region as its constraint where it is not S3's default.
    pub(crate) fn create_bucket(&mut self) -> Result<ResponseHead, OpError> {
        let region = &self.config.region;
        let body = if region == "us-east-1" {
            String::new()
        } else {
            format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            )
        };
        self.small(&Request::of("PUT", None), Some(&body), &mut discard)
    }

    /// Writes `range` of the object, straight from the shared ring, as an object or, by `query`, as a part of one.
    pub(crate) fn put(
        &mut self,
        dataset: &Dataset,
        object: &Object,
        range: Range<u64>,
        query: &str,
    ) -> Result<ResponseHead, OpError> {
        let hash = if self.config.sign_payload {
            content_sha256(dataset, object, range.clone())
        } else {
            UNSIGNED_PAYLOAD.to_owned()
        };
        let bytes = range.end - range.start;
        let request = Request {
            query,
            payload_hash: &hash,
            body_bytes: Some(bytes),
            ..Request::of("PUT", Some(&object.key))
        };
        self.repeat_if_idle(true, |client| {
            let mut connection = client.take_connection()?;
            let head = client.writer.head(&request, SystemTime::now());
            connection.begin_request(bytes);
            if let Err(error) = send_object(&mut connection, head, dataset, object, range.clone()) {
                return Err(early_answer(connection, error));
            }
            client.finish(connection, false, &mut discard)
        })
    }

    /// Reads what `reading` wants.
    pub(crate) fn get(&mut self, reading: &mut Reading<'_>, ranged: bool) -> Result<(), OpError> {
        let key = reading.key().to_owned();
        let wanted = reading.range();
        let request = Request {
            range: ranged.then_some((wanted.start, wanted.end.saturating_sub(1))),
            ..Request::of("GET", Some(&key))
        };
        self.repeat_if_idle(true, |client| {
            let mut connection = client.take_connection()?;
            let head = client.writer.head(&request, SystemTime::now());
            connection.begin_request(reading.bytes());
            connection.send(&mut [IoSlice::new(head)])?;
            client.finish(connection, false, &mut |piece| reading.take(piece))
        })?;
        reading.finish()
    }

    /// The object's size.
    pub(crate) fn stat(&mut self, key: &str) -> Result<u64, OpError> {
        let head = self.small(&Request::of("HEAD", Some(key)), None, &mut discard)?;
        head.content_length
            .ok_or_else(|| OpError::Protocol("HEAD was answered without a content-length".to_owned()))
    }

    /// Deletes one object; one that is not there counts as deleted.
    pub(crate) fn delete(&mut self, key: &str) -> Result<(), OpError> {
        match self.small(&Request::of("DELETE", Some(key)), None, &mut discard) {
            Err(OpError::Status { status: 404, .. }) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Deletes many objects by one request.
    ///
    /// # Errors
    /// Also the first object's error, where the server deleted only some.
    pub(crate) fn delete_many(&mut self, keys: &[String]) -> Result<(), OpError> {
        let mut body = String::from("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
        for key in keys {
            let key = key.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            body.extend(["<Object><Key>", &key, "</Key></Object>"]);
        }
        body.push_str("</Delete>");
        let request = Request {
            query: DELETE_BATCH,
            ..Request::of("POST", None)
        };
        self.answered(&request, Some(&body))
    }

    /// Copies an object within the bucket.
    pub(crate) fn copy(&mut self, from: &str, to: &str) -> Result<(), OpError> {
        let source = copy_source(&self.config.bucket, from);
        let request = Request {
            copy_source: Some(&source),
            ..Request::of("PUT", Some(to))
        };
        self.answered(&request, Some(""))
    }

    /// A request whose answer may tell of an error though its status is 200.
    pub(crate) fn answered(&mut self, request: &Request<'_>, body: Option<&str>) -> Result<(), OpError> {
        let mut answer = Vec::new();
        self.small(request, body, &mut |piece| {
            keep_beginning(&mut answer, piece);
            Ok(())
        })?;
        match error_in_xml(&answer) {
            (code, _) if code.is_empty() => Ok(()),
            (code, message) => Err(OpError::Status {
                status: 200,
                code,
                message,
            }),
        }
    }

    /// A request whose answer is a page of XML.
    pub(crate) fn page(&mut self, request: &Request<'_>, body: Option<&str>) -> Result<String, OpError> {
        let mut answer = Vec::new();
        self.small(request, body, &mut |piece| {
            if answer.len() + piece.len() > MAX_LISTING_BYTES {
                return Err(OpError::Protocol("the answer is longer than any page".to_owned()));
            }
            answer.extend_from_slice(piece);
            Ok(())
        })?;
        String::from_utf8(answer).map_err(|_| OpError::Protocol("the answer is not UTF-8".to_owned()))
    }

    /// A request whose body, where it has one, is small text.
    fn small(
        &mut self,
        request: &Request<'_>,
        body: Option<&str>,
        sink: &mut Sink<'_>,
    ) -> Result<ResponseHead, OpError> {
        let body_bytes = body.map(|body| body.len() as u64);
        let body = body.unwrap_or("").as_bytes();
        let (hash, digest);
        let mut request = Request { body_bytes, ..*request };
        if !body.is_empty() {
            hash = hex::encode(Sha256::digest(body));
            digest = BASE64.encode(Md5::digest(body));
            request.payload_hash = &hash;
            request.content_md5 = Some(&digest);
        }
        // What begins or completes an upload would do it twice; a batch of deletions is the same the second time.
        let is_safe = request.method != "POST" || request.query == DELETE_BATCH;
        self.repeat_if_idle(is_safe, |client| {
            let mut connection = client.take_connection()?;
            let head = client.writer.head(&request, SystemTime::now());
            connection.begin_request(0);
            if let Err(error) = connection.send(&mut [IoSlice::new(head), IoSlice::new(body)]) {
                return Err(early_answer(connection, error));
            }
            client.finish(connection, request.method == "HEAD", sink)
        })
    }

    /// Sends a request that is safe to repeat again, by a new connection, where the server had closed an idle one.
    fn repeat_if_idle(
        &mut self,
        is_safe: bool,
        mut exchange: impl FnMut(&mut Self) -> Result<ResponseHead, OpError>,
    ) -> Result<ResponseHead, OpError> {
        match exchange(self) {
            // A new connection never ends in this error.
            Err(OpError::ClosedIdle { .. }) if is_safe => exchange(self),
            result => result,
        }
    }

    fn take_connection(&mut self) -> Result<Connection<'a>, OpError> {
        if self.connection.is_none() {
            self.connect()?;
        }
        Ok(self.connection.take().expect("connect leaves a connection or an error"))
    }

    /// Receives the answer, and keeps the connection where it can be used again.
    fn finish(
        &mut self,
        mut connection: Connection<'a>,
        bodiless: bool,
        sink: &mut Sink<'_>,
    ) -> Result<ResponseHead, OpError> {
        let head = connection.receive_head(bodiless)?;
        let keep_alive = head.keep_alive;
        let result = match head.status {
            200..300 => {
                connection.receive_body(head.framing, sink)?;
                Ok(head)
            }
            _ => Err(receive_error(&mut connection, &head)?),
        };
        if keep_alive {
            self.connection = Some(connection);
        }
        result
    }
}

impl<'a> Request<'a> {
    /// A request without a body.
    pub(crate) fn of(method: &'static str, key: Option<&'a str>) -> Self {
        Self {
            method,
            key,
            payload_hash: EMPTY_SHA256,
            ..Self::default()
        }
    }
}

/// A sink for bodies that do not matter.
fn discard(_piece: &[u8]) -> Result<(), OpError> {
    Ok(())
}
