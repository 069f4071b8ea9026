//! GetObject and HeadObject: the same headers, with and without the bytes.
//!
//! Invariant: the status is sent only after the first bytes are verified, so a store that cannot serve an object says so with an
//! error; a failure later cuts the connection, and never ends an answer short of its length.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use cairn_client::{ClientError, ObjectReader};
use cairn_common::wire::object::ObjectInfo;
use futures::{Stream, StreamExt as _, stream::BoxStream};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, EXPIRES,
    },
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use s3s::{
    Body, S3Request, S3Response, S3Result,
    dto::{
        ChecksumMode, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, StreamingBlob, Timestamp,
        TimestampFormat,
    },
};

use crate::{
    attributes,
    conditions::{ReadConditions, Verdict},
    error::{self, from_client},
    front::StatusOverride,
    gate::Gate,
    range::{self, Selection},
    unsupported,
};

pub(crate) async fn get_object(
    gate: &Gate,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    unsupported::check(&request.headers)?;
    unsupported::check_version(request.input.version_id.as_deref())?;
    let reader = gate
        .client
        .open_object(&request.input.bucket, request.input.key.as_bytes());
    let reader = reader.await.map_err(from_client)?;
    let described = describe(reader.info(), &Wanted::from(request.input))?;
    let mut output = GetObjectOutput {
        metadata: described.metadata,
        ..GetObjectOutput::default()
    };
    if let Some(selection) = described.selection {
        output.body = Some(StreamingBlob::from(body_of(reader, selection).await?));
    }
    Ok(respond(output, described.status, described.headers))
}

pub(crate) async fn head_object(
    gate: &Gate,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    unsupported::check(&request.headers)?;
    unsupported::check_version(request.input.version_id.as_deref())?;
    let info = gate
        .client
        .object_info(&request.input.bucket, request.input.key.as_bytes());
    let info = info.await.map_err(from_client)?;
    let described = describe(&info, &Wanted::from(request.input))?;
    let output = HeadObjectOutput {
        metadata: described.metadata,
        ..HeadObjectOutput::default()
    };
    Ok(respond(output, described.status, described.headers))
}

fn respond<T>(output: T, status: StatusCode, headers: HeaderMap) -> S3Response<T> {
    let mut response = S3Response::with_headers(output, headers);
    response.extensions.insert(StatusOverride(status));
    response
}

/// What a read asks for beside the key.
struct Wanted {
    conditions: ReadConditions,
    range: Option<s3s::dto::Range>,
    part_number: Option<i32>,
    checksums: bool,
    cache_control: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    content_language: Option<String>,
    content_type: Option<String>,
    expires: Option<String>,
}

macro_rules! wanted_from {
    ($input:ty) => {
        impl From<$input> for Wanted {
            fn from(input: $input) -> Self {
                let mode = input.checksum_mode;
                Self {
                    conditions: ReadConditions {
                        if_match: input.if_match,
                        if_none_match: input.if_none_match,
                        if_modified_since: input.if_modified_since,
                        if_unmodified_since: input.if_unmodified_since,
                    },
                    range: input.range,
                    part_number: input.part_number,
                    checksums: mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED),
                    cache_control: input.response_cache_control,
                    content_disposition: input.response_content_disposition,
                    content_encoding: input.response_content_encoding,
                    content_language: input.response_content_language,
                    content_type: input.response_content_type,
                    expires: input.response_expires.as_ref().and_then(http_date),
                }
            }
        }
    };
}
wanted_from!(GetObjectInput);
wanted_from!(HeadObjectInput);

fn http_date(timestamp: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    timestamp.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// The answer to a read, its bytes left out.
struct Description {
    status: StatusCode,
    headers: HeaderMap,
    metadata: Option<s3s::dto::Metadata>,
    /// The bytes to send; none for 304.
    selection: Option<Selection>,
}

fn describe(info: &ObjectInfo, wanted: &Wanted) -> S3Result<Description> {
    let object = info.attributes.as_ref();
    let etag = object.map_or("", |attributes| attributes.etag.as_str());
    let overrides = [
        (CACHE_CONTROL, wanted.cache_control.as_deref()),
        (CONTENT_DISPOSITION, wanted.content_disposition.as_deref()),
        (CONTENT_ENCODING, wanted.content_encoding.as_deref()),
        (CONTENT_LANGUAGE, wanted.content_language.as_deref()),
        (CONTENT_TYPE, wanted.content_type.as_deref()),
        (EXPIRES, wanted.expires.as_deref()),
    ];
    let mut headers = attributes::to_headers(info, &overrides)?;
    match wanted.conditions.decide(etag, info.modified_ms) {
        Verdict::Proceed => {}
        Verdict::Failed => return Err(error::precondition_failed()),
        Verdict::NotModified => {
            headers.remove(CONTENT_TYPE);
            return Ok(Description {
                status: StatusCode::NOT_MODIFIED,
                headers,
                metadata: None,
                selection: None,
            });
        }
    }
    let selection = range::select(info, wanted.range, wanted.part_number)?;
    let Selection { bytes, partial } = &selection;
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start));
    if *partial {
        let range = format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, info.size);
        headers.extend(HeaderValue::try_from(range).ok().map(|value| (CONTENT_RANGE, value)));
    } else if wanted.checksums {
        attributes::add_checksums(&mut headers, object.map_or(&[], |attributes| &attributes.checksums));
    }
    if wanted.part_number.is_some() && !info.parts.is_empty() {
        headers.insert("x-amz-mp-parts-count", HeaderValue::from(info.parts.len()));
    }
    let status = if *partial {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    Ok(Description {
        status,
        headers,
        metadata: object.and_then(attributes::to_metadata),
        selection: Some(selection),
    })
}

async fn body_of(reader: ObjectReader, selection: Selection) -> S3Result<Body> {
    let length = selection.bytes.end - selection.bytes.start;
    if length == 0 {
        return Ok(Body::empty());
    }
    let mut rest = reader.read(selection.bytes).boxed();
    let first = match rest.next().await {
        Some(first) => first.map_err(from_client)?,
        None => return Err(from_client(ClientError::Internal("an object gave no bytes".to_owned()))),
    };
    if first.len() as u64 == length {
        return Ok(Body::from(first));
    }
    Ok(Body::http_body_unsync(ObjectBody {
        first: Some(first),
        rest,
        left: length,
    }))
}

/// The bytes of an object on their way to the socket.
struct ObjectBody {
    first: Option<Bytes>,
    rest: BoxStream<'static, Result<Bytes, ClientError>>,
    left: u64,
}

impl HttpBody for ObjectBody {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let next = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(Pin::new(&mut self.rest).poll_next(cx)),
        };
        let left = self.left;
        let result = match next {
            Some(Ok(bytes)) if bytes.len() as u64 <= left => Ok(bytes),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Err(ClientError::Internal(format!(
                "an object's bytes end wrongly with {left} to come"
            ))),
        };
        match result {
            Ok(bytes) => {
                self.left -= bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Err(error) => {
                tracing::error!(%error, left, "an answer is cut off: the rest of its object cannot be read");
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::wire::object::{ObjectAttributes, ObjectChecksum};
    use futures::stream;
    use http_body_util::BodyExt as _;

    use super::*;

    fn info() -> ObjectInfo {
        let checksum = ObjectChecksum {
            algorithm: "CRC32".to_owned(),
            value: "y/Q5Jg==".to_owned(),
            composite: false,
        };
        let attributes = ObjectAttributes {
            etag: "x".to_owned(),
            checksums: vec![checksum],
            ..ObjectAttributes::default()
        };
        ObjectInfo {
            size: 10,
            modified_ms: 1000,
            attributes: Some(attributes),
            ..ObjectInfo::default()
        }
    }

    fn wanted(change: impl FnOnce(&mut GetObjectInput)) -> Wanted {
        let mut input = GetObjectInput {
            checksum_mode: Some(ChecksumMode::from_static(ChecksumMode::ENABLED)),
            ..GetObjectInput::default()
        };
        change(&mut input);
        Wanted::from(input)
    }

    #[test]
    fn checksums_are_told_only_of_whole_objects() {
        let whole = describe(&info(), &wanted(|_| {})).unwrap();
        assert_eq!(whole.status, StatusCode::OK);
        assert_eq!(whole.headers["x-amz-checksum-crc32"], "y/Q5Jg==");
        assert_eq!(whole.headers["x-amz-checksum-type"], "FULL_OBJECT");
        let range = s3s::dto::Range::parse("bytes=2-5").unwrap();
        let part = describe(&info(), &wanted(|input| input.range = Some(range))).unwrap();
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.headers[CONTENT_RANGE], "bytes 2-5/10");
        assert_eq!(part.headers[CONTENT_LENGTH], "4");
        assert!(!part.headers.contains_key("x-amz-checksum-crc32"));
    }

    #[test]
    fn a_match_is_not_modified() {
        let tag = s3s::dto::ETagCondition::ETag(attributes::etag("x"));
        let described = describe(&info(), &wanted(|input| input.if_none_match = Some(tag))).unwrap();
        assert_eq!(
            (described.status, described.selection),
            (StatusCode::NOT_MODIFIED, None)
        );
        assert_eq!(described.headers[http::header::ETAG], "\"x\"");
    }

    #[tokio::test]
    async fn a_short_object_is_an_error_not_a_short_answer() {
        let body = |pieces: Vec<Result<Bytes, ClientError>>| ObjectBody {
            first: Some(Bytes::from_static(b"abc")),
            rest: stream::iter(pieces).boxed(),
            left: 6,
        };
        let whole = body(vec![Ok(Bytes::from_static(b"def"))]).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "abcdef");
        assert!(body(vec![]).collect().await.is_err());
        assert!(body(vec![Ok(Bytes::from_static(b"defg"))]).collect().await.is_err());
        assert!(body(vec![Err(ClientError::NoSuchKey)]).collect().await.is_err());
    }
}
