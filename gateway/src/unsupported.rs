//! Requests for what Cairn does not have: refused with a code that says so, never ignored.
//!
//! Invariant: a header that would change who can read an object, how it is encrypted or how long it must stay is either
//! honoured or refused.

use http::HeaderMap;
use s3s::{S3ErrorCode, S3Result};

use crate::error;

/// Access lists that say what holds anyway.
const TRUE_ACLS: [&[u8]; 2] = [b"private", b"bucket-owner-full-control"];

/// Refuses a request with a header that asks for something missing.
pub(crate) fn check(headers: &HeaderMap) -> S3Result<()> {
    headers
        .iter()
        .try_for_each(|(name, value)| match name.as_str().strip_prefix("x-amz-") {
            Some(rest) => check_header(rest, value.as_bytes()),
            None => Ok(()),
        })
}

fn check_header(name: &str, value: &[u8]) -> S3Result<()> {
    let encryption =
        name.starts_with("server-side-encryption") || name.starts_with("copy-source-server-side-encryption");
    if encryption {
        return Err(error::not_implemented("Server-side encryption is not implemented."));
    }
    if name.starts_with("grant-") || (name == "acl" && !TRUE_ACLS.contains(&value)) {
        return Err(error::answer(
            S3ErrorCode::AccessControlListNotSupported,
            "The bucket does not allow ACLs",
        ));
    }
    if name.starts_with("object-lock-") || name == "bucket-object-lock-enabled" && value != b"false" {
        return Err(error::invalid_request("Bucket is missing Object Lock Configuration"));
    }
    match name {
        "tagging" if !value.is_empty() => Err(error::not_implemented("Object tags are not implemented.")),
        "write-offset-bytes" => Err(error::not_implemented("Appending to objects is not implemented.")),
        "storage-class" if value != b"STANDARD" => Err(error::answer(
            S3ErrorCode::InvalidStorageClass,
            "The only storage class is STANDARD.",
        )),
        _ => Ok(()),
    }
}

/// Refuses any version but the one there is: the current, whose id is `null` as in every unversioned bucket.
pub(crate) fn check_version(version_id: Option<&str>) -> S3Result<()> {
    match version_id {
        None | Some("null" | "") => Ok(()),
        Some(_) => Err(error::no_such_version()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_refused() {
        let cases = [
            ("x-amz-server-side-encryption", "AES256", Some("NotImplemented")),
            (
                "x-amz-server-side-encryption-customer-algorithm",
                "AES256",
                Some("NotImplemented"),
            ),
            ("x-amz-acl", "public-read", Some("AccessControlListNotSupported")),
            ("x-amz-acl", "private", None),
            ("x-amz-grant-read", "id=1", Some("AccessControlListNotSupported")),
            ("x-amz-object-lock-mode", "GOVERNANCE", Some("InvalidRequest")),
            ("x-amz-bucket-object-lock-enabled", "true", Some("InvalidRequest")),
            ("x-amz-tagging", "a=b", Some("NotImplemented")),
            ("x-amz-storage-class", "GLACIER", Some("InvalidStorageClass")),
            ("x-amz-storage-class", "STANDARD", None),
            ("x-amz-meta-acl", "public-read", None),
        ];
        for (name, value, code) in cases {
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
            let refused = check(&headers).err();
            assert_eq!(
                refused.as_ref().map(|error| error.code().as_str()),
                code,
                "{name}: {value}"
            );
        }
        assert!(check_version(Some("null")).is_ok());
        assert!(check_version(Some("abc")).is_err());
    }
}
