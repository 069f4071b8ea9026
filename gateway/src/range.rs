//! Which bytes of an object a request means: all, a range, a suffix, or a part.
//!
//! Pure arithmetic. Invariant: what is chosen lies within the object, and is empty only for an empty object read whole.

use std::ops::Range;

use cairn_common::wire::object::ObjectInfo;
use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, S3Result, dto};

use crate::error;

/// The bytes to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) bytes: Range<u64>,
    /// Whether the answer is partial content.
    pub(crate) partial: bool,
}

/// Chooses by `Range` and `partNumber`, of which a request has at most one.
pub(crate) fn select(info: &ObjectInfo, range: Option<dto::Range>, part_number: Option<i32>) -> S3Result<Selection> {
    match (range, part_number) {
        (None, None) => Ok(Selection {
            bytes: 0..info.size,
            partial: false,
        }),
        (Some(range), None) => {
            let bytes = range.check(info.size).map_err(|_| unsatisfiable(info.size))?;
            // A suffix of an empty object is the one range without a byte.
            if bytes.is_empty() {
                Err(unsatisfiable(info.size))
            } else {
                Ok(Selection { bytes, partial: true })
            }
        }
        (None, Some(number)) => select_part(info, number),
        (Some(_), Some(_)) => Err(error::invalid_request(
            "Cannot specify both Range header and partNumber query parameter",
        )),
    }
}

fn select_part(info: &ObjectInfo, number: i32) -> S3Result<Selection> {
    let wanted = u32::try_from(number)
        .ok()
        .filter(|number| (1..=10_000).contains(number));
    let wanted = wanted
        .ok_or_else(|| error::invalid_argument("Part number must be an integer between 1 and 10000, inclusive"))?;
    if info.parts.is_empty() && wanted == 1 {
        return Ok(Selection {
            bytes: 0..info.size,
            partial: info.size > 0,
        });
    }
    let mut start = 0;
    for part in &info.parts {
        if part.number == wanted {
            return Ok(Selection {
                bytes: start..start + part.size,
                partial: part.size > 0,
            });
        }
        start += part.size;
    }
    Err(error::custom(
        "InvalidPartNumber",
        StatusCode::RANGE_NOT_SATISFIABLE,
        "The requested partnumber is not satisfiable",
    ))
}

fn unsatisfiable(size: u64) -> S3Error {
    let mut error = error::answer(S3ErrorCode::InvalidRange, "The requested range is not satisfiable");
    let mut headers = http::HeaderMap::new();
    let value = http::HeaderValue::try_from(format!("bytes */{size}"));
    headers.extend(value.ok().map(|value| (http::header::CONTENT_RANGE, value)));
    error.set_headers(headers);
    error
}

/// The bytes of a copy source that `x-amz-copy-source-range` means: always `bytes=first-last`, within the source.
pub(crate) fn select_copy(text: &str, size: u64) -> S3Result<Range<u64>> {
    let invalid = || {
        error::invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
        )
    };
    match dto::Range::parse(text).map_err(|_| invalid())? {
        dto::Range::Int {
            first,
            last: Some(last),
        } if last < size => Ok(first..last + 1),
        dto::Range::Int { last: Some(last), .. } => Err(error::invalid_argument(format!(
            "Range specified is not valid for source object of size: {size} (last byte {last})"
        ))),
        dto::Range::Int { last: None, .. } | dto::Range::Suffix { .. } => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::wire::object::PartSize;

    use super::*;

    fn object(size: u64, parts: &[u64]) -> ObjectInfo {
        let part = |(index, size): (usize, &u64)| PartSize {
            number: index as u32 * 2 + 1,
            size: *size,
        };
        ObjectInfo {
            size,
            parts: parts.iter().enumerate().map(part).collect(),
            ..ObjectInfo::default()
        }
    }

    #[test]
    fn ranges_are_cut_to_the_object() {
        let cases = [
            ("bytes=0-0", 10, Some(0..1)),
            ("bytes=2-4", 10, Some(2..5)),
            ("bytes=2-", 10, Some(2..10)),
            ("bytes=2-99", 10, Some(2..10)),
            ("bytes=-3", 10, Some(7..10)),
            ("bytes=-30", 10, Some(0..10)),
            ("bytes=10-", 10, None),
            ("bytes=10-12", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-", 0, None),
            ("bytes=-1", 0, None),
        ];
        for (text, size, expected) in cases {
            let range = dto::Range::parse(text).unwrap();
            let selected = select(&object(size, &[]), Some(range), None);
            match expected {
                Some(bytes) => assert_eq!(selected.unwrap(), Selection { bytes, partial: true }, "{text}"),
                None => {
                    let error = selected.unwrap_err();
                    assert_eq!(error.code(), &S3ErrorCode::InvalidRange, "{text}");
                    let headers = error.headers().unwrap();
                    assert_eq!(headers[http::header::CONTENT_RANGE], format!("bytes */{size}").as_str());
                }
            }
        }
        assert_eq!(
            select(&object(0, &[]), None, None).unwrap(),
            Selection {
                bytes: 0..0,
                partial: false
            }
        );
    }

    #[test]
    fn parts_are_ranges() {
        let info = object(30, &[10, 15, 5]);
        let bytes = |number| select(&info, None, Some(number)).map(|selection| selection.bytes);
        assert_eq!(bytes(1).unwrap(), 0..10);
        assert_eq!(bytes(3).unwrap(), 10..25);
        assert_eq!(bytes(5).unwrap(), 25..30);
        assert_eq!(bytes(2).unwrap_err().code().as_str(), "InvalidPartNumber");
        assert_eq!(bytes(0).unwrap_err().code().as_str(), "InvalidArgument");
        assert_eq!(select(&object(7, &[]), None, Some(1)).unwrap().bytes, 0..7);
        assert!(select(&object(7, &[]), None, Some(2)).is_err());
        let both = select(&info, Some(dto::Range::parse("bytes=0-1").unwrap()), Some(1));
        assert_eq!(both.unwrap_err().code().as_str(), "InvalidRequest");
    }

    #[test]
    fn copy_ranges_are_exact() {
        assert_eq!(select_copy("bytes=0-9", 10).unwrap(), 0..10);
        for text in ["bytes=0-10", "bytes=3-", "bytes=-3", "0-5", "bytes=5-2"] {
            assert_eq!(
                select_copy(text, 10).unwrap_err().code(),
                &S3ErrorCode::InvalidArgument,
                "{text}"
            );
        }
    }
}
