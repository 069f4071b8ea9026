//! Walking a bucket's keys: where a listing starts, how a page is gathered, and what its token says.
//!
//! Owns no answer format. Invariant: a page ends in a position from which the next page misses no key and repeats none, and it
//! is called truncated only where something really follows.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bytes::Bytes;
use cairn_client::Client;
use cairn_common::{
    limits::LIST_PAGE_MAX,
    wire::query::{ListEntry, ListQuery},
};
use s3s::{
    S3Result,
    dto::{CommonPrefix, EncodingType, Owner},
};

use crate::{
    error::{self, from_client},
    xml,
};

/// Which keys a listing shows.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    /// Empty for none.
    pub(crate) delimiter: String,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) entries: Vec<ListEntry>,
    /// The first key of the next page, itself included; `None` at the end.
    pub(crate) next_from: Option<Bytes>,
}

/// Gathers up to `max` entries from the key `from` on.
pub(crate) async fn collect(client: &Client, selector: &Selector, mut from: Bytes, max: usize) -> S3Result<Page> {
    if max == 0 {
        client.bucket(&selector.bucket).await.map_err(from_client)?;
        return Ok(Page::default());
    }
    let mut entries: Vec<ListEntry> = Vec::new();
    // One entry more than asked for tells whether anything follows.
    while entries.len() <= max {
        let limit = (max + 1 - entries.len()).min(LIST_PAGE_MAX);
        let query = ListQuery {
            bucket: selector.bucket.clone(),
            prefix: Bytes::copy_from_slice(selector.prefix.as_bytes()),
            delimiter: Bytes::copy_from_slice(selector.delimiter.as_bytes()),
            from,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let page = client.list(query).await.map_err(from_client)?;
        entries.extend(page.entries);
        from = page.next_from;
        if from.is_empty() {
            break;
        }
    }
    let next_from = entries.get(max).map(|entry| entry.key.clone());
    entries.truncate(max);
    Ok(Page { entries, next_from })
}

/// The first key behind `marker`. A marker that is itself a common prefix stands for all keys that it rolls up; one inside
/// such keys leaves the rest of them.
pub(crate) fn behind(marker: &str, selector: &Selector) -> Bytes {
    if marker.is_empty() {
        return Bytes::new();
    }
    if is_common_prefix(marker, selector) {
        return behind_prefix(marker.as_bytes());
    }
    let mut key = marker.as_bytes().to_vec();
    key.push(0);
    key.into()
}

fn is_common_prefix(marker: &str, selector: &Selector) -> bool {
    let Some(rest) = marker.strip_prefix(&selector.prefix) else {
        return false;
    };
    !selector.delimiter.is_empty()
        && rest.find(&selector.delimiter) == Some(rest.len().wrapping_sub(selector.delimiter.len()))
}

/// The first key behind all that start with `prefix`.
pub(crate) fn behind_prefix(prefix: &[u8]) -> Bytes {
    let mut key = prefix.to_vec();
    while key.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = key.last_mut() {
        *last += 1;
    }
    key.into()
}

/// A position as clients see it: opaque.
pub(crate) fn to_token(from: &[u8]) -> String {
    BASE64.encode(from)
}

pub(crate) fn from_token(token: &str) -> S3Result<Bytes> {
    let decoded = BASE64.decode(token).ok().filter(|from| !from.is_empty());
    decoded
        .map(Bytes::from)
        .ok_or_else(|| error::invalid_argument("The continuation token provided is incorrect"))
}

/// A page size from a request.
pub(crate) fn page_size(asked: Option<i32>, name: &str) -> S3Result<usize> {
    let asked = usize::try_from(asked.unwrap_or(1000));
    let asked = asked
        .map_err(|_| error::invalid_argument(format!("Argument {name} must be an integer between 0 and 2147483647")))?;
    Ok(asked.min(LIST_PAGE_MAX))
}

/// A page size as s3s sends it.
pub(crate) fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// How keys stand in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(crate) fn from_request(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None | Some("") => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(error::invalid_argument("Invalid Encoding Method specified in Request")),
        }
    }

    pub(crate) fn encode(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Url => xml::url_encode(text),
        }
    }

    /// Keys of the store are UTF-8: the gateway takes no others.
    pub(crate) fn encode_key(self, key: &[u8]) -> String {
        self.encode(&String::from_utf8_lossy(key))
    }

    pub(crate) fn encode_filled(self, text: &str) -> Option<String> {
        (!text.is_empty()).then(|| self.encode(text))
    }
}

/// The rolled-up entries of a page.
pub(crate) fn common_prefixes(entries: &[ListEntry], encoding: Encoding) -> Vec<CommonPrefix> {
    let prefixes = entries.iter().filter(|entry| entry.is_prefix);
    prefixes
        .map(|entry| CommonPrefix {
            prefix: Some(encoding.encode_key(&entry.key)),
        })
        .collect()
}

/// The one owner of everything.
pub(crate) fn owner() -> Owner {
    Owner {
        display_name: Some("cairn".to_owned()),
        id: Some("cairn".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(prefix: &str, delimiter: &str) -> Selector {
        Selector {
            bucket: "b".to_owned(),
            prefix: prefix.to_owned(),
            delimiter: delimiter.to_owned(),
        }
    }

    #[test]
    fn markers_say_where_to_go_on() {
        let cases = [
            ("", "", "", &b""[..]),
            ("a", "", "", b"a\0"),
            ("a/", "", "", b"a/\0"),
            // Equal to a common prefix: all of it is behind.
            ("a/", "", "/", b"a0"),
            // Strictly inside of one: the rest of it is not.
            ("a/b", "", "/", b"a/b\0"),
            ("a/b/", "", "/", b"a/b/\0"),
            ("a/b/", "a/", "/", b"a/b0"),
            ("a//", "a/", "/", b"a/0"),
            ("axxb", "a", "xx", b"axxb\0"),
            ("axx", "a", "xx", b"axy"),
            // Before the prefix: nothing is skipped.
            ("a", "b/", "/", b"a\0"),
            ("b/", "b/", "/", b"b/\0"),
        ];
        for (marker, prefix, delimiter, expected) in cases {
            assert_eq!(
                behind(marker, &selector(prefix, delimiter)),
                expected,
                "{marker} {prefix} {delimiter}"
            );
        }
        assert_eq!(behind_prefix(&[b'a', 0xff, 0xff]), &b"b"[..]);
    }

    #[test]
    fn tokens_survive_and_nonsense_is_refused() {
        let from = "a b/ä\n\0".as_bytes();
        assert_eq!(from_token(&to_token(from)).unwrap(), from);
        for token in ["", "!", "a b"] {
            assert_eq!(
                from_token(token).unwrap_err().code().as_str(),
                "InvalidArgument",
                "{token}"
            );
        }
    }

    #[test]
    fn page_sizes_are_bounded() {
        assert_eq!(page_size(None, "max-keys").unwrap(), 1000);
        assert_eq!(page_size(Some(0), "max-keys").unwrap(), 0);
        assert_eq!(page_size(Some(5000), "max-keys").unwrap(), 1000);
        assert!(page_size(Some(-1), "max-keys").is_err());
    }
}
