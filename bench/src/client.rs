//! S3 requests over one connection, reopened when it was lost: the bucket, objects, deletion. Each request is tried
//! once; what to do after an error is the caller's. Invariant: a connection is kept only after a response was read to
//! its end.

use std::io::IoSlice;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::args::BenchArgs;
use crate::connection::{Connection, Sink};
use crate::content::{Dataset, Object};
use crate::endpoint::Endpoint;
use crate::error::RequestError;
use crate::limits::{MAX_RECEIVE_BUFFER_BYTES, MIN_RECEIVE_BUFFER_BYTES};
use crate::request::{EMPTY_SHA256, Request, RequestWriter};
use crate::sigv4::UNSIGNED_PAYLOAD;
use crate::transfer::{content_sha256, early_answer, error_in_xml, keep_beginning, receive_error, send_object};

/// An S3 client with one connection.
pub(crate) struct Client<'a> {
    endpoint: &'a Endpoint,
    halt: &'a AtomicBool,
    idle_limit: Duration,
    buffer_bytes: usize,
    sign_payload: bool,
    verify: bool,
    writer: RequestWriter,
    connection: Option<Connection<'a>>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(args: &BenchArgs, endpoint: &'a Endpoint, halt: &'a AtomicBool) -> Self {
        let wanted = usize::try_from(args.size.0).unwrap_or(usize::MAX);
        Self {
            endpoint,
            halt,
            idle_limit: Duration::from_secs(args.timeout),
            buffer_bytes: wanted.clamp(MIN_RECEIVE_BUFFER_BYTES, MAX_RECEIVE_BUFFER_BYTES),
            sign_payload: args.sign_payload,
            verify: !args.no_verify,
            writer: RequestWriter::new(args, &endpoint.host),
            connection: None,
        }
    }

    /// Opens the connection where there is none, so that the time it takes is not a request's.
    pub(crate) fn connect(&mut self) -> Result<(), RequestError> {
        if self.connection.is_none() {
            let Self {
                endpoint,
                buffer_bytes,
                idle_limit,
                halt,
                ..
            } = *self;
            self.connection = Some(Connection::open(&endpoint.addresses, buffer_bytes, idle_limit, halt)?);
        }
        Ok(())
    }

    /// Whether the bucket exists.
    pub(crate) fn head_bucket(&mut self) -> Result<(), RequestError> {
        self.small("HEAD", None, "", None, &mut discard)
    }

    /// Creates the bucket; `region` as its constraint, where it is not S3's default.
    pub(crate) fn create_bucket(&mut self, region: &str) -> Result<(), RequestError> {
        let body = if region == "us-east-1" {
            String::new()
        } else {
            format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            )
        };
        self.small("PUT", None, "", Some(&body), &mut discard)
    }

    /// Writes the object, straight from the shared ring.
    pub(crate) fn put(&mut self, dataset: &Dataset, object: &Object) -> Result<(), RequestError> {
        let hash = if self.sign_payload {
            content_sha256(dataset, object)
        } else {
            UNSIGNED_PAYLOAD.to_owned()
        };
        let request = Request {
            method: "PUT",
            key: Some(&object.key),
            query: "",
            payload_hash: &hash,
            body_bytes: Some(object.size_bytes),
            content_md5: None,
        };
        let mut connection = self.take_connection()?;
        let head = self.writer.head(&request, SystemTime::now());
        connection.begin_request(object.size_bytes);
        if let Err(error) = send_object(&mut connection, head, dataset, object) {
            return Err(early_answer(connection, error));
        }
        self.finish(connection, false, &mut discard)
    }

    /// Reads the object and, unless told otherwise, compares every byte.
    pub(crate) fn get(&mut self, dataset: &Dataset, object: &Object) -> Result<(), RequestError> {
        let request = Request {
            method: "GET",
            key: Some(&object.key),
            query: "",
            payload_hash: EMPTY_SHA256,
            body_bytes: None,
            content_md5: None,
        };
        let mut connection = self.take_connection()?;
        let head = self.writer.head(&request, SystemTime::now());
        connection.begin_request(object.size_bytes);
        connection.send(&mut [IoSlice::new(head)])?;
        let verify = self.verify;
        let mut received = 0;
        self.finish(connection, false, &mut |piece| {
            let end = received + piece.len() as u64;
            if end > object.size_bytes {
                return Err(wrong_length(object, end));
            }
            if verify {
                check(dataset, object, received, piece)?;
            }
            received = end;
            Ok(())
        })?;
        if received == object.size_bytes {
            Ok(())
        } else {
            Err(wrong_length(object, received))
        }
    }

    /// Deletes one object; one that is not there counts as deleted.
    pub(crate) fn delete(&mut self, key: &str) -> Result<(), RequestError> {
        match self.small("DELETE", Some(key), "", None, &mut discard) {
            Err(RequestError::Status { status: 404, .. }) => Ok(()),
            result => result,
        }
    }

    /// Deletes many objects by one request.
    ///
    /// # Errors
    /// Also the first object's error, where the server deleted only some.
    pub(crate) fn delete_many(&mut self, keys: impl Iterator<Item = String>) -> Result<(), RequestError> {
        let mut body = String::from("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
        for key in keys {
            let key = key.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            body.extend(["<Object><Key>", &key, "</Key></Object>"]);
        }
        body.push_str("</Delete>");
        let mut answer = Vec::new();
        self.small("POST", None, "delete=", Some(&body), &mut |piece| {
            keep_beginning(&mut answer, piece);
            Ok(())
        })?;
        match error_in_xml(&answer) {
            (code, _) if code.is_empty() => Ok(()),
            (code, message) => Err(RequestError::Status {
                status: 200,
                code,
                message,
            }),
        }
    }

    /// A request whose body, where it has one, is small text.
    fn small(
        &mut self,
        method: &'static str,
        key: Option<&str>,
        query: &'static str,
        body: Option<&str>,
        sink: &mut Sink<'_>,
    ) -> Result<(), RequestError> {
        let body_bytes = body.map(|body| body.len() as u64);
        let body = body.unwrap_or("").as_bytes();
        let payload_hash = hex::encode(Sha256::digest(body));
        let digest = body_bytes
            .filter(|bytes| *bytes > 0)
            .map(|_| BASE64.encode(Md5::digest(body)));
        let content_md5 = digest.as_deref();
        let request = Request {
            method,
            key,
            query,
            payload_hash: &payload_hash,
            body_bytes,
            content_md5,
        };
        let mut connection = self.take_connection()?;
        let head = self.writer.head(&request, SystemTime::now());
        connection.begin_request(0);
        if let Err(error) = connection.send(&mut [IoSlice::new(head), IoSlice::new(body)]) {
            return Err(early_answer(connection, error));
        }
        self.finish(connection, method == "HEAD", sink)
    }

    fn take_connection(&mut self) -> Result<Connection<'a>, RequestError> {
        self.connect()?;
        Ok(self.connection.take().expect("connect leaves a connection or an error"))
    }

    /// Receives the answer, and keeps the connection where it can be used again.
    fn finish(
        &mut self,
        mut connection: Connection<'a>,
        bodiless: bool,
        sink: &mut Sink<'_>,
    ) -> Result<(), RequestError> {
        let head = connection.receive_head(bodiless)?;
        let result = match head.status {
            200..300 => {
                connection.receive_body(head.framing, sink)?;
                Ok(())
            }
            _ => Err(receive_error(&mut connection, head)?),
        };
        if head.keep_alive {
            self.connection = Some(connection);
        }
        result
    }
}

fn check(dataset: &Dataset, object: &Object, offset: u64, piece: &[u8]) -> Result<(), RequestError> {
    dataset
        .verify(object, offset, piece)
        .map_err(|mismatch| RequestError::Corrupt {
            key: object.key.clone(),
            offset: mismatch.offset,
            expected: mismatch.expected,
            found: mismatch.found,
        })
}

fn wrong_length(object: &Object, found: u64) -> RequestError {
    RequestError::Length {
        key: object.key.clone(),
        expected: object.size_bytes,
        found,
    }
}

/// A sink for bodies that do not matter.
fn discard(_piece: &[u8]) -> Result<(), RequestError> {
    Ok(())
}
