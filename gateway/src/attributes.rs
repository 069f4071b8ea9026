//! What an object carries beside its bytes: from request headers to its record, and from the record to response headers.
//!
//! Owns the list of content headers that are kept. Invariant: what a client put comes back as it was, but for `aws-chunked`,
//! which describes the transfer and not the object.

use cairn_common::{
    limits::USER_METADATA_BYTES_MAX,
    wire::object::{Field, ObjectAttributes, ObjectChecksum, ObjectInfo},
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG,
        EXPIRES, LAST_MODIFIED,
    },
};
use s3s::{
    S3ErrorCode, S3Result,
    dto::{ETag, Metadata, Timestamp, TimestampFormat},
};
use time::OffsetDateTime;

use crate::{checksum::Algorithm, error};

const REDIRECT: HeaderName = HeaderName::from_static("x-amz-website-redirect-location");
const KEPT: [HeaderName; 7] = [
    CONTENT_TYPE,
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    EXPIRES,
    REDIRECT,
];
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// The attributes that the headers of an upload ask for; entity tag and checksums are filled in when they are known.
pub(crate) fn from_request(headers: &HeaderMap, metadata: Option<Metadata>) -> S3Result<ObjectAttributes> {
    let mut fields = Vec::new();
    for name in &KEPT {
        let Some(value) = headers.get(name) else { continue };
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| error::invalid_argument(format!("The value of {name} is not UTF-8.")))?;
        let value = if name == CONTENT_ENCODING {
            without_aws_chunked(value)
        } else {
            value.to_owned()
        };
        if !value.is_empty() {
            fields.push(Field {
                name: name.as_str().to_owned(),
                value,
            });
        }
    }
    let user_metadata = user_metadata(metadata)?;
    Ok(ObjectAttributes {
        headers: fields,
        user_metadata,
        ..ObjectAttributes::default()
    })
}

fn without_aws_chunked(value: &str) -> String {
    let codings = value
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked"));
    codings.collect::<Vec<_>>().join(",")
}

fn user_metadata(metadata: Option<Metadata>) -> S3Result<Vec<Field>> {
    let pairs = metadata.unwrap_or_default().into_iter();
    let mut fields: Vec<_> = pairs.map(|(name, value)| Field { name, value }).collect();
    let bytes: usize = fields.iter().map(|field| field.name.len() + field.value.len()).sum();
    if bytes > USER_METADATA_BYTES_MAX {
        let text = "Your metadata headers exceed the maximum allowed metadata size";
        return Err(error::answer(S3ErrorCode::MetadataTooLarge, text));
    }
    fields.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(fields)
}

/// The user metadata as s3s sends it.
pub(crate) fn to_metadata(attributes: &ObjectAttributes) -> Option<Metadata> {
    if attributes.user_metadata.is_empty() {
        return None;
    }
    Some(
        attributes
            .user_metadata
            .iter()
            .map(|field| (field.name.clone(), field.value.clone()))
            .collect(),
    )
}

/// Response headers that describe the object, user metadata and length left out. Values in `overrides` take precedence.
pub(crate) fn to_headers(info: &ObjectInfo, overrides: &[(HeaderName, Option<&str>)]) -> S3Result<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(16);
    let attributes = info.attributes.as_ref();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(DEFAULT_CONTENT_TYPE));
    headers.insert(LAST_MODIFIED, last_modified(info.modified_ms));
    let stored = attributes.map_or(&[][..], |attributes| &attributes.headers);
    for field in stored {
        let (name, value) = (HeaderName::try_from(&field.name), HeaderValue::try_from(&field.value));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    let etag = attributes.map_or("", |attributes| &attributes.etag);
    headers.extend(
        HeaderValue::try_from(format!("\"{etag}\""))
            .ok()
            .map(|value| (ETAG, value)),
    );
    for (name, value) in overrides {
        let Some(value) = value else { continue };
        let value = HeaderValue::try_from(*value)
            .map_err(|_| error::invalid_argument(format!("The value of response-{name} is no header value.")))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Adds the checksum headers of an object that is answered whole.
pub(crate) fn add_checksums(headers: &mut HeaderMap, checksums: &[ObjectChecksum]) {
    for checksum in checksums {
        let Some(algorithm) = Algorithm::from_name(&checksum.algorithm) else {
            continue;
        };
        let Ok(value) = HeaderValue::try_from(&checksum.value) else {
            continue;
        };
        headers.insert(HeaderName::from_static(algorithm.header()), value);
        headers.insert("x-amz-checksum-type", HeaderValue::from_static(checksum_type(checksum)));
    }
}

/// `COMPOSITE` or `FULL_OBJECT`.
pub(crate) const fn checksum_type(checksum: &ObjectChecksum) -> &'static str {
    if checksum.composite { "COMPOSITE" } else { "FULL_OBJECT" }
}

fn last_modified(modified_ms: u64) -> HeaderValue {
    let mut text = Vec::with_capacity(32);
    match timestamp(modified_ms).format(TimestampFormat::HttpDate, &mut text) {
        Ok(()) => HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("")),
        Err(_) => HeaderValue::from_static(""),
    }
}

/// A stored time as s3s sends it.
pub(crate) fn timestamp(ms: u64) -> Timestamp {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.unwrap_or(OffsetDateTime::UNIX_EPOCH).into()
}

/// A stored entity tag as s3s sends it.
pub(crate) fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    fn info(attributes: ObjectAttributes) -> ObjectInfo {
        ObjectInfo {
            modified_ms: 1_445_412_480_900,
            attributes: Some(attributes),
            ..ObjectInfo::default()
        }
    }

    #[test]
    fn content_headers_survive_the_round_trip() {
        let pairs = [
            ("content-type", "text/plain; charset=utf-8"),
            ("cache-control", "no-cache"),
            ("content-disposition", "attachment; filename=\"ä.txt\""),
            ("content-language", "de"),
            ("expires", "Wed, 21 Oct 2015 07:28:00 GMT"),
            ("x-amz-website-redirect-location", "/other"),
        ];
        let mut attributes = from_request(&header_map(&pairs), None).unwrap();
        attributes.etag = "abc-2".to_owned();
        let headers = to_headers(&info(attributes), &[]).unwrap();
        for (name, value) in pairs {
            assert_eq!(headers[name].as_bytes(), value.as_bytes(), "{name}");
        }
        assert_eq!(headers[ETAG], "\"abc-2\"");
        assert_eq!(headers[LAST_MODIFIED], "Wed, 21 Oct 2015 07:28:00 GMT");
    }

    #[test]
    fn overrides_win_and_defaults_fill() {
        let headers = to_headers(&info(ObjectAttributes::default()), &[]).unwrap();
        assert_eq!(headers[CONTENT_TYPE], DEFAULT_CONTENT_TYPE);
        let overrides = [(CONTENT_TYPE, Some("text/html")), (CACHE_CONTROL, None)];
        let headers = to_headers(&info(ObjectAttributes::default()), &overrides).unwrap();
        assert_eq!(headers[CONTENT_TYPE], "text/html");
        assert!(to_headers(&info(ObjectAttributes::default()), &[(CONTENT_TYPE, Some("a\nb"))]).is_err());
    }

    #[test]
    fn the_transfer_coding_is_not_stored() {
        let stored = |value| {
            let attributes = from_request(&header_map(&[("content-encoding", value)]), None).unwrap();
            attributes.headers.first().map(|field| field.value.clone())
        };
        assert_eq!(stored("aws-chunked"), None);
        assert_eq!(stored("aws-chunked,gzip"), Some("gzip".to_owned()));
        assert_eq!(stored("gzip, aws-chunked"), Some("gzip".to_owned()));
        assert_eq!(stored("gzip"), Some("gzip".to_owned()));
    }

    #[test]
    fn user_metadata_is_bounded_and_sorted() {
        let metadata =
            |size: usize| Metadata::from([("b".to_owned(), "x".repeat(size)), ("a".to_owned(), String::new())]);
        let attributes = from_request(&HeaderMap::new(), Some(metadata(USER_METADATA_BYTES_MAX - 2))).unwrap();
        assert_eq!(attributes.user_metadata[0].name, "a");
        assert_eq!(to_metadata(&attributes), Some(metadata(USER_METADATA_BYTES_MAX - 2)));
        let error = from_request(&HeaderMap::new(), Some(metadata(USER_METADATA_BYTES_MAX - 1))).unwrap_err();
        assert_eq!(error.code(), &S3ErrorCode::MetadataTooLarge);
    }
}
