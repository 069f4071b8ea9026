//! Extended attributes that nobody set: what S3 tells of a file or directory.
//!
//! They are named as S3 names the headers. Invariant: what is told is the object's entity tag of that moment and what was stored with it,
//! and nothing that only an answer over HTTP has, such as a type that stands in for none.

use bytes::Bytes;
use cairn_common::wire::object::ObjectAttributes;
use fuser::Errno;

use crate::{
    convert::{Outcome, errno},
    layout::VALUE_BYTES_MAX,
    volume::Volume,
};

/// All of them, a line for each header; with a dot and a header's name behind it, that one.
const ALL: &[u8] = b"s3";

const METADATA: &str = "x-amz-meta-";

/// The header that an attribute without its first word tells of: an empty name means all of them, `None` that it is no such attribute.
pub(crate) fn strip(what: &[u8]) -> Option<&[u8]> {
    let rest = what.strip_prefix(ALL)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix(b".").filter(|name| !name.is_empty())
}

impl Volume {
    /// The value of one header, or all of them.
    pub(crate) async fn object(&self, inode: u64, header: &[u8]) -> Outcome<Bytes> {
        let attributes = self.files.object_attributes(inode).await.map_err(errno)?;
        let told = headers(attributes);
        let value = if header.is_empty() {
            told.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
        } else {
            let named = told.into_iter().find(|(name, _)| name.as_bytes() == header);
            named.ok_or(Errno::ENODATA)?.1
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err(Errno::E2BIG);
        }
        Ok(Bytes::from(value))
    }
}

fn headers(attributes: ObjectAttributes) -> Vec<(String, String)> {
    let etag = ("etag".to_owned(), format!("\"{}\"", attributes.etag));
    let content = attributes.headers.into_iter().map(|field| (field.name, field.value));
    let own = attributes.user_metadata.into_iter();
    let own = own.map(|field| (format!("{METADATA}{}", field.name), field.value));
    [etag].into_iter().chain(content).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use cairn_common::wire::object::Field;

    use super::*;

    #[test]
    fn headers_are_named_as_s3_does() {
        let field = |name: &str, value: &str| Field {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let told = headers(ObjectAttributes {
            etag: "abc-2".to_owned(),
            headers: vec![field("content-type", "text/plain")],
            user_metadata: vec![field("owner", "me")],
            checksums: Vec::new(),
        });
        let told: Vec<_> = told
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let expected = [
            ("etag", "\"abc-2\""),
            ("content-type", "text/plain"),
            ("x-amz-meta-owner", "me"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn attributes_name_all_or_one() {
        assert_eq!(strip(b"s3"), Some(&b""[..]));
        assert_eq!(strip(b"s3.etag"), Some(&b"etag"[..]));
        for other in [&b"chunks"[..], b"s3.", b"s3x", b"s"] {
            assert_eq!(strip(other), None);
        }
    }
}
