//! The bytes of an upload as the client meant them: decoded, counted, and verified against what signed them.
//!
//! Owns the meaning of `x-amz-content-sha256` and `Content-Length`. Invariant: `next` gives the end only after the promised
//! number of bytes came, and every hash and signature over them holds; until then nothing may be committed.

use bytes::Bytes;
use cairn_common::limits::PUT_SIZE_BYTES_MAX;
use http::{HeaderMap, header::CONTENT_LENGTH};
use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Result,
    crypto::{Checksum as _, Sha256},
};

use crate::{
    auth::Authorization,
    aws_chunked::{ChunkedError, Decoder, Event},
    chunk_signature::ChunkSigner,
    content_sha256,
    digest::{self, Claims},
    error,
    exchange::Exchange,
};

/// The body of one upload.
pub(crate) struct Payload {
    exchange: Exchange,
    coding: Coding,
    claims: Claims,
    expected: u64,
    received: u64,
    ended: bool,
}

enum Coding {
    Plain,
    Hashed(Box<(Sha256, [u8; 32])>),
    Chunked(Box<Chunked>),
}

struct Chunked {
    decoder: Decoder,
    signer: Option<ChunkSigner>,
    signature: Option<String>,
    trailers_expected: Vec<String>,
    trailers_signed: bool,
}

impl Payload {
    /// The body of this request, which s3s must not have read.
    pub(crate) fn from_request<T>(request: &S3Request<T>) -> S3Result<Self> {
        let exchange = request.extensions.get::<Exchange>().cloned();
        let exchange = exchange.ok_or_else(|| error::answer(S3ErrorCode::InternalError, "the request has no body"))?;
        let headers = &request.headers;
        let claims = Claims::from_headers(headers)?;
        let kind = headers
            .get("x-amz-content-sha256")
            .map_or(&b"UNSIGNED-PAYLOAD"[..], |value| value.as_bytes());
        let (coding, length) = if kind.starts_with(b"STREAMING-") {
            (
                Coding::Chunked(Box::new(Chunked::from_request(request, kind)?)),
                headers.get("x-amz-decoded-content-length"),
            )
        } else if let Some(expected) = content_sha256::parse(kind) {
            (
                Coding::Hashed(Box::new((Sha256::new(), expected))),
                headers.get(CONTENT_LENGTH),
            )
        } else {
            (Coding::Plain, headers.get(CONTENT_LENGTH))
        };
        let length = length.ok_or_else(|| {
            error::answer(
                S3ErrorCode::MissingContentLength,
                "You must provide the Content-Length HTTP header.",
            )
        })?;
        let expected = length.to_str().ok().and_then(|text| text.parse().ok());
        let expected = expected.ok_or_else(|| error::invalid_argument("The length of the body is not a number."))?;
        if expected > PUT_SIZE_BYTES_MAX {
            let text = "Your proposed upload exceeds the maximum allowed object size.";
            return Err(error::answer(S3ErrorCode::EntityTooLarge, text));
        }
        Ok(Self {
            exchange,
            coding,
            claims,
            expected,
            received: 0,
            ended: false,
        })
    }

    /// What the client claims of the bytes. Trailers are among the claims once `next` gave the end.
    pub(crate) const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The next bytes, or `None` once all have come and hold what signed them.
    pub(crate) async fn next(&mut self) -> S3Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        let bytes = match &mut self.coding {
            Coding::Plain => self.exchange.next().await.transpose()?,
            Coding::Hashed(hashed) => {
                let bytes = self.exchange.next().await.transpose()?;
                if let Some(bytes) = &bytes {
                    hashed.0.update(bytes);
                }
                bytes
            }
            Coding::Chunked(chunked) => chunked.next(&self.exchange, &mut self.claims).await?,
        };
        match bytes {
            Some(bytes) => {
                self.received += bytes.len() as u64;
                if self.received > self.expected {
                    Err(error::incomplete_body())
                } else {
                    Ok(Some(bytes))
                }
            }
            None => self.end().map(|()| None),
        }
    }

    fn end(&mut self) -> S3Result<()> {
        if self.received != self.expected {
            return Err(error::incomplete_body());
        }
        self.ended = true;
        match std::mem::replace(&mut self.coding, Coding::Plain) {
            Coding::Hashed(hashed) => {
                let (hasher, expected) = *hashed;
                if hasher.finalize() == expected {
                    Ok(())
                } else {
                    Err(content_sha256::mismatch())
                }
            }
            Coding::Chunked(chunked) => chunked.end(),
            Coding::Plain => Ok(()),
        }
    }
}

impl Chunked {
    fn from_request<T>(request: &S3Request<T>, kind: &[u8]) -> S3Result<Self> {
        let signed = kind.starts_with(b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
        let signer = if signed { Some(signer(request)?) } else { None };
        let announced = request
            .headers
            .get_all("x-amz-trailer")
            .iter()
            .filter_map(|value| value.to_str().ok());
        let names = announced
            .flat_map(|value| value.split(','))
            .map(|name| name.trim().to_ascii_lowercase());
        Ok(Self {
            decoder: Decoder::new(),
            signer,
            signature: None,
            trailers_expected: if kind.ends_with(b"-TRAILER") {
                names.collect()
            } else {
                Vec::new()
            },
            trailers_signed: false,
        })
    }

    async fn next(&mut self, exchange: &Exchange, claims: &mut Claims) -> S3Result<Option<Bytes>> {
        loop {
            let event = match self.decoder.next().map_err(from_chunked)? {
                Some(event) => event,
                None => match exchange.next().await.transpose()? {
                    Some(input) => {
                        self.decoder.push(input);
                        continue;
                    }
                    None => match self.decoder.finish().map_err(from_chunked)? {
                        Some(event) => event,
                        None => return Ok(None),
                    },
                },
            };
            if let Some(data) = self.handle_event(event, claims)? {
                return Ok(Some(data));
            }
        }
    }

    fn handle_event(&mut self, event: Event, claims: &mut Claims) -> S3Result<Option<Bytes>> {
        match event {
            Event::ChunkStart(signature) => {
                if self.signer.is_some() && signature.is_none() {
                    return Err(from_chunked(ChunkedError::Malformed));
                }
                self.signature = signature;
            }
            Event::Data(bytes) => {
                if let Some(signer) = &mut self.signer {
                    signer.update(&bytes);
                }
                return Ok(Some(bytes));
            }
            Event::ChunkEnd => {
                let signature = self.signature.take().unwrap_or_default();
                if self.signer.as_mut().is_some_and(|signer| !signer.end_chunk(&signature)) {
                    return Err(signature_mismatch());
                }
            }
            Event::Trailer(name, value) => self.handle_trailer(&name, &value, claims)?,
        }
        Ok(None)
    }

    fn handle_trailer(&mut self, name: &str, value: &str, claims: &mut Claims) -> S3Result<()> {
        if name == "x-amz-trailer-signature" {
            self.trailers_signed = true;
            let valid = self.signer.as_mut().is_none_or(|signer| signer.end_trailers(value));
            return if valid { Ok(()) } else { Err(signature_mismatch()) };
        }
        let Some(index) = self.trailers_expected.iter().position(|expected| expected == name) else {
            return Err(digest::malformed_trailer());
        };
        self.trailers_expected.swap_remove(index);
        if let Some(signer) = &mut self.signer {
            signer.add_trailer(name, value);
        }
        claims.add_trailer(name, value)
    }

    /// All announced trailers came, and are signed where the chunks are.
    fn end(self) -> S3Result<()> {
        if !self.trailers_expected.is_empty() {
            return Err(digest::malformed_trailer());
        }
        let unsigned = self.signer.is_some_and(|signer| signer.has_trailers()) && !self.trailers_signed;
        if unsigned { Err(signature_mismatch()) } else { Ok(()) }
    }
}

fn signer<T>(request: &S3Request<T>) -> S3Result<ChunkSigner> {
    let text = |headers: &HeaderMap, name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    let authorization = text(&request.headers, "authorization");
    let parsed = authorization.as_deref().and_then(Authorization::parse);
    let date = text(&request.headers, "x-amz-date");
    let (Some(parsed), Some(date), Some(credentials)) = (parsed, date, &request.credentials) else {
        return Err(signature_mismatch());
    };
    Ok(ChunkSigner::new(
        credentials.secret_key.expose(),
        &date,
        parsed.scope,
        parsed.signature,
    ))
}

fn from_chunked(failure: ChunkedError) -> S3Error {
    match failure {
        ChunkedError::Malformed => error::invalid_request("The aws-chunked encoding of the body is not well-formed."),
        ChunkedError::Truncated => error::incomplete_body(),
    }
}

fn signature_mismatch() -> S3Error {
    error::answer(
        S3ErrorCode::SignatureDoesNotMatch,
        error::standard_text("SignatureDoesNotMatch"),
    )
}
